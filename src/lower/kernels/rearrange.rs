//! A constant permutation or selection of elements.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Launch, words};

/// `y[n, i] = x[n, map[i]]` for `len` elements `i`.
///
/// Buffers: `x`; `map`, an `i32[len]`; then `y`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rearrange {
    /// Whether `n` runs over the `P` rows (else over one).
    pub batched: bool,
    /// Elements of a record of `x`.
    pub from_len: usize,
    /// Elements of a record of `y`.
    pub len: usize,
}

impl KernelRules for Rearrange {
    fn template(&self) -> &'static str {
        "rearrange"
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let records = if self.batched { rows } else { 1 };
        Launch::linear(records * self.len, &words(&[self.from_len, self.len]))
    }

    fn flops(&self, _rows: usize) -> u64 {
        0
    }

    fn text(&self) -> String {
        format!("[{}]", self.len)
    }
}
