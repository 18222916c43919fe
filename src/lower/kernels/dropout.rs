//! Dropout with a mask that depends on the record alone.

use serde::{Deserialize, Serialize};

use super::contract::work;
use super::{Binding, KernelRules};
use crate::lower::program::Extent;

/// `y[n, i] = x[n, i] · m / (1 − ratio)` with `m = [u(keys[n], layer, i) ≥ ratio]`.
///
/// `u` is word 0 of Threefry-2x32-20 (Salmon et al., SC 2011) with key `(keys[n, 0], keys[n, 1])` and counter
/// `(i, layer)`, its 24 high bits over 2²⁴: the mask of a record depends on its own key and on nothing else in the batch.
///
/// Buffers: `x`, `f32[P, len]`; `keys`, `i32[P, 2]`; then `y`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dropout {
    /// Elements per record.
    pub len: usize,
    /// The share of elements set to zero.
    pub ratio: f32,
    /// Which dropout of the model this is.
    pub layer: u32,
}

impl KernelRules for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn buffers(&self) -> Vec<Binding> {
        let len = Extent::rows(self.len);
        vec![Binding::floats("x", len), Binding::integers("keys", Extent::rows(2)), Binding::floats("y", len).written()]
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[rows, self.len])
    }

    fn text(&self) -> String {
        format!("[{}] ratio {} layer {}", self.len, self.ratio, self.layer)
    }
}
