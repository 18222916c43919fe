//! Tensors of an ONNX file, read into the few element types that dpc computes with.

use std::fmt;

use tract_onnx::tract_hir::internal::f16;

use super::narrow::Narrow;
use super::proto::TensorProto;

/// The element type of an ONNX value
/// ([TensorProto.DataType](https://onnx.ai/onnx/repo-docs/IR.html#tensor-element-types)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elem {
    /// 32-bit float.
    F32,
    /// 64-bit float, read as `F32`.
    F64,
    /// 16-bit float, read as `F32`.
    F16,
    /// bfloat16, read as `F32`.
    Bf16,
    /// 8-bit integer, read as `I64`.
    I8,
    /// 16-bit integer, read as `I64`.
    I16,
    /// 32-bit integer, read as `I64`.
    I32,
    /// 64-bit integer.
    I64,
    /// 8-bit unsigned integer, read as `I64`.
    U8,
    /// 16-bit unsigned integer, read as `I64`.
    U16,
    /// 32-bit unsigned integer, read as `I64`.
    U32,
    /// 64-bit unsigned integer, read as `I64` where it fits.
    U64,
    /// Truth value.
    Bool,
    /// A type that dpc does not compute with, by its number.
    Other(i32),
}

impl Elem {
    /// The element type with this number in `TensorProto.DataType`.
    pub fn from_onnx(number: i32) -> Elem {
        match number {
            1 => Elem::F32,
            2 => Elem::U8,
            3 => Elem::I8,
            4 => Elem::U16,
            5 => Elem::I16,
            6 => Elem::I32,
            7 => Elem::I64,
            9 => Elem::Bool,
            10 => Elem::F16,
            11 => Elem::F64,
            12 => Elem::U32,
            13 => Elem::U64,
            16 => Elem::Bf16,
            other => Elem::Other(other),
        }
    }

    /// The number of the element type in `TensorProto.DataType`.
    pub fn to_onnx(self) -> i32 {
        match self {
            Elem::F32 => 1,
            Elem::U8 => 2,
            Elem::I8 => 3,
            Elem::U16 => 4,
            Elem::I16 => 5,
            Elem::I32 => 6,
            Elem::I64 => 7,
            Elem::Bool => 9,
            Elem::F16 => 10,
            Elem::F64 => 11,
            Elem::U32 => 12,
            Elem::U64 => 13,
            Elem::Bf16 => 16,
            Elem::Other(number) => number,
        }
    }

    /// The least and the largest of the integers of a type of less than 32 bits.
    pub fn bounds(self) -> Option<(i64, i64)> {
        match self {
            Elem::U8 => Some((0, 255)),
            Elem::I8 => Some((-128, 127)),
            Elem::U16 => Some((0, 65_535)),
            Elem::I16 => Some((-32_768, 32_767)),
            other => Narrow::of(other)?.bounds(),
        }
    }

    /// Whether values are floating-point numbers.
    pub fn is_float(self) -> bool {
        matches!(self, Elem::F32 | Elem::F64 | Elem::F16 | Elem::Bf16)
    }

    /// Whether values are integers.
    pub fn is_integer(self) -> bool {
        use Elem::*;
        matches!(self, I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
    }

    /// An integer as one of this type, which wraps around.
    pub fn wrap(self, x: i64) -> i64 {
        match self {
            Elem::I8 => i64::from(x as i8),
            Elem::I16 => i64::from(x as i16),
            Elem::I32 => i64::from(x as i32),
            Elem::U8 => i64::from(x as u8),
            Elem::U16 => i64::from(x as u16),
            Elem::U32 => i64::from(x as u32),
            _ => x,
        }
    }

    /// Bytes of one element in `raw_data`; `None` for types that dpc does not compute with.
    pub fn size(self) -> Option<usize> {
        match self {
            Elem::I8 | Elem::U8 | Elem::Bool => Some(1),
            Elem::I16 | Elem::U16 | Elem::F16 | Elem::Bf16 => Some(2),
            Elem::F32 | Elem::I32 | Elem::U32 => Some(4),
            Elem::F64 | Elem::I64 | Elem::U64 => Some(8),
            Elem::Other(_) => None,
        }
    }
}

impl fmt::Display for Elem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Elem::F32 => "f32",
            Elem::F64 => "f64",
            Elem::F16 => "f16",
            Elem::Bf16 => "bf16",
            Elem::I8 => "i8",
            Elem::I16 => "i16",
            Elem::I32 => "i32",
            Elem::I64 => "i64",
            Elem::U8 => "u8",
            Elem::U16 => "u16",
            Elem::U32 => "u32",
            Elem::U64 => "u64",
            Elem::Bool => "bool",
            Elem::Other(number) => {
                return match number {
                    0 => f.write_str("undefined"),
                    8 => f.write_str("string"),
                    14 => f.write_str("complex64"),
                    15 => f.write_str("complex128"),
                    17 => f.write_str("float8e4m3fn"),
                    18 => f.write_str("float8e4m3fnuz"),
                    19 => f.write_str("float8e5m2"),
                    20 => f.write_str("float8e5m2fnuz"),
                    21 => f.write_str("uint4"),
                    22 => f.write_str("int4"),
                    23 => f.write_str("float4e2m1"),
                    24 => f.write_str("float8e8m0"),
                    25 => f.write_str("uint2"),
                    26 => f.write_str("int2"),
                    27 => f.write_str("float6e2m3"),
                    28 => f.write_str("float6e3m2"),
                    number => write!(f, "type {number}"),
                };
            }
        };
        f.write_str(name)
    }
}

/// The elements of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// Floating-point numbers.
    F32(Vec<f32>),
    /// Integers.
    I64(Vec<i64>),
    /// Truth values.
    Bool(Vec<bool>),
}

impl TensorData {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            TensorData::F32(values) => values.len(),
            TensorData::I64(values) => values.len(),
            TensorData::Bool(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A constant tensor. `data` holds the product of `dims` elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The size of each axis.
    pub dims: Vec<usize>,
    /// The elements.
    pub data: TensorData,
}

/// Why a `TensorProto` is not a [`Tensor`].
#[derive(Clone, Debug, PartialEq)]
pub enum TensorError {
    /// The element type is none that dpc computes with.
    ElementType(Elem),
    /// The declaration and the data disagree.
    Malformed(String),
}

impl Tensor {
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The elements if they are floats.
    pub fn floats(&self) -> Option<&[f32]> {
        match &self.data {
            TensorData::F32(values) => Some(values),
            _ => None,
        }
    }

    /// The elements if they are integers.
    pub fn ints(&self) -> Option<&[i64]> {
        match &self.data {
            TensorData::I64(values) => Some(values),
            _ => None,
        }
    }

    /// The elements if they are truth values.
    pub fn bools(&self) -> Option<&[bool]> {
        match &self.data {
            TensorData::Bool(values) => Some(values),
            _ => None,
        }
    }

    /// Reads a tensor whose data lie in the message itself.
    ///
    /// Nothing is allocated for a declared shape before the data is known to fill it.
    pub fn from_proto(proto: &TensorProto) -> Result<Tensor, TensorError> {
        match &proto.raw_data {
            Some(raw) if !raw.is_empty() => Tensor::from_raw(proto, raw),
            _ => Tensor::from_fields(proto),
        }
    }

    /// Reads a tensor of `proto`'s type and shape from little-endian `raw` bytes.
    fn from_raw(proto: &TensorProto, raw: &[u8]) -> Result<Tensor, TensorError> {
        let elem = Elem::from_onnx(proto.data_type.unwrap_or(0));
        if let Some(narrow) = Narrow::of(elem) {
            return Tensor::from_narrow(proto, (elem, narrow), raw);
        }
        let size = elem.size().ok_or(TensorError::ElementType(elem))?;
        let (dims, count) = shape(proto)?;
        if count.checked_mul(size) != Some(raw.len()) {
            return Err(TensorError::Malformed(format!(
                "shape {dims:?} of {elem} needs {count} elements of {size} bytes, the data has {} bytes",
                raw.len()
            )));
        }
        macro_rules! read {
            ($type:ty, $map:expr) => {
                raw.chunks_exact(size)
                    .map(|chunk| {
                        let mut bytes = [0; size_of::<$type>()];
                        bytes.copy_from_slice(chunk);
                        $map(<$type>::from_le_bytes(bytes))
                    })
                    .collect()
            };
        }
        let data = match elem {
            Elem::F32 => TensorData::F32(read!(f32, |x| x)),
            Elem::F64 => TensorData::F32(read!(f64, |x| x as f32)),
            Elem::F16 => TensorData::F32(read!(u16, |x| f16::from_bits(x).to_f32())),
            Elem::Bf16 => TensorData::F32(read!(u16, |x| f32::from_bits(u32::from(x) << 16))),
            Elem::I8 => TensorData::I64(read!(i8, i64::from)),
            Elem::I16 => TensorData::I64(read!(i16, i64::from)),
            Elem::I32 => TensorData::I64(read!(i32, i64::from)),
            Elem::I64 => TensorData::I64(read!(i64, |x| x)),
            Elem::U8 => TensorData::I64(read!(u8, i64::from)),
            Elem::U16 => TensorData::I64(read!(u16, i64::from)),
            Elem::U32 => TensorData::I64(read!(u32, i64::from)),
            Elem::U64 => {
                let values: Vec<u64> = read!(u64, |x| x);
                TensorData::I64(signed(&values)?)
            }
            Elem::Bool => TensorData::Bool(raw.iter().map(|&x| x != 0).collect()),
            Elem::Other(_) => return Err(TensorError::ElementType(elem)),
        };
        Ok(Tensor { dims, data })
    }

    /// Reads a tensor of a type of at most a byte that dpc does not compute with.
    fn from_narrow(proto: &TensorProto, (elem, narrow): (Elem, Narrow), bytes: &[u8]) -> Result<Tensor, TensorError> {
        let (dims, count) = shape(proto)?;
        if narrow.bytes(count) != bytes.len() {
            return Err(TensorError::Malformed(format!(
                "shape {dims:?} of {elem} needs {} bytes, the data has {}",
                narrow.bytes(count),
                bytes.len()
            )));
        }
        Ok(Tensor { dims, data: narrow.read(bytes, count) })
    }

    /// Reads a tensor from the field that holds its element type's data.
    fn from_fields(proto: &TensorProto) -> Result<Tensor, TensorError> {
        let elem = Elem::from_onnx(proto.data_type.unwrap_or(0));
        if let Some(narrow) = Narrow::of(elem) {
            let bytes: Vec<u8> = proto.int32_data.iter().map(|&x| x as u8).collect();
            return Tensor::from_narrow(proto, (elem, narrow), &bytes);
        }
        if let Elem::Other(_) = elem {
            return Err(TensorError::ElementType(elem));
        }
        let (dims, count) = shape(proto)?;
        let ints = &proto.int32_data;
        let data = match elem {
            Elem::F32 => TensorData::F32(proto.float_data.clone()),
            Elem::F64 => TensorData::F32(proto.double_data.iter().map(|&x| x as f32).collect()),
            Elem::F16 => TensorData::F32(ints.iter().map(|&x| f16::from_bits(x as u16).to_f32()).collect()),
            Elem::Bf16 => TensorData::F32(ints.iter().map(|&x| f32::from_bits(u32::from(x as u16) << 16)).collect()),
            Elem::I64 => TensorData::I64(proto.int64_data.clone()),
            Elem::U32 | Elem::U64 => TensorData::I64(signed(&proto.uint64_data)?),
            Elem::Bool => TensorData::Bool(ints.iter().map(|&x| x != 0).collect()),
            _ => TensorData::I64(ints.iter().map(|&x| i64::from(x)).collect()),
        };
        if data.len() != count {
            return Err(TensorError::Malformed(format!(
                "shape {dims:?} of {elem} needs {count} elements, the data has {}",
                data.len()
            )));
        }
        Ok(Tensor { dims, data })
    }
}

/// Little-endian bytes of `values` in a float element type; halves are rounded to the nearest, ties to even.
pub(super) fn f32_to_raw(elem: Elem, values: &[f32]) -> Vec<u8> {
    match elem {
        Elem::F64 => values.iter().flat_map(|&x| f64::from(x).to_le_bytes()).collect(),
        Elem::F16 => values.iter().flat_map(|&x| f16::from_f32(x).to_bits().to_le_bytes()).collect(),
        Elem::Bf16 => values.iter().flat_map(|&x| bf16_bits(x).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

fn bf16_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        const QUIET: u16 = 0x40;
        return (bits >> 16) as u16 | QUIET;
    }
    let half = 0x7fff + ((bits >> 16) & 1);
    ((bits + half) >> 16) as u16
}

/// The declared axes and the number of elements.
fn shape(proto: &TensorProto) -> Result<(Vec<usize>, usize), TensorError> {
    if proto.segment.is_some() {
        return Err(TensorError::Malformed("it is stored in segments, which ONNX has withdrawn".to_owned()));
    }
    let malformed = || TensorError::Malformed(format!("{:?} is not a shape", proto.dims));
    let dims: Vec<usize> =
        proto.dims.iter().map(|&dim| usize::try_from(dim).map_err(|_| malformed())).collect::<Result<_, _>>()?;
    let count = dims.iter().try_fold(1_usize, |count, &dim| count.checked_mul(dim)).ok_or_else(malformed)?;
    Ok((dims, count))
}

fn signed(values: &[u64]) -> Result<Vec<i64>, TensorError> {
    values
        .iter()
        .map(|&x| i64::try_from(x).map_err(|_| TensorError::Malformed(format!("{x} exceeds a signed 64-bit integer"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proto(elem: Elem, dims: &[i64], raw: &[u8]) -> TensorProto {
        TensorProto {
            data_type: Some(elem.to_onnx()),
            dims: dims.to_vec(),
            raw_data: Some(raw.to_vec().into()),
            ..TensorProto::default()
        }
    }

    #[test]
    fn half_precision_is_widened() {
        // 1.5, -2, the largest finite number and the smallest subnormal of IEEE 754 binary16.
        let raw: Vec<u8> = [0x3e00_u16, 0xc000, 0x7bff, 0x0001].iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensor = Tensor::from_proto(&proto(Elem::F16, &[2, 2], &raw)).unwrap();
        assert_eq!(tensor.floats().unwrap(), [1.5, -2.0, 65504.0, 2.0_f32.powi(-24)]);
        let raw: Vec<u8> = [0x3fc0_u16, 0xc2f7].iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensor = Tensor::from_proto(&proto(Elem::Bf16, &[2], &raw)).unwrap();
        assert_eq!(tensor.floats().unwrap(), [1.5, -123.5]);
    }

    #[test]
    fn halves_survive_a_round_trip() {
        for elem in [Elem::F16, Elem::Bf16] {
            let raw: Vec<u8> = (0..=u16::MAX).flat_map(|x| x.to_le_bytes()).collect();
            let tensor = Tensor::from_proto(&proto(elem, &[1 << 16], &raw)).unwrap();
            let values = tensor.floats().unwrap();
            let back = f32_to_raw(elem, values);
            for ((before, after), value) in raw.chunks(2).zip(back.chunks(2)).zip(values) {
                assert!(before == after || value.is_nan(), "{elem} {value}");
            }
        }
        // A tie goes to the even neighbour; just above it, up.
        assert_eq!(bf16_bits(f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(bf16_bits(f32::from_bits(0x3f80_8001)), 0x3f81);
        assert_eq!(bf16_bits(f32::from_bits(0x3f81_8000)), 0x3f82);
        assert!(f32::from_bits(u32::from(bf16_bits(f32::NAN)) << 16).is_nan());
    }

    #[test]
    fn typed_fields_are_read_as_raw_data_is() {
        let fields = TensorProto {
            data_type: Some(Elem::I32.to_onnx()),
            dims: vec![3],
            int32_data: vec![-1, 0, 7],
            ..TensorProto::default()
        };
        let raw: Vec<u8> = [-1_i32, 0, 7].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(Tensor::from_proto(&fields), Tensor::from_proto(&proto(Elem::I32, &[3], &raw)));
    }

    #[test]
    fn a_shape_that_the_data_does_not_fill_is_refused_before_allocation() {
        for dims in [vec![i64::MAX, i64::MAX], vec![1 << 40], vec![-1], vec![3]] {
            let found = Tensor::from_proto(&proto(Elem::F32, &dims, &[0; 8]));
            assert!(matches!(found, Err(TensorError::Malformed(_))), "{dims:?}");
        }
        assert!(Tensor::from_proto(&proto(Elem::F32, &[0, 5], &[])).unwrap().is_empty());
    }

    #[test]
    fn types_that_dpc_cannot_compute_with_are_named() {
        assert_eq!(
            Tensor::from_proto(&proto(Elem::Other(14), &[1], &[0])),
            Err(TensorError::ElementType(Elem::Other(14)))
        );
        assert_eq!(Elem::Other(17).to_string(), "float8e4m3fn");
    }
}
