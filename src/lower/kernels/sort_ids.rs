//! Orders the ids of each record, so that those of one row are neighbours.

use serde::{Deserialize, Serialize};

use super::{Binding, KernelRules};
use crate::lower::program::Extent;

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
    fn name(&self) -> &'static str {
        "sort_ids"
    }

    fn buffers(&self) -> Vec<Binding> {
        let ids = Binding::integers("ids", Extent::rows(self.count));
        vec![ids, Binding { name: "order", ..ids }.written()]
    }

    fn flops(&self, _rows: usize) -> u64 {
        0
    }

    fn text(&self) -> String {
        format!("[{}]", self.count)
    }
}
