//! Finds numbers that are not finite in what an update leaves, on the device, so that no step costs a transfer of the
//! parameters.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Launch};
use crate::lower::emit::Specialise;

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
    fn template(&self) -> &'static str {
        "nonfinite"
    }

    fn specialise(&self, template: &mut Specialise) {
        let read = |k: usize| format!("@group(0) @binding({}) var<storage, read> x{k}: array<u32>;\n", k + 1);
        let mut buffers: String = (0..self.buffers).map(read).collect();
        let binding = self.buffers + 1;
        buffers += &format!("@group(0) @binding({binding}) var<storage, read_write> flags: array<atomic<u32>>;");
        template.block("buffers", &buffers);
        let bits: Vec<String> = (0..self.buffers).map(|k| format!("    bits |= bit(x{k}[i], {k}u);")).collect();
        template.block("bits", &bits.join("\n"));
    }

    fn launches(&self, _rows: usize) -> Vec<Launch> {
        Launch::linear(self.len, &[self.at as u32])
    }

    fn flops(&self, _rows: usize) -> u64 {
        (self.len * self.buffers) as u64
    }

    fn text(&self) -> String {
        format!("{} × [{}] → flag {}", self.buffers, self.len, self.at)
    }
}
