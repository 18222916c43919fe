//! The cross term of a table that is also a matrix of a product (tied embeddings).

use serde::{Deserialize, Serialize};

use super::operand::View;
use super::{KernelRules, Launch, Span, linear_grid, words};
use crate::lower::emit::Specialise;

/// `y[n] = 2 Σ_t Σ_u b[n](row_of_id(ids[n, t]), u) · (Σ_j x[n, t, j] · a[n](j, u))`: twice the inner product of the table gradient
/// `Σ_t e(ids[n, t]) ⊗ x[n, t]` and the outer-product gradient `Σ_u b_u ⊗ a_u` of the same table, without making either.
///
/// Buffers: `ids`, `i32[P, count]`; `x`, `f32[P, count, width]`; `b`; `a`; then `y`, `f32[P]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentCross {
    /// Ids per record.
    pub count: usize,
    /// Elements of a table row.
    pub width: usize,
    /// Rows of the table.
    pub table_rows: usize,
    /// Positions `u`.
    pub steps: usize,
    /// Row is the table row, column the position `u`.
    pub b: View,
    /// Row is the element `j` of a table row, column the position `u`.
    pub a: View,
}

impl KernelRules for SegmentCross {
    fn template(&self) -> &'static str {
        "segment_cross"
    }

    fn specialise(&self, template: &mut Specialise) {
        template.constant("A_VIEW", self.a.constant());
        template.constant("B_VIEW", self.b.constant());
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let launch = |part: &Span| {
            let sizes = [rows, self.count, self.steps, self.width, self.table_rows, part.outer[0], part.outer[1]];
            Launch::new([self.a.words(), self.b.words(), words(&sizes)].concat(), linear_grid(rows, 1))
        };
        let blocks = (self.count * self.steps).div_ceil(64);
        Span::split(blocks, self.width, 1).iter().map(launch).collect()
    }

    fn iterations(&self) -> usize {
        self.width + 1_000
    }

    fn flops(&self, rows: usize) -> u64 {
        2 * (rows * self.count * self.steps * self.width) as u64
    }

    fn text(&self) -> String {
        format!("{}×{} of [{}, {}]", self.count, self.steps, self.table_rows, self.width)
    }
}
