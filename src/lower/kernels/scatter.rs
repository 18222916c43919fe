//! The gradient of a table by id.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Launch, Window, linear_grid, words};
use crate::lower::emit::Specialise;
use super::Records;

/// `y[(n,) v, :] = Σ_t [ids[n, t] = v] x[n, t, :]`, over each record ([`Records::Each`]: a table a record), over all
/// records, or weighted by `weight[n]` (a row of weight 0 is skipped). Tables are written whole.
///
/// Records are added in order of `n` and then `t`, so the result does not depend on the schedule.
///
/// Buffers: `ids`, `i32[P or 1, count]`; `x`, `f32[P or 1, count, width]`; `weight` if weighted; then `y`.
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
        if self.records == Records::Weighted {
            template.block(
                "results",
                "@group(0) @binding(3) var<storage, read> weight: array<f32>;\n\
                 @group(0) @binding(4) var<storage, read_write> y: array<f32>;",
            );
            template.block("weight", "    return weight[n];");
        }
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let (tables, summed) = match self.records {
            Records::Each(e) => (e.at(rows), 1),
            Records::All(e) => (1, e.at(rows)),
            Records::Weighted => (1, rows),
        };
        let launch = |adds: usize, count: usize, part: &Window| {
            let sizes = [count, adds, self.ids_record, self.record, self.width, self.table_rows];
            Launch::new(words(&[&sizes[..], &part.outer, &part.inner].concat()), linear_grid(count, 64))
        };
        let nothing = Window { outer: [0; 2], inner: [0; 2] };
        let mut launches = vec![launch(0, tables * self.table_rows * self.width, &nothing)];
        let columns = tables * Self::SHARDS * self.width;
        launches.extend(Window::split(summed, self.count, 1).iter().map(|part| launch(1, columns, part)));
        launches
    }

    fn flops(&self, rows: usize) -> u64 {
        (rows * self.count * self.width) as u64
    }

    fn text(&self) -> String {
        format!("{:?} {} into [{}, {}]", self.records, self.count, self.table_rows, self.width)
    }
}
