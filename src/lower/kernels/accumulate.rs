//! Adds a physical batch to the gradient sum: the one place where sums of different batches meet.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Launch};

/// `y[i] += x[i]` for `len` elements.
///
/// Buffers: `x`; then `y`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accumulate {
    /// Number of elements.
    pub len: usize,
}

impl KernelRules for Accumulate {
    fn template(&self) -> &'static str {
        "accumulate"
    }

    fn launches(&self, _rows: usize) -> Vec<Launch> {
        Launch::linear(self.len, &[])
    }

    fn flops(&self, _rows: usize) -> u64 {
        self.len as u64
    }

    fn text(&self) -> String {
        format!("[{}]", self.len)
    }
}
