//! Batched matrix products with views for operands and an epilogue.

use serde::{Deserialize, Serialize};

use super::KernelRules;
use super::operand::View;
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
    fn template(&self) -> &'static str {
        "gemm"
    }

    fn flops(&self, rows: usize) -> u64 {
        2 * (self.records.at(rows) * self.groups * self.rows.at(rows)) as u64 * (self.cols * self.inner) as u64
    }

    fn text(&self) -> String {
        let per = |e: Extent| match (e.per_row, e.fixed) {
            (0, n) => n.to_string(),
            (n, 0) => format!("{n}P"),
            (n, m) => format!("{n}P+{m}"),
        };
        format!("{}×{}×[{}, {}, {}]", per(self.records), self.groups, per(self.rows), self.inner, self.cols)
    }
}
