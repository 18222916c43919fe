//! Rows of a table by id.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Launch, words};

/// `y[n, t, :] = table[ids[n, t], :]`. Ids are in `0..table_rows`: the host checks its data, and a negative id of the
/// model itself has been resolved; a kernel clamps what it reads all the same.
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
    fn template(&self) -> &'static str {
        "gather"
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let records = if self.batched { rows } else { 1 };
        Launch::linear(records * self.count * self.width, &words(&[self.width, self.table_rows]))
    }

    fn flops(&self, _rows: usize) -> u64 {
        0
    }

    fn text(&self) -> String {
        format!("{} of [{}, {}]", self.count, self.table_rows, self.width)
    }
}
