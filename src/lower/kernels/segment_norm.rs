//! Square norms of per-sample table gradients, from sorted ids.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Lanes, Launch, Span, linear_grid, words};
use crate::lower::emit::Specialise;

/// `y[n] = Σ_v ‖Σ_t [row_of_id(ids[n, t]) = v] x[n, t, :]‖²`: the positions of a record are walked in `order`, and each run of one
/// row is summed and squared; no table is made (Kong and Muñoz Medina, NeurIPS 2023).
///
/// Buffers: `ids`, `i32[P, count]`; `order`, `i32[P, count]`; `x`, `f32[P, count, width]`; then `y`, `f32[P]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentNorm {
    /// Ids per record.
    pub count: usize,
    /// Elements of a table row.
    pub width: usize,
    /// Rows of the table.
    pub table_rows: usize,
}

impl SegmentNorm {
    /// Invocations that share a record's columns.
    fn lanes(&self) -> Lanes {
        Lanes::workgroup(self.width, 64)
    }
}

impl KernelRules for SegmentNorm {
    fn template(&self) -> &'static str {
        "segment_norm"
    }

    fn specialise(&self, template: &mut Specialise) {
        self.lanes().specialise(template);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let launch = |part: &Span| {
            let sizes = [rows, self.count, self.width, self.table_rows, part.outer[0], part.outer[1]];
            Launch::new(words(&sizes), linear_grid(rows, 1))
        };
        let blocks = self.lanes().steps(self.width);
        Span::split(blocks, self.count, 1).iter().map(launch).collect()
    }

    fn iterations(&self) -> usize {
        self.count + 1_000
    }

    fn flops(&self, rows: usize) -> u64 {
        3 * (rows * self.count * self.width) as u64
    }

    fn text(&self) -> String {
        format!("[{}, {}]", self.count, self.width)
    }
}
