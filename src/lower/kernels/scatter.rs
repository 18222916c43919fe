//! The gradient of a table by id.

use serde::{Deserialize, Serialize};

use super::KernelRules;
use super::Records;


/// `y[(n,) v, :] = Σ_t [ids[n, t] = v] x[n, t, :]`, over each record ([`Records::Each`]: a table a record), over all
/// records, or weighted by `weight[n]` (a row of weight 0 is skipped). Tables are written whole.
///
/// Records are added in order of `n` and then `t`, so the result does not depend on the schedule.
///
/// Buffers: `ids`, `i32[P or 1, count]`; `x`, `f32[P or 1, count, width]`; `weight` if weighted; then `y`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scatter {
    /// Which records are summed.
    pub records: Records,
    /// Elements between records of `ids`: `count`, or 0 if shared.
    pub ids_record: usize,
    /// Elements between records of `x`: `count · width`, or 0 if shared.
    pub record: usize,
    /// Ids per record.
    pub count: usize,
    /// Elements of a table row.
    pub width: usize,
    /// Rows of the table.
    pub table_rows: usize,
}

impl KernelRules for Scatter {
    fn template(&self) -> &'static str {
        "scatter"
    }

    fn flops(&self, rows: usize) -> u64 {
        (rows * self.count * self.width) as u64
    }

    fn text(&self) -> String {
        format!("{:?} {} into [{}, {}]", self.records, self.count, self.table_rows, self.width)
    }
}
