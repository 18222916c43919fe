//! Schedule of [`SegmentCross`].

use super::{Lanes, Launch, On, Schedule, Span, Specialise, Template, linear_grid, specialise_views, words};
use crate::lower::kernels::SegmentCross;
use crate::lower::target::Rounding;

/// Invocations that share a record's pairs.
const LANES: Lanes = Lanes(64);

impl Template for SegmentCross {
    const WGSL: &'static str = include_str!("../../../../shaders/segment_cross.wgsl");
}

impl Schedule for On<'_, SegmentCross> {
    fn specialise(&self, template: &mut Specialise) {
        LANES.specialise(template);
        specialise_views(template, [("A_VIEW", &self.a), ("B_VIEW", &self.b)]);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let launch = |part: &Span| {
            let sizes = [rows, self.count, self.steps, self.width, self.table_rows, part.outer[0], part.outer[1]];
            Launch::new([self.a.words(), self.b.words(), words(&sizes)].concat(), linear_grid(rows, 1))
        };
        let blocks = LANES.steps(self.count * self.steps);
        Span::split(blocks, self.width, 1).iter().map(launch).collect()
    }

    fn iterations(&self) -> usize {
        self.width + 1_000
    }

    fn rounding(&self) -> Rounding {
        let blocks = LANES.steps(self.count.saturating_mul(self.steps));
        let square = blocks + LANES.halvings() + Span::split(blocks, self.width, 1).len();
        Rounding { element: self.width as f64 + 1.0, ..Rounding::sum(square) }
    }
}
