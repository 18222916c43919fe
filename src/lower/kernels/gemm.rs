//! Batched matrix products with views for operands and an epilogue.

use serde::{Deserialize, Serialize};

use super::operand::View;
use super::{KernelRules, Launch, Span, Tile, words};
use crate::lower::emit::Specialise;
use crate::lower::program::Extent;
use crate::lower::scalar::{self, Func};

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

impl Gemm {
    fn tile(&self) -> Tile {
        let rows = if self.rows.per_row > 0 { usize::MAX } else { self.rows.fixed };
        Tile::of(rows, self.cols)
    }
}

impl KernelRules for Gemm {
    fn template(&self) -> &'static str {
        "gemm"
    }

    fn specialise(&self, template: &mut Specialise) {
        self.tile().specialise(template);
        template.constant("SPLIT", Span::split(1, self.inner, 1).len() > 1);
        template.constant("A_VIEW", self.a.constant());
        template.constant("B_VIEW", self.b.constant());
        template.block("prelude", scalar::WGSL_PRELUDE);
        if self.bias.is_some() {
            template.block(
                "results",
                "@group(0) @binding(3) var<storage, read> bias: array<f32>;\n\
                 @group(0) @binding(4) var<storage, read_write> c: array<f32>;",
            );
        }
        let value = match self.bias {
            None => "sum",
            Some(Bias::Rows) => "sum + bias[g * params.rows + row]",
            Some(Bias::Cols) => "sum + bias[g * params.cols + col]",
        };
        let result = self.activation.map_or("value".into(), |f| f.wgsl(&["value".into()]));
        template.block("finish", &format!("    let value = {value};\n    return {result};"));
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let height = self.rows.at(rows);
        let mut launches = Vec::new();
        for (first, grid) in self.tile().grids(self.records.at(rows) * self.groups, height, self.cols) {
            for part in Span::split(1, self.inner, 1) {
                let sizes =
                    [first[0], first[1], self.groups, height, self.cols, self.inner, part.inner[0], part.inner[1]];
                let out = [self.out_record, self.out_group, self.out_row, self.out_col];
                launches.push(Launch::new([self.a.words(), self.b.words(), words(&sizes), words(&out)].concat(), grid));
            }
        }
        launches
    }

    fn flops(&self, rows: usize) -> u64 {
        2 * (self.records.at(rows) * self.groups * self.rows.at(rows)) as u64 * (self.cols * self.inner) as u64
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
