//! Factored axes: how an ONNX value's axes hold the batch.
//!
//! An axis is a list of factors in row-major order, at most one of which in the whole value is the batch factor `N`.
//! Merged axes are how exporters write attention (`[N·H, T, D]`) and `nn.MultiheadAttention` (`[T, N·H, D]`). The batch
//! rules of the ops carry these lists from operands to results, or refuse; see [`super::prove`].

use std::fmt;

use crate::graph::product;
use crate::onnx::Dim;

/// One factor of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Factor {
    /// A constant size.
    Size(usize),
    /// The batch.
    Batch,
}

/// The factors of one axis, slowest first, without sizes of 1 and with neighbouring sizes merged.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct Axis(Vec<Factor>);

impl Axis {
    /// An axis of constant size.
    pub fn size(n: usize) -> Axis {
        Axis::of(&[Factor::Size(n)])
    }

    /// The axis that is the batch and nothing else.
    pub fn batch() -> Axis {
        Axis(vec![Factor::Batch])
    }

    /// An axis of these factors.
    pub fn of(factors: &[Factor]) -> Axis {
        let mut out: Vec<Factor> = Vec::new();
        for &f in factors {
            match (out.last_mut(), f) {
                (_, Factor::Size(1)) => {}
                (Some(Factor::Size(last)), Factor::Size(n)) => *last = last.saturating_mul(n),
                _ => out.push(f),
            }
        }
        Axis(out)
    }

    /// The factors, slowest first.
    pub fn factors(&self) -> &[Factor] {
        &self.0
    }

    /// Whether the batch factor is in this axis.
    pub fn is_batched(&self) -> bool {
        self.0.contains(&Factor::Batch)
    }

    /// Whether this axis is the batch and nothing else.
    pub fn is_batch(&self) -> bool {
        self.0 == [Factor::Batch]
    }

    /// Whether the elements of a record lie together on this axis, one record's after the other's.
    pub fn leads_with_batch(&self) -> bool {
        self.0.first() == Some(&Factor::Batch)
    }

    /// The product of the constant factors: the size of this axis for one record.
    pub fn per_record(&self) -> usize {
        let size = |f: &Factor| if let Factor::Size(n) = f { *n } else { 1 };
        product(&self.0.iter().map(size).collect::<Vec<_>>())
    }
}

/// A multiple of the batch is taken as batch-major; an op that makes another order says so itself.
impl From<&Dim> for Axis {
    fn from(dim: &Dim) -> Axis {
        match *dim {
            Dim::Known(n) => Axis::size(n),
            Dim::Batch(k) => Axis::of(&[Factor::Batch, Factor::Size(k)]),
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("1");
        }
        for (k, factor) in self.0.iter().enumerate() {
            if k > 0 {
                f.write_str("·")?;
            }
            match factor {
                Factor::Size(n) => write!(f, "{n}")?,
                Factor::Batch => f.write_str("N")?,
            }
        }
        Ok(())
    }
}

/// The axes of an ONNX value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct Axes(pub Vec<Axis>);

impl Axes {
    /// Whether there are no elements, as one of the axes has none.
    pub fn hold_nothing(&self) -> bool {
        self.0.iter().any(|axis| axis.per_record() == 0)
    }

    /// Axes of constant sizes.
    pub fn shared(dims: &[usize]) -> Axes {
        Axes(dims.iter().map(|&d| Axis::size(d)).collect())
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The axis that holds the batch factor, if any does.
    pub fn batch_axis(&self) -> Option<usize> {
        self.0.iter().position(Axis::is_batched)
    }

    /// The dims of one record: the batch factor taken out, and the axis with it where it was alone.
    pub fn per_record(&self) -> Vec<usize> {
        self.0.iter().filter(|a| !a.is_batch()).map(Axis::per_record).collect()
    }

    /// Where ONNX axis `axis` stands among the dims of one record; `None` for the axis that is the batch alone.
    pub fn record_axis(&self, axis: usize) -> Option<usize> {
        if self.0[axis].is_batch() {
            return None;
        }
        Some(self.0[..axis].iter().filter(|a| !a.is_batch()).count())
    }

    /// All factors in row-major order, merged.
    pub fn flatten(&self) -> Axis {
        Axis::of(&self.0.iter().flat_map(|a| a.0.iter().copied()).collect::<Vec<_>>())
    }
}

impl fmt::Display for Axes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.0.iter().map(|a| a.to_string()).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_lose_the_batch_factor_per_record() {
        let axes = Axes(vec![Axis::size(5), Axis::of(&[Factor::Batch, Factor::Size(2)]), Axis::size(8)]);
        assert_eq!(axes.to_string(), "[5, N·2, 8]");
        assert_eq!(axes.per_record(), [5, 2, 8]);
        let alone = Axes(vec![Axis::size(5), Axis::batch(), Axis::size(8)]);
        assert_eq!(alone.per_record(), [5, 8]);
        assert_eq!((alone.record_axis(0), alone.record_axis(1), alone.record_axis(2)), (Some(0), None, Some(1)));
    }
}
