//! Schedule of [`SegmentNorm`].

use super::tile::pair_sum_roundings;
use super::{Lanes, Launch, On, Schedule, Span, Specialise, Template, linear_grid, words};
use crate::lower::kernels::SegmentNorm;
use crate::lower::target::Rounding;

impl SegmentNorm {
    /// Invocations that share a record's columns.
    fn lanes(&self) -> Lanes {
        Lanes::workgroup(self.width, 64)
    }
}

impl Template for SegmentNorm {
    const WGSL: &'static str = include_str!("../../../../shaders/segment_norm.wgsl");
}

impl Schedule for On<'_, SegmentNorm> {
    fn specialise(&self, template: &mut Specialise) {
        self.lanes().specialise(template);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let launch = |part: &Span| {
            let sizes = [rows, self.count, self.width, self.table_rows, part.outer[0], part.outer[1], 0];
            Launch::new(words(&sizes), linear_grid(rows, 1))
        };
        let blocks = self.lanes().steps(self.width);
        Span::split(blocks, self.count, 1).iter().map(launch).collect()
    }

    fn iterations(&self) -> usize {
        self.count + 1_000
    }

    fn rounding(&self) -> Rounding {
        // Runs in pairs, of which numbers are made and squared; the squares in pairs too, then by lanes and launches.
        let (lanes, steps) = (self.lanes(), self.lanes().steps(self.width));
        let square = 5 + lanes.halvings() + Span::split(steps, self.count, 1).len();
        Rounding { element: pair_sum_roundings(self.count), ..Rounding::sum(square) }
    }
}
