//! Schedule of [`Gemm`].

use super::operand::ViewWords;
use super::phases::{Phase, phases};
use super::tile::Axis;
use super::{Launch, On, Schedule, Span, Specialise, Template, Tile, specialise_views, words};
use crate::device::gpu::class::Class;
use crate::lower::kernels::{Bias, Gemm, Records, Reduce, Walk};
use crate::lower::program::Extent;
use crate::lower::scalar;

impl On<'_, Gemm> {
    fn tile(&self) -> Tile {
        let rows = (self.rows.per_row == 0).then_some(self.rows.fixed);
        Tile::of(self.class, rows, self.parts().iter().map(|part| part.cols).max().unwrap_or(1), self.inner)
    }

    /// Results.
    fn size(&self, rows: usize) -> usize {
        self.records.at(rows) * self.groups * self.rows.at(rows) * self.cols
    }

    /// Into how many slices the terms are cut, so that a GPU has work for all its parts where the results alone are few.
    fn slices(&self, rows: usize) -> usize {
        let wanted = match self.class {
            Class::Cpu => return 1,
            Class::Integrated => 16,
            Class::Discrete => 128,
        };
        let height = self.rows.at(rows);
        let dense = self.out_col == 1
            && self.out_row == self.cols
            && (self.groups == 1 || self.out_group == height * self.cols)
            && (self.records.at(rows) == 1 || self.out_record == self.groups * height * self.cols);
        let plain = self.bias.is_none() && self.activation.is_none() && self.phases().is_none();
        if !dense || !plain || Span::split(1, self.inner, 1).len() > 1 {
            return 1;
        }
        let [tall, wide] = self.tile().sides();
        let tiles = self.records.at(rows) * self.groups * height.div_ceil(tall) * self.cols.div_ceil(wide);
        let slices = (wanted / tiles.max(1)).min(self.inner / SLICE).clamp(1, 16);
        self.inner.div_ceil(self.inner.div_ceil(slices).next_multiple_of(SLICE))
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

/// Terms that a slice is a multiple of.
const SLICE: usize = 64;

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
        self.tile().specialise_reads(template, [(&self.a, Axis::Cols), (&self.b, Axis::Rows)], self.inner);
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
        let (slices, matrices) = (self.slices(rows), self.records.at(rows) * self.groups);
        for Part { views: [a, b], cols, inner, out } in self.parts() {
            let slice = if slices == 1 { inner } else { inner.div_ceil(slices).next_multiple_of(SLICE) };
            let sliced = [matrices.max(1), slice, self.size(rows)];
            for (first, grid) in self.tile().grids(slices * matrices, height, cols) {
                for part in Span::split(1, inner, 1) {
                    let sizes = [first[0], first[1], self.groups, height, cols, inner, part.inner[0], part.inner[1]];
                    let strides = [self.out_record, self.out_group, self.out_row, self.out_col];
                    let all = [&a.words[..], &b.words, &words(&sizes), &words(&strides), &words(&out), &words(&sliced)]
                        .concat();
                    launches.push(Launch::new(all, grid));
                }
            }
        }
        launches
    }

    fn sum_of_parts(&self, rows: usize) -> Option<Reduce> {
        let (slices, record) = (self.slices(rows), self.size(rows));
        let kept = vec![Walk { size: record, stride: 1 }];
        let records = Records::All(Extent::fixed(slices));
        (slices > 1).then_some(Reduce { records, record, kept, reduced: vec![], square: false })
    }
}
