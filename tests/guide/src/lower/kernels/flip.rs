//! The reverse order of elements along one axis.

use serde::{Deserialize, Serialize};

use super::{Binding, KernelRules};
use crate::graph::product;
use crate::lower::program::Extent;

/// `y[o, k, i] = x[o, len − 1 − k, i]`, where a record has `outer × len × inner` elements.
///
/// Buffers: `x`; then `y`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flip {
    /// Whether there is one array per record (else one).
    pub batched: bool,
    /// Product of the dims before the axis.
    pub outer: usize,
    /// Size of the axis.
    pub len: usize,
    /// Product of the dims after the axis.
    pub inner: usize,
}

impl Flip {
    /// The elements of each of the two buffers.
    pub fn extent(&self) -> Extent {
        Extent::of(product(&[self.outer, self.len, self.inner]), self.batched)
    }
}

impl KernelRules for Flip {
    fn name(&self) -> &'static str {
        "flip"
    }

    fn buffers(&self) -> Vec<Binding> {
        vec![Binding::floats("x", self.extent()), Binding::floats("y", self.extent()).written()]
    }

    fn flops(&self, _rows: usize) -> u64 {
        0
    }

    fn text(&self) -> String {
        format!("[{}, {}, {}]", self.outer, self.len, self.inner)
    }
}
