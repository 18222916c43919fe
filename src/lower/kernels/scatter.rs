//! The gradient of a table by id.

use serde::{Deserialize, Serialize};

use super::Records;
use super::{KernelRules, Launch, Span, linear_grid, words};
use crate::lower::emit::Specialise;

/// `y[(n,) v, :] = Σ_t [row_of_id(ids[n, t]) = v] x[n, t, :]`, over each record ([`Records::Each`]: a table a record), over all
/// records, or weighted by `weight[n]` (a row of weight 0 is skipped). Tables are written whole.
///
/// Records are added in order of `n`, so the result does not depend on the schedule. If `ordered`, a record's positions of
/// one id are summed apart from other records' and then added, so that what it adds does not depend on them but for the
/// rounding of one sum; else positions are added one by one, in order of `t`.
///
/// Buffers: `ids`, `i32[P or 1, count]`; `x`, `f32[P or 1, count, width]`; `weight` if weighted; `order`, the positions of
/// each record by id ([`super::SortIds`]), if `ordered`; then `y`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scatter {
    /// Which records are summed.
    pub records: Records,
    /// Elements between records of `ids`: `count`, or 0 if shared.
    pub ids_record: usize,
    /// Elements between records of `x`: `count · width`, or 0 if shared.
    pub record: usize,
    /// Ids per record.
    pub count: usize,
    /// Elements of a table row.
    pub width: usize,
    /// Rows of the table.
    pub table_rows: usize,
    /// Whether a record's positions are summed by id first; only with weights and with ids of each record.
    pub ordered: bool,
}

impl Scatter {
    /// Shares that the rows of a table are divided into, for as many invocations a column.
    const SHARDS: usize = 16;
}

impl KernelRules for Scatter {
    fn template(&self) -> &'static str {
        "scatter"
    }

    fn specialise(&self, template: &mut Specialise) {
        template.constant("SHARDS", format!("{}u", Self::SHARDS));
        template.constant("EACH", matches!(self.records, Records::Each(_)));
        template.constant("ORDERED", self.ordered);
        if self.records == Records::Weighted {
            let read = ["weight: array<f32>", "order: array<i32>"];
            let read = read.into_iter().take(1 + usize::from(self.ordered));
            let bindings = read.map(|it| format!("var<storage, read> {it}"));
            let bindings = bindings.chain(["var<storage, read_write> y: array<f32>".to_owned()]).zip(3..);
            let lines: Vec<String> = bindings.map(|(it, i)| format!("@group(0) @binding({i}) {it};")).collect();
            template.block("results", &lines.join("\n"));
            template.block("weight", "    return weight[n];");
        }
        if self.ordered {
            template.block("order", "    return u32(order[n * params.ids_record + r]);");
        }
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let (tables, summed) = match self.records {
            Records::Each(e) => (e.at(rows), 1),
            Records::All(e) => (1, e.at(rows)),
            Records::Weighted => (1, rows),
        };
        let launch = |adds: usize, count: usize, part: &Span| {
            let sizes = [count, adds, self.ids_record, self.record, self.width, self.table_rows];
            Launch::new(words(&[&sizes[..], &part.outer, &part.inner].concat()), linear_grid(count, 64))
        };
        let nothing = Span { outer: [0; 2], inner: [0; 2] };
        let mut launches = vec![launch(0, tables * self.table_rows * self.width, &nothing)];
        let columns = tables * Self::SHARDS * self.width;
        launches.extend(Span::split(summed, self.count, 1).iter().map(|part| launch(1, columns, part)));
        launches
    }

    fn iterations(&self) -> usize {
        // All positions of a record are in one launch.
        if self.ordered { self.count.saturating_mul(2).saturating_add(6) } else { 0 }
    }

    fn flops(&self, rows: usize) -> u64 {
        (rows * self.count * self.width) as u64
    }

    fn text(&self) -> String {
        format!("{:?} {} into [{}, {}]", self.records, self.count, self.table_rows, self.width)
    }
}
