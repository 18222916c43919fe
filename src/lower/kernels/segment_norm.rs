//! Square norms of per-sample table gradients, from sorted ids.

use serde::{Deserialize, Serialize};

use super::KernelRules;


/// `y[n] = Σ_v ‖Σ_t [ids[n, t] = v] x[n, t, :]‖²`: the positions of a record are walked in `order`, and each run of equal
/// ids is summed and squared; no table is made (Kong and Muñoz Medina, NeurIPS 2023).
///
/// Buffers: `ids`, `i32[P, count]`; `order`, `i32[P, count]`; `x`, `f32[P, count, width]`; then `y`, `f32[P]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentNorm {
    /// Ids per record.
    pub count: usize,
    /// Elements of a table row.
    pub width: usize,
}

impl KernelRules for SegmentNorm {
    fn template(&self) -> &'static str {
        "segment_norm"
    }

    fn flops(&self, rows: usize) -> u64 {
        3 * (rows * self.count * self.width) as u64
    }

    fn text(&self) -> String {
        format!("[{}, {}]", self.count, self.width)
    }
}
