//! Square norms of per-sample table gradients, from sorted ids.

use serde::{Deserialize, Serialize};

use super::contract::work;
use super::{Binding, KernelRules};
use crate::lower::program::Extent;

/// `y[n] = Σ_v ‖Σ_t [row_of_id(ids[n, t]) = v] x[n, t, :]‖²`: the positions of a record are walked in `order`, and each run
/// of one row is summed and squared; no table is made (Kong and Muñoz Medina, NeurIPS 2023).
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

impl KernelRules for SegmentNorm {
    fn name(&self) -> &'static str {
        "segment_norm"
    }

    fn buffers(&self) -> Vec<Binding> {
        let ids = Extent::rows(self.count);
        vec![
            Binding::integers("ids", ids),
            Binding::integers("order", ids),
            Binding::floats("x", ids.times(self.width)),
            Binding::floats("y", Extent::rows(1)).written(),
        ]
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[3, rows, self.count, self.width])
    }

    fn text(&self) -> String {
        format!("[{}, {}]", self.count, self.width)
    }
}
