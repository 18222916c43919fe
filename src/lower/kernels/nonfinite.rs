//! Finds numbers that are not finite in what an update leaves, on the device, so that no step costs a transfer of the
//! parameters.

use serde::{Deserialize, Serialize};

use super::contract::work;
use super::{Binding, KernelRules};
use crate::lower::program::Extent;

/// Bit `k` of `flags[at]` is set if any of the `len` elements of `x_k` is NaN or infinite; all other bits stay. The bits of
/// an element tell, as drivers may take arithmetic on NaN for a number.
///
/// Buffers: `x_0` to `x_2`, as many as `buffers` says, at least one; then `flags`, `i32`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nonfinite {
    /// Number of elements of each buffer.
    pub len: usize,
    /// Number of buffers that are read, at most three: a parameter and its optimizer states.
    pub buffers: usize,
    /// Which flag is set.
    pub at: usize,
}

impl Nonfinite {
    /// The bits of infinity; those of a number that is not finite are at least as many, its sign aside.
    pub const INFINITY: u32 = f32::INFINITY.to_bits();
}

impl KernelRules for Nonfinite {
    fn name(&self) -> &'static str {
        "nonfinite"
    }

    fn buffers(&self) -> Vec<Binding> {
        let read = (0..self.buffers.min(4)).map(|_| Binding::floats("x", Extent::fixed(self.len)));
        read.chain([Binding::integers("flags", Extent::fixed(self.at.saturating_add(1))).written()]).collect()
    }

    fn problem(&self) -> Option<String> {
        (!(1..=3).contains(&self.buffers)).then(|| format!("looks at {} buffers", self.buffers))
    }

    fn flops(&self, _rows: usize) -> u64 {
        work(&[self.len, self.buffers])
    }

    fn text(&self) -> String {
        format!("{} × [{}] → flag {}", self.buffers, self.len, self.at)
    }
}
