//! Orders the ids of each record, so that those of one row are neighbours.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Launch, words};

/// `order[n, r]` = the position `t` whose row ([`super::row_of_id`]) has rank `r` among those of `ids[n, :]`, equal rows in
/// order of position.
///
/// Buffers: `ids`, `i32[P, count]`; then `order`, `i32[P, count]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SortIds {
    /// Ids per record.
    pub count: usize,
    /// Rows of the table.
    pub table_rows: usize,
}

impl KernelRules for SortIds {
    fn template(&self) -> &'static str {
        "sort_ids"
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        Launch::linear(rows * self.count, &words(&[self.count, self.table_rows]))
    }

    fn iterations(&self) -> usize {
        self.count
    }

    fn flops(&self, _rows: usize) -> u64 {
        0
    }

    fn text(&self) -> String {
        format!("[{}]", self.count)
    }
}
