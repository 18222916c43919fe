//! Schedule of [`Scatter`].

use super::tile::pair_sum_roundings;
use super::{Launch, On, Schedule, Span, Specialise, Template, linear_grid, specialise_grid, words};
use crate::lower::kernels::{Records, Scatter};
use crate::lower::program::Extent;
use crate::lower::target::Rounding;

impl Scatter {
    /// Shares that the rows of a table are divided into, for as many invocations a column.
    const SHARDS: usize = 16;
}

impl Template for Scatter {
    const WGSL: &'static str = include_str!("../../../../shaders/scatter.wgsl");
}

impl Schedule for On<'_, Scatter> {
    fn specialise(&self, template: &mut Specialise) {
        template.constant("SHARDS", format!("{}u", Scatter::SHARDS));
        template.constant("EACH", matches!(self.records, Records::Each(_)));
        template.constant("ORDERED", self.ordered);
        let integers = self.records.sums().integers();
        if integers {
            template.block("element", "fn element(value: f32) -> i32 {\n    return on_grid(value);\n}");
        }
        specialise_grid(template, self.records.sums());
        if self.records.weighted() {
            let result = if integers {
                "var<storage, read_write> y: array<i32>"
            } else {
                "var<storage, read_write> y: array<f32>"
            };
            let read = ["weight: array<f32>", "order: array<i32>"];
            let read = read.into_iter().take(1 + usize::from(self.ordered));
            let bindings = read.map(|it| format!("var<storage, read> {it}"));
            let bindings = bindings.chain([result.to_owned()]).zip(3..);
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
            Records::Weighted(_) => (1, rows),
        };
        let launch = |adds: usize, count: usize, part: &Span| {
            let sizes = [count, adds, self.ids_record, self.record, self.width, self.table_rows];
            Launch::new(words(&[&sizes[..], &part.outer, &part.inner, &[0]].concat()), linear_grid(count, 64))
        };
        let nothing = Span { outer: [0; 2], inner: [0; 2] };
        let mut launches = vec![launch(0, tables * self.table_rows * self.width, &nothing)];
        let columns = tables * Scatter::SHARDS * self.width;
        launches.extend(Span::split(summed, self.count, 1).iter().map(|part| launch(1, columns, part)));
        launches
    }

    fn iterations(&self) -> usize {
        // All positions of a record are in one launch.
        if self.ordered { self.count.saturating_mul(2).saturating_add(6) } else { 0 }
    }

    fn rounding(&self) -> Rounding {
        // Of a run of one id, all of which joins the others at once; or of each position.
        let per_row = match self.ordered {
            _ if self.records.sums().integers() => 0,
            true => 1,
            false => self.count,
        };
        // A run is summed in pairs.
        let element = if self.ordered { pair_sum_roundings(self.count) } else { self.count as f64 + 1.0 };
        Rounding { element, records: Extent { per_row, fixed: 0 }, ..Rounding::sum(0) }
    }
}
