//! Adds a physical batch to the gradient sum: the one place where sums of different batches meet.

use serde::{Deserialize, Serialize};

use super::contract::work;
use super::{Binding, KernelRules};
use crate::lower::program::Extent;

/// `y[i] += x[i]` for `len` elements.
///
/// Buffers: `x`; then `y`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accumulate {
    /// Number of elements.
    pub len: usize,
}

impl KernelRules for Accumulate {
    fn name(&self) -> &'static str {
        "accumulate"
    }

    fn buffers(&self) -> Vec<Binding> {
        let len = Extent::fixed(self.len);
        vec![Binding::floats("x", len), Binding::floats("y", len).written()]
    }

    fn flops(&self, _rows: usize) -> u64 {
        work(&[self.len])
    }

    fn text(&self) -> String {
        format!("[{}]", self.len)
    }
}
