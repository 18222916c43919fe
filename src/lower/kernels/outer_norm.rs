//! Square norms of per-sample gradients that are one outer product.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Launch, Window, linear_grid, words};
use crate::lower::emit::Specialise;
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

    fn specialise(&self, template: &mut Specialise) {
        template.constant("A_VIEW", self.a.constant());
        template.constant("B_VIEW", self.b.constant());
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let launch = |part: &Window| {
            let sizes = [rows, self.rows, self.cols, part.outer[0], part.outer[1]];
            Launch::new([self.a.words(), self.b.words(), words(&sizes)].concat(), linear_grid(rows, 1))
        };
        Window::split(self.groups, 1, self.iterations()).iter().map(launch).collect()
    }

    fn iterations(&self) -> usize {
        self.rows.div_ceil(64) + self.cols.div_ceil(64) + 16
    }

    fn flops(&self, rows: usize) -> u64 {
        2 * (rows * self.groups * (self.rows + self.cols)) as u64
    }

    fn text(&self) -> String {
        format!("{}×[{}, {}]", self.groups, self.rows, self.cols)
    }
}
