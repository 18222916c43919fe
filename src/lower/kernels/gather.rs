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

/// `y[n, t, :] = table[row_of_id(ids[n, t]), :]`; of an id beyond the table, the last row.
///
/// Buffers: `table`, `f32[table_rows, width]`; `ids`, `i32[P or 1, count]`; then `y`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gather {
    /// Whether there are ids for each row (else one set).
    pub batched: bool,
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
        let records = Extent::of(self.count, self.batched);
        let table = Binding::floats("table", Extent::fixed(self.table_rows.saturating_mul(self.width)));
        vec![table, Binding::integers("ids", records), Binding::floats("y", records.times(self.width)).written()]
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
