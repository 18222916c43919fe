//! Schedule of [`Gemm`].

use super::operand::ViewWords;
use super::phases::{Phase, phases};
use super::{Launch, On, Schedule, Span, Specialise, Template, Tile, specialise_views, words};
use crate::lower::kernels::{Bias, Gemm};
use crate::lower::scalar;

impl On<'_, Gemm> {
    fn tile(&self) -> Tile {
        let rows = (self.rows.per_row == 0).then_some(self.rows.fixed);
        Tile::of(self.class, rows, self.parts().iter().map(|part| part.cols).max().unwrap_or(1))
    }

    fn phases(&self) -> Option<Vec<Phase>> {
        // A bias of the columns is that of all of them.
        if self.bias == Some(Bias::Cols) { None } else { phases(&self.a, &self.b) }
    }

    /// The phases that the product falls into, each with its own columns and terms; one of everything where there are none.
    fn parts(&self) -> Vec<Part> {
        let views = [ViewWords::from(&self.a), ViewWords::from(&self.b)];
        let whole = Part { views, cols: self.cols, inner: self.inner, out: [0; 4] };
        let part = |phase: Phase| Part {
            views: [phase.weight, phase.cotangent],
            cols: phase.cols,
            inner: phase.inner,
            out: phase.places.map(|n| n * self.out_col),
        };
        self.phases().map_or_else(|| vec![whole], |phases| phases.into_iter().map(part).collect())
    }
}

/// A product whose results have places of their own: the first, and from there the strides of three axes.
struct Part {
    views: [ViewWords; 2],
    cols: usize,
    inner: usize,
    out: [usize; 4],
}

impl Template for Gemm {
    const WGSL: &'static str = include_str!("../../../../shaders/gemm.wgsl");
}

impl Schedule for On<'_, Gemm> {
    fn specialise(&self, template: &mut Specialise) {
        self.tile().specialise(template);
        template.constant("SPLIT", Span::split(1, self.inner, 1).len() > 1);
        let parts = self.parts();
        template.constant("PHASES", self.phases().is_some());
        let [a, b] = &parts[0].views;
        specialise_views(template, [("A_VIEW", a), ("B_VIEW", b)]);
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
        for Part { views: [a, b], cols, inner, out } in self.parts() {
            for (first, grid) in self.tile().grids(self.records.at(rows) * self.groups, height, cols) {
                for part in Span::split(1, inner, 1) {
                    let sizes = [first[0], first[1], self.groups, height, cols, inner, part.inner[0], part.inner[1]];
                    let strides = [self.out_record, self.out_group, self.out_row, self.out_col];
                    let all = [&a.words[..], &b.words, &words(&sizes), &words(&strides), &words(&out)].concat();
                    launches.push(Launch::new(all, grid));
                }
            }
        }
        launches
    }
}
