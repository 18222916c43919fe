//! Arrays as files hold them: a dtype, dimensions, and bytes in C order, little-endian.
//!
//! The bytes may be someone else's, such as those of a NumPy array or of a map: [`Array::shared`] copies nothing.

use std::fmt;
use std::sync::Arc;

/// Element types that data files may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    Bf16,
    F32,
    F64,
}

impl DType {
    /// Bytes an element.
    pub fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::Bf16 | Self::F32 | Self::F64)
    }

    /// The type of which NumPy's name is `name`.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        use DType::*;
        [Bool, U8, I8, U16, I16, U32, I32, U64, I64, F16, Bf16, F32, F64].into_iter().find(|dtype| dtype.name() == name)
    }

    /// NumPy's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::U16 => "uint16",
            Self::I16 => "int16",
            Self::U32 => "uint32",
            Self::I32 => "int32",
            Self::U64 => "uint64",
            Self::I64 => "int64",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }
}

/// Bytes that are kept for as long as anybody refers to them, and stay as they are.
pub type Shared = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A dense array in C order. A clone shares its bytes.
#[derive(Clone)]
pub struct Array {
    dtype: DType,
    dims: Vec<usize>,
    bytes: Shared,
}

impl PartialEq for Array {
    fn eq(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.dims == other.dims && self.bytes() == other.bytes()
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype.name(), self.dims)
    }
}

/// The number of bytes of an array, or `None` where it overflows.
pub fn byte_length(dtype: DType, dims: &[usize]) -> Option<usize> {
    if dims.contains(&0) {
        return Some(0);
    }
    dims.iter().try_fold(dtype.size(), |product, &dim| product.checked_mul(dim))
}

impl Array {
    /// An array of little-endian `bytes` in C order, or `None` where their number does not fit.
    pub fn new(dtype: DType, dims: Vec<usize>, bytes: Vec<u8>) -> Option<Self> {
        Self::shared(dtype, dims, Arc::new(bytes))
    }

    /// The array whose elements, little-endian and in C order, are `bytes`, at any alignment; they are not copied, and
    /// must not change while the array is in use. `None` where their number does not fit.
    pub fn shared(dtype: DType, dims: Vec<usize>, bytes: Shared) -> Option<Self> {
        (byte_length(dtype, &dims)? == (*bytes).as_ref().len()).then_some(Self { dtype, dims, bytes })
    }

    /// An f32 array of shape `dims`.
    ///
    /// # Panics
    /// If `values` does not have as many elements as `dims`.
    pub fn from_f32(dims: Vec<usize>, values: &[f32]) -> Self {
        Self::new(DType::F32, dims, bytes(values, |v| v.to_le_bytes())).expect("as many values as the shape has")
    }

    /// An i32 array of shape `dims`.
    ///
    /// # Panics
    /// If `values` does not have as many elements as `dims`.
    pub fn from_i32(dims: Vec<usize>, values: &[i32]) -> Self {
        Self::new(DType::I32, dims, bytes(values, |v| v.to_le_bytes())).expect("as many values as the shape has")
    }

    /// An i64 array of shape `dims`.
    ///
    /// # Panics
    /// If `values` does not have as many elements as `dims`.
    pub fn from_i64(dims: Vec<usize>, values: &[i64]) -> Self {
        Self::new(DType::I64, dims, bytes(values, |v| v.to_le_bytes())).expect("as many values as the shape has")
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The elements, little-endian, in C order.
    pub fn bytes(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }

    /// The same elements under other dims.
    ///
    /// # Panics
    /// If their number differs.
    pub fn reshaped(&self, dims: Vec<usize>) -> Self {
        Self::shared(self.dtype, dims, self.bytes.clone()).expect("as many elements as before")
    }

    /// The elements as one axis, with the first two of the axes `[a, b, block bytes]` swapped.
    pub(in crate::train) fn swapped(&self, a: usize, b: usize, block: usize) -> Self {
        let from = self.bytes();
        let mut bytes = Vec::with_capacity(from.len());
        for j in 0..b {
            for i in 0..a {
                let start = (i * b + j) * block;
                bytes.extend_from_slice(&from[start..start + block]);
            }
        }
        Self { dtype: self.dtype, dims: vec![bytes.len() / self.dtype.size()], bytes: Arc::new(bytes) }
    }

    /// Every element rounded to the nearest f32.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = Vec::new();
        self.dtype.decode_f32(self.bytes(), &mut values);
        values
    }

    /// Every element as an i64, with u64 values above `i64::MAX` saturated to it; `None` for
    /// floating-point arrays.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        let mut values = Vec::new();
        self.dtype.decode_i64(self.bytes(), &mut values).then_some(values)
    }
}

impl DType {
    /// Appends the elements that `bytes` hold, each rounded to the nearest f32.
    pub(super) fn decode_f32(self, bytes: &[u8], to: &mut Vec<f32>) {
        match self {
            Self::Bool | Self::U8 => to.extend(bytes.iter().map(|&v| f32::from(v))),
            Self::I8 => to.extend(bytes.iter().map(|&v| f32::from(v as i8))),
            Self::U16 => each(bytes, to, |b| f32::from(u16::from_le_bytes(b))),
            Self::I16 => each(bytes, to, |b| f32::from(i16::from_le_bytes(b))),
            Self::U32 => each(bytes, to, |b| u32::from_le_bytes(b) as f32),
            Self::I32 => each(bytes, to, |b| i32::from_le_bytes(b) as f32),
            Self::U64 => each(bytes, to, |b| u64::from_le_bytes(b) as f32),
            Self::I64 => each(bytes, to, |b| i64::from_le_bytes(b) as f32),
            Self::F16 => each(bytes, to, |b| f16_to_f32(u16::from_le_bytes(b))),
            Self::Bf16 => each(bytes, to, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
            Self::F32 => each(bytes, to, f32::from_le_bytes),
            Self::F64 => each(bytes, to, |b| f64::from_le_bytes(b) as f32),
        }
    }

    /// Appends the elements that `bytes` hold as i64, with u64 values above `i64::MAX` saturated to it. Whether they are
    /// integers.
    pub(super) fn decode_i64(self, bytes: &[u8], to: &mut Vec<i64>) -> bool {
        match self {
            Self::U64 => each(bytes, to, |b| i64::try_from(u64::from_le_bytes(b)).unwrap_or(i64::MAX)),
            _ => return self.decode_labels(bytes, to),
        }
        true
    }

    /// The same with an i64 for each element that is the same for no other.
    pub(super) fn decode_labels(self, bytes: &[u8], to: &mut Vec<i64>) -> bool {
        match self {
            Self::Bool | Self::U8 => to.extend(bytes.iter().map(|&v| i64::from(v))),
            Self::I8 => to.extend(bytes.iter().map(|&v| i64::from(v as i8))),
            Self::U16 => each(bytes, to, |b| i64::from(u16::from_le_bytes(b))),
            Self::I16 => each(bytes, to, |b| i64::from(i16::from_le_bytes(b))),
            Self::U32 => each(bytes, to, |b| i64::from(u32::from_le_bytes(b))),
            Self::I32 => each(bytes, to, |b| i64::from(i32::from_le_bytes(b))),
            Self::U64 | Self::I64 => each(bytes, to, i64::from_le_bytes),
            Self::F16 | Self::Bf16 | Self::F32 | Self::F64 => return false,
        }
        true
    }
}

/// Reverses the bytes of every element of a big-endian buffer.
pub(super) fn swap_bytes(dtype: DType, bytes: &mut [u8]) {
    for element in bytes.chunks_exact_mut(dtype.size()) {
        element.reverse();
    }
}

/// Rearranges Fortran order (first axis fastest) into C order.
pub(super) fn fortran_to_c(dtype: DType, dims: &[usize], bytes: &[u8]) -> Vec<u8> {
    let size = dtype.size();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = vec![0usize; dims.len()];
    let strides: Vec<usize> = dims
        .iter()
        .scan(1, |stride, &dim| {
            let this = *stride;
            *stride *= dim;
            Some(this)
        })
        .collect();
    for _ in 0..bytes.len() / size {
        let at: usize = index.iter().zip(&strides).map(|(i, s)| i * s).sum();
        out.extend_from_slice(&bytes[at * size..(at + 1) * size]);
        for axis in (0..dims.len()).rev() {
            index[axis] += 1;
            if index[axis] < dims[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}

fn bytes<const SIZE: usize, T: Copy>(values: &[T], convert: impl Fn(T) -> [u8; SIZE]) -> Vec<u8> {
    values.iter().map(|&value| convert(value)).collect::<Vec<_>>().into_flattened()
}

fn each<const SIZE: usize, T>(bytes: &[u8], to: &mut Vec<T>, convert: impl Fn([u8; SIZE]) -> T) {
    let (chunks, _) = bytes.as_chunks::<SIZE>();
    to.extend(chunks.iter().map(|&chunk| convert(chunk)));
}

/// IEEE 754 binary16 to binary32, exactly.
fn f16_to_f32(half: u16) -> f32 {
    let sign = if half & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from((half >> 10) & 0x1f);
    let fraction = f32::from(half & 0x3ff);
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        0x1f if fraction == 0.0 => f32::INFINITY,
        0x1f => f32::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_landmarks() {
        // Values from the examples of IEEE 754 binary16.
        for (bits, value) in [
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x0400, 6.103_515_6e-5),
            (0x3555, 0.333_251_95),
            (0x3c00, 1.0),
            (0x7bff, 65504.0),
            (0x7c00, f32::INFINITY),
            (0xc000, -2.0),
        ] {
            assert_eq!(f16_to_f32(bits), value, "{bits:#06x}");
        }
        assert!(f16_to_f32(0x7e00).is_nan());
        assert!(f16_to_f32(0x8000).is_sign_negative());
    }

    #[test]
    fn fortran_order_becomes_c_order() {
        // [[1, 2, 3], [4, 5, 6]] stored by columns.
        let columns = [1, 4, 2, 5, 3, 6];
        assert_eq!(fortran_to_c(DType::U8, &[2, 3], &columns), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn integers_widen_and_saturate() {
        let bytes = [u64::MAX, 7].iter().flat_map(|v| v.to_le_bytes()).collect();
        let array = Array::new(DType::U64, vec![2], bytes).unwrap();
        assert_eq!(array.to_i64().unwrap(), [i64::MAX, 7]);
        assert_eq!(Array::from_f32(vec![1], &[1.0]).to_i64(), None);
    }
}
