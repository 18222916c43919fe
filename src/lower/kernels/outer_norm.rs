//! Square norms of per-sample gradients that are one outer product.

use serde::{Deserialize, Serialize};

use super::KernelRules;
use super::operand::View;


/// `y[n] = Σ_g (Σ_i a[n, g](i, 0)²) (Σ_j b[n, g](j, 0)²)` (Goodfellow, arXiv 1510.01799).
///
/// Buffers: `a`, `b`; then `y`, an `f32[P]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OuterNorm {
    /// Groups.
    pub groups: usize,
    /// Items of `a`.
    pub rows: usize,
    /// Items of `b`.
    pub cols: usize,
    /// Row is the item `i`, column 0.
    pub a: View,
    /// Row is the item `j`, column 0.
    pub b: View,
}

impl KernelRules for OuterNorm {
    fn template(&self) -> &'static str {
        "outer_norm"
    }

    fn flops(&self, rows: usize) -> u64 {
        2 * (rows * self.groups * (self.rows + self.cols)) as u64
    }

    fn text(&self) -> String {
        format!("{}×[{}, {}]", self.groups, self.rows, self.cols)
    }
}
