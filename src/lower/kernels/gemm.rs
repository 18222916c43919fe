//! Batched matrix products with views for operands and an epilogue.

use serde::{Deserialize, Serialize};

use super::contract::{work, zero};
use super::{Binding, KernelRules, View};
use crate::graph::product;
use crate::lower::check::MAX_ROWS;
use crate::lower::program::Extent;
use crate::lower::scalar::Func;

/// Where a bias varies in a [`Gemm`]'s result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bias {
    /// `bias[g·rows + row]`: convolutions.
    Rows,
    /// `bias[g·cols + col]`: linear layers.
    Cols,
}

/// `c[n, g, i, j] = act(Σ_k a[n, g](i, k) · b[n, g](k, j) + bias)`.
///
/// `n` runs over `records`: the rows of the batch, or a single one when the rows of the batch are rows `i` of one large
/// product (then `rows` grows with `P`).
///
/// Buffers: `a`, `b`; `bias` if there is one; then `c` at `n·out_record + g·out_group + i·out_row + j·out_col`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gemm {
    /// Number of products, groups aside.
    pub records: Extent,
    /// Matrices per record.
    pub groups: usize,
    /// Rows of the result.
    pub rows: Extent,
    /// Columns of the result.
    pub cols: usize,
    /// Terms of each sum.
    pub inner: usize,
    /// The left operand: row `i`, column `k`.
    pub a: View,
    /// The right operand: row `k`, column `j`.
    pub b: View,
    /// The bias added to each sum.
    pub bias: Option<Bias>,
    /// The function applied last.
    pub activation: Option<Func>,
    /// Elements between records of `c`.
    pub out_record: usize,
    /// Elements between groups of `c`.
    pub out_group: usize,
    /// Elements between rows of `c`.
    pub out_row: usize,
    /// Elements between columns of `c`.
    pub out_col: usize,
}

impl KernelRules for Gemm {
    fn name(&self) -> &'static str {
        "gemm"
    }

    fn buffers(&self) -> Vec<Binding> {
        let Gemm { records, groups, rows, cols, inner, .. } = *self;
        let mut buffers = vec![
            Binding::floats("a", self.a.len(records, groups, rows, inner)),
            Binding::floats("b", self.b.len(records, groups, Extent::fixed(inner), cols)),
        ];
        buffers.extend(self.bias.map(|bias| match bias {
            Bias::Rows => Binding::floats("bias", rows.times(groups)),
            Bias::Cols => Binding::floats("bias", Extent::fixed(groups.saturating_mul(cols))),
        }));
        let c = View::Strided { record: self.out_record, group: self.out_group, row: self.out_row, col: self.out_col };
        buffers.push(Binding::floats("c", c.len(records, groups, rows, cols)).written());
        buffers
    }

    fn problem(&self) -> Option<String> {
        let Gemm { groups, rows, cols, inner, .. } = *self;
        let height = if rows.per_row > 0 { rows.times(MAX_ROWS).per_row } else { rows.fixed };
        if let Some(zero) = zero(&[("groups", groups), ("rows", height), ("columns", cols)]) {
            return Some(zero);
        }
        if rows.per_row > 0 && (rows.fixed > 0 || self.records != Extent::fixed(1)) {
            return Some("has both records and rows that depend on the batch".into());
        }
        let c = View::Strided { record: self.out_record, group: self.out_group, row: self.out_row, col: self.out_col };
        // Each element of the result has a place of its own, if only in what the axes span.
        let span = c.len(Extent::fixed(1), groups, Extent::fixed(height), cols).fixed;
        if product(&[groups, height, cols]) > span {
            return Some("writes an element more than once".into());
        }
        let still = inner > 1 && self.a.stands([false, true]) && self.b.stands([true, false]);
        if still {
            return Some("sums the same product again".into());
        }
        let matrices = [(&self.a, height, inner), (&self.b, inner, cols)];
        matrices.iter().find_map(|(view, rows, cols)| view.problem(groups, [*rows, *cols]))
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[2, self.records.at(rows), self.groups, self.rows.at(rows), self.cols, self.inner])
    }

    fn text(&self) -> String {
        let stack = match (self.records == Extent::fixed(1), self.groups) {
            (true, 1) => String::new(),
            (true, groups) => format!("{groups} × "),
            (false, 1) => format!("{} × ", self.records),
            (false, groups) => format!("{} × {groups} × ", self.records),
        };
        let bias = if self.bias.is_some() { " + bias" } else { "" };
        let activation = self.activation.map_or(String::new(), |f| format!(" → {}", f.name()));
        format!("{stack}[{}, {}]·[{}, {}]{bias}{activation}", self.rows, self.inner, self.inner, self.cols)
    }
}
