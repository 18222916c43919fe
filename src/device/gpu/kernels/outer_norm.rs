//! Schedule of [`OuterNorm`].

use super::{Lanes, Launch, Schedule, Span, Specialise, Template, linear_grid, specialise_views, words};
use crate::lower::kernels::OuterNorm;
use crate::lower::target::Rounding;

/// Invocations that share a side's sum.
const LANES: Lanes = Lanes(64);

impl Template for OuterNorm {
    const WGSL: &'static str = include_str!("../../../../shaders/outer_norm.wgsl");
}

impl Schedule for OuterNorm {
    fn specialise(&self, template: &mut Specialise) {
        LANES.specialise(template);
        template.constant("UNDERFLOW", format!("{:?}", OuterNorm::UNDERFLOW));
        specialise_views(template, [("A_VIEW", &self.a), ("B_VIEW", &self.b)]);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let launch = |part: &Span| {
            let sizes = [rows, self.rows, self.cols, self.steps, part.outer[0], part.outer[1]];
            Launch::new([self.a.words(), self.b.words(), words(&sizes)].concat(), linear_grid(rows, 1))
        };
        Span::split(self.groups, 1, self.iterations()).iter().map(launch).collect()
    }

    fn iterations(&self) -> usize {
        LANES.steps(self.rows * self.steps) + LANES.steps(self.cols * self.steps) + 16
    }

    fn rounding(&self) -> Rounding {
        let side = |items: usize| LANES.roundings(items.saturating_mul(self.steps)) + 1;
        Rounding::sum(side(self.rows) + side(self.cols) + self.groups)
    }
}
