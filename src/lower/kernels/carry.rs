//! Adds a physical batch to the integer gradient sum: the one place where integer sums of different batches meet.

use serde::{Deserialize, Serialize};

use super::contract::work;
use super::{Binding, KernelRules};
use crate::lower::program::Extent;

/// `y[i] += x[i]` for `len` integers, those of `y` of 64 bits: two words each, the low one first.
///
/// Buffers: `x`, `i32[len]`; then `y`, `i32[2 len]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Carry {
    /// Number of integers.
    pub len: usize,
}

impl KernelRules for Carry {
    fn name(&self) -> &'static str {
        "carry"
    }

    fn buffers(&self) -> Vec<Binding> {
        let len = Extent::fixed(self.len);
        vec![Binding::integers("x", len), Binding::integers("y", len.times(2)).written()]
    }

    fn flops(&self, _rows: usize) -> u64 {
        work(&[2, self.len])
    }

    fn text(&self) -> String {
        format!("[{}]", self.len)
    }
}
