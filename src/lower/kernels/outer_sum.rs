//! Weight gradients: sums over records and positions of outer products.

use serde::{Deserialize, Serialize};

use super::operand::View;
use super::{KernelRules, Launch, Span, Tile, words};
use crate::lower::emit::Specialise;

/// `y[c, g, i, j] = Σ_n w[n] Σ_t a[n, g](i, t) · b[n, g](j, t)`, where chunk `c` sums the rows
/// `c·chunk ≤ n < min((c+1)·chunk, P)`. A row of weight 0 is skipped, whatever it holds. A row's positions are summed
/// apart from other rows' and then added, so that what it adds does not depend on them but for the rounding of one sum.
///
/// Buffers: `a`, `b`; `w`, an `f32[P]`; then `y`, contiguous, one result per chunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OuterSum {
    /// Groups.
    pub groups: usize,
    /// Rows `i` of the result: items of `a`.
    pub rows: usize,
    /// Columns `j` of the result: items of `b`.
    pub cols: usize,
    /// Positions `t`.
    pub steps: usize,
    /// Row is the item `i`, column the position `t`.
    pub a: View,
    /// Row is the item `j`, column the position `t`.
    pub b: View,
    /// Records summed into one result: one where a launch cannot make all `steps` of it.
    pub chunk: usize,
}

impl KernelRules for OuterSum {
    fn template(&self) -> &'static str {
        "outer_sum"
    }

    fn specialise(&self, template: &mut Specialise) {
        Tile::of(self.rows, self.cols).specialise(template);
        template.constant("SEVERAL", self.steps > 1);
        template.constant("A_VIEW", self.a.constant());
        template.constant("B_VIEW", self.b.constant());
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let matrices = rows.div_ceil(self.chunk) * self.groups;
        let mut launches = Vec::new();
        for (first, grid) in Tile::of(self.rows, self.cols).grids(matrices, self.rows, self.cols) {
            for part in Span::split(self.chunk.min(rows), self.steps, 1) {
                let sizes = [first[0], first[1], self.groups, self.rows, self.cols, rows, self.chunk];
                let part = [&part.outer[..], &part.inner, &[usize::from(!part.is_first())]].concat();
                launches
                    .push(Launch::new([self.a.words(), self.b.words(), words(&sizes), words(&part)].concat(), grid));
            }
        }
        launches
    }

    fn flops(&self, rows: usize) -> u64 {
        2 * (rows * self.groups * self.steps) as u64 * (self.rows * self.cols) as u64
    }

    fn text(&self) -> String {
        format!(
            "{}×[{}, {}] over {} positions, {} records a chunk",
            self.groups, self.rows, self.cols, self.steps, self.chunk
        )
    }
}
