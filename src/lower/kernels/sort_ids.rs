//! Orders the ids of each record, so that equal ones are neighbours.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Launch, words};

/// `order[n, r]` = the position `t` whose id has rank `r` among `ids[n, :]`, equal ids in order of position.
///
/// Buffers: `ids`, `i32[P, count]`; then `order`, `i32[P, count]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SortIds {
    /// Ids per record.
    pub count: usize,
}

impl KernelRules for SortIds {
    fn template(&self) -> &'static str {
        "sort_ids"
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        Launch::linear(rows * self.count, &words(&[self.count]))
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
