//! Rows of a table by id.

use serde::{Deserialize, Serialize};

use super::contract::zero;
use super::{Binding, KernelRules};
use crate::lower::program::Extent;

/// The row of a table that an id names: below zero, ids count from the end. An id outside `-table_rows..table_rows`, which
/// the host and the import do not let through, names a row beyond the table.
pub fn row_of_id(id: i32, table_rows: usize) -> usize {
    let row = if id < 0 { id.wrapping_add(table_rows as i32) } else { id };
    row as u32 as usize
}

/// `y[n, t, :] = tableₙ[row_of_id(idsₙ[t]), :]`, where `tableₙ` starts at element `n · table_record`, and `idsₙ` at
/// `n · ids_record`; of an id beyond the table, the last row.
///
/// Buffers: `table`, of `table_rows · width` elements; `ids`, `i32` of `count`; then `y`, like the table. Elements are copied
/// as 32-bit words, whatever their type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gather {
    /// Whether `n` runs over the `P` rows (else over one).
    pub batched: bool,
    /// Elements between the tables of two records, 0 for a shared table.
    pub table_record: usize,
    /// Ids between those of two records, 0 for shared ids.
    pub ids_record: usize,
    /// Ids per record.
    pub count: usize,
    /// Elements of a table row.
    pub width: usize,
    /// Rows of the table.
    pub table_rows: usize,
}

impl KernelRules for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn buffers(&self) -> Vec<Binding> {
        let records = Extent::of(1, self.batched);
        let table = records.strided(self.table_record, self.table_rows.saturating_mul(self.width));
        let ids = records.strided(self.ids_record, self.count);
        let y = records.times(self.count).times(self.width);
        vec![Binding::any("table", table), Binding::integers("ids", ids), Binding::any("y", y).written()]
    }

    fn problem(&self) -> Option<String> {
        zero(&[("table rows", self.table_rows)])
    }

    fn flops(&self, _rows: usize) -> u64 {
        0
    }

    fn text(&self) -> String {
        format!("{} of [{}, {}]", self.count, self.table_rows, self.width)
    }
}
