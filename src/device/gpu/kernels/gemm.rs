//! Schedule of [`Gemm`].

use super::{Launch, Schedule, Span, Specialise, Template, Tile, specialise_views, words};
use crate::lower::kernels::{Bias, Gemm};
use crate::lower::scalar;

impl Gemm {
    fn tile(&self) -> Tile {
        let rows = if self.rows.per_row > 0 { usize::MAX } else { self.rows.fixed };
        Tile::of(rows, self.cols)
    }
}

impl Template for Gemm {
    const WGSL: &'static str = include_str!("../../../../shaders/gemm.wgsl");
}

impl Schedule for Gemm {
    fn specialise(&self, template: &mut Specialise) {
        self.tile().specialise(template);
        template.constant("SPLIT", Span::split(1, self.inner, 1).len() > 1);
        specialise_views(template, [("A_VIEW", &self.a), ("B_VIEW", &self.b)]);
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
}
