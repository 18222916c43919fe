//! Types of values in a proved graph: a dtype, a shape per record, and whether the batch axis is there.
//!
//! The forward pass has been proved per-sample independent before a graph exists, so every value is either
//! *batched* (one array per record, the batch axis `N` outermost) or *shared* by all records. The dims are those of
//! one record: an op's axes never count `N`, so an op means the same thing whether its operands are batched or not.

use std::fmt;

/// Element type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 32-bit signed integer: token ids, class labels, dropout keys.
    I32,
    /// Truth value, kept as a 32-bit integer that is 0 or 1.
    Bool,
}

impl DType {
    /// Bytes of an element in memory.
    pub const fn size(self) -> usize {
        match self {
            DType::F32 | DType::I32 | DType::Bool => 4,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::I32 => "i32",
            DType::Bool => "bool",
        })
    }
}

/// The type of a value; prints as `f32[N, 16, 13, 13]` when batched and `f32[16, 64]` when shared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Type {
    /// Element type.
    pub dtype: DType,
    /// Whether each record of the batch has its own value.
    pub batched: bool,
    /// Dims of one record's value, row-major.
    pub dims: Vec<usize>,
}

impl Type {
    /// A float value with one array of `dims` per record.
    pub fn batched(dims: impl Into<Vec<usize>>) -> Type {
        Type { dtype: DType::F32, batched: true, dims: dims.into() }
    }

    /// A float value shared by all records.
    pub fn shared(dims: impl Into<Vec<usize>>) -> Type {
        Type { dtype: DType::F32, batched: false, dims: dims.into() }
    }

    /// The same type with another element type.
    pub fn of(self, dtype: DType) -> Type {
        Type { dtype, ..self }
    }

    /// Elements of one record's value; of a value that could not be, the largest number.
    pub fn len(&self) -> usize {
        product(&self.dims)
    }

    /// Elements from one record's value to the next: none where all records share it.
    pub fn record_stride(&self) -> usize {
        if self.batched { self.len() } else { 0 }
    }

    /// Whether a record's value has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same element type and batching with other dims.
    pub fn with_dims(&self, dims: impl Into<Vec<usize>>) -> Type {
        Type { dims: dims.into(), ..self.clone() }
    }

    /// Row-major strides of one record's value, in elements.
    pub fn strides(&self) -> Vec<usize> {
        strides(&self.dims)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut axes: Vec<String> = self.dims.iter().map(|d| d.to_string()).collect();
        if self.batched {
            axes.insert(0, "N".into());
        }
        write!(f, "{}[{}]", self.dtype, axes.join(", "))
    }
}

/// The most elements of one record's value: devices index it with 32 bits.
pub const MAX_LEN: usize = 1 << 31;

/// The product of `dims`, or the largest number where it overflows.
pub fn product(dims: &[usize]) -> usize {
    if dims.contains(&0) { 0 } else { dims.iter().fold(1, |product: usize, &dim| product.saturating_mul(dim)) }
}

/// Row-major strides of `dims`, in elements.
pub fn strides(dims: &[usize]) -> Vec<usize> {
    let mut out = vec![1_usize; dims.len()];
    for i in (0..dims.len().saturating_sub(1)).rev() {
        out[i] = out[i + 1].saturating_mul(dims[i + 1]);
    }
    out
}

/// The dims two operands broadcast to (NumPy's rule on the dims of one record), or `None` if they do not.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |k| dims[k]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_print_with_the_batch_axis_first() {
        assert_eq!(Type::batched([3, 5]).to_string(), "f32[N, 3, 5]");
        assert_eq!(Type::batched([]).of(DType::I32).to_string(), "i32[N]");
        assert_eq!(Type::shared([]).to_string(), "f32[]");
    }

    #[test]
    fn sizes_that_overflow_are_the_largest_number() {
        assert_eq!(Type::shared([usize::MAX, 2]).len(), usize::MAX);
        assert_eq!(Type::shared([usize::MAX, 2, 0]).len(), 0);
        assert_eq!(strides(&[2, usize::MAX, 3]), [usize::MAX, 3, 1]);
    }

    #[test]
    fn broadcasting_aligns_from_the_right() {
        assert_eq!(broadcast(&[4, 1], &[3]), Some(vec![4, 3]));
        assert_eq!(broadcast(&[], &[2, 3]), Some(vec![2, 3]));
        assert_eq!(broadcast(&[2], &[3]), None);
    }
}
