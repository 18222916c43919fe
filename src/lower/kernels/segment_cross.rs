//! The cross term of a table that is also a matrix of a product (tied embeddings).

use serde::{Deserialize, Serialize};

use super::contract::{work, zero};
use super::{Binding, KernelRules, View};
use crate::lower::program::Extent;

/// `y[n] = 2 Σ_t Σ_u b[n](row_of_id(ids[n, t]), u) · (Σ_j x[n, t, j] · a[n](j, u))`: twice the inner product of the table
/// gradient `Σ_t e(ids[n, t]) ⊗ x[n, t]` and the outer-product gradient `Σ_u b_u ⊗ a_u` of the same table, without making either.
///
/// Buffers: `ids`, `i32[P, count]`; `x`, `f32[P, count, width]`; `b`; `a`; then `y`, `f32[P]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentCross {
    /// Ids per record.
    pub count: usize,
    /// Elements of a table row.
    pub width: usize,
    /// Rows of the table.
    pub table_rows: usize,
    /// Positions `u`.
    pub steps: usize,
    /// Row is the table row, column the position `u`.
    pub b: View,
    /// Row is the element `j` of a table row, column the position `u`.
    pub a: View,
}

impl KernelRules for SegmentCross {
    fn name(&self) -> &'static str {
        "segment_cross"
    }

    fn buffers(&self) -> Vec<Binding> {
        let Self { count, width, table_rows, steps, .. } = *self;
        let view = |view: &View, rows| view.len(Extent::rows(1), 1, Extent::fixed(rows), steps);
        vec![
            Binding::integers("ids", Extent::rows(count)),
            Binding::floats("x", Extent::rows(count.saturating_mul(width))),
            Binding::floats("b", view(&self.b, table_rows)),
            Binding::floats("a", view(&self.a, width)),
            Binding::floats("y", Extent::rows(1)).written(),
        ]
    }

    fn problem(&self) -> Option<String> {
        let Self { count, width, table_rows, steps, .. } = *self;
        let sizes = [("ids", count), ("columns", width), ("table rows", table_rows), ("positions", steps)];
        if steps > 1 && self.b.stands([false, true]) && self.a.stands([false, true]) {
            return Some("sums the same product again".into());
        }
        let views = [(&self.b, table_rows), (&self.a, width)];
        zero(&sizes).or_else(|| views.iter().find_map(|(view, rows)| view.problem(1, [*rows, steps])))
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[2, rows, self.count, self.steps, self.width])
    }

    fn text(&self) -> String {
        format!("{}×{} of [{}, {}]", self.count, self.steps, self.table_rows, self.width)
    }
}
