//! The gradient of a table by id.

use serde::{Deserialize, Serialize};

use super::contract::{work, zero};
use super::{Binding, KernelRules, Records};
use crate::lower::program::Extent;

/// `y[(n,) v, :] = Σ_t [row_of_id(ids[n, t]) = v] x[n, t, :]`, over each record ([`Records::Each`]: a table a record), over all
/// records, or weighted by `weight[n]` (a row of weight 0 is skipped). Tables are written whole.
///
/// Records are added in order of `n`, so the result does not depend on the schedule. If `ordered`, a record's positions of
/// one id are summed apart from other records' and then added, so that what it adds does not depend on them but for the
/// rounding of one sum; else positions are added one by one, in order of `t`.
///
/// Of integers ([`super::Sums`]), what is rounded is the sum of a record's positions of one id if `ordered`, else each position.
///
/// Buffers: `ids`, `i32[P or 1, count]`; `x`, `f32[P or 1, count, width]`; `weight` if weighted; `order`, the positions of
/// each record by id ([`super::SortIds`]), if `ordered`; then `y`.
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
    /// Whether a record's positions are summed by id first; only with weights and with ids of each record.
    pub ordered: bool,
}

impl KernelRules for Scatter {
    fn name(&self) -> &'static str {
        "scatter"
    }

    fn buffers(&self) -> Vec<Binding> {
        let records = self.records.summed_or_each();
        let each = self.count.saturating_mul(self.width);
        let mut buffers = vec![
            Binding::integers("ids", records.strided(self.ids_record, self.count)),
            Binding::floats("x", records.strided(self.record, each)),
        ];
        if self.records.weighted() {
            buffers.push(Binding::floats("weight", Extent::rows(1)));
        }
        if self.ordered {
            buffers.push(Binding::integers("order", Extent::rows(self.count)));
        }
        let table = self.table_rows.saturating_mul(self.width);
        buffers.push(self.records.sums().binding("y", self.records.results().times(table)));
        buffers
    }

    fn problem(&self) -> Option<String> {
        let sizes = [("ids", self.count), ("columns", self.width), ("table rows", self.table_rows)];
        if self.ordered && (!self.records.weighted() || self.ids_record != self.count) {
            return Some("orders ids other than those of each weighted record".into());
        }
        zero(&sizes).or_else(|| self.records.problem())
    }

    fn most_rows(&self) -> Option<usize> {
        self.records.sums().most_rows()
    }

    fn is_of_records(&self) -> bool {
        self.records.weighted()
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[rows, self.count, self.width])
    }

    fn text(&self) -> String {
        format!("{:?} {} into [{}, {}]", self.records, self.count, self.table_rows, self.width)
    }
}
