//! A constant permutation or selection of elements.

use serde::{Deserialize, Serialize};

use super::{Binding, KernelRules};
use crate::lower::program::Extent;

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
    fn name(&self) -> &'static str {
        "rearrange"
    }

    fn buffers(&self) -> Vec<Binding> {
        let records = Extent::of(1, self.batched);
        vec![
            Binding::any("x", records.times(self.from_len)),
            Binding::integers("map", Extent::fixed(self.len)),
            Binding::any("y", records.times(self.len)).written(),
        ]
    }

    fn flops(&self, _rows: usize) -> u64 {
        0
    }

    fn text(&self) -> String {
        format!("[{}]", self.len)
    }
}
