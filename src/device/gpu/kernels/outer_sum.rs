//! Schedule of [`OuterSum`]: chunks of records are summed apart, then their sums.

use super::tile::Axis;
use super::{Launch, On, Schedule, Span, Specialise, Template, Tile, specialise_views, words};
use crate::lower::kernels::{OuterSum, Records, Reduce, Sums, Walk};
use crate::lower::program::Extent;
use crate::lower::target::Rounding;

/// Records summed into one partial result: few enough to keep loops short and many enough to keep partial results small
/// beside the operands; one where a launch cannot make all of its steps, so that even then no other record's are among
/// them.
fn chunk(kernel: &OuterSum) -> usize {
    let wanted = match Span::split(1, kernel.steps, 1).len() {
        1 if kernel.size() <= 1 << 16 => 16,
        1 => 64,
        _ => 1,
    };
    (super::MAX_ITERATIONS / kernel.steps.max(1)).clamp(1, wanted)
}

impl On<'_, OuterSum> {
    fn tile(&self) -> Tile {
        Tile::of_sums(self.class, self.rows, self.cols, self.steps)
    }
}

/// Adds a record's own sums to those of integers, weighted before or after.
const RECORD: &str = "\
        var sums = Tile();
        add_product(&sums, own, base, params.begin, params.end, select(weight, 1.0, SEVERAL), lane);
        add(&tile, sums, select(1.0, weight, SEVERAL));";

impl Template for OuterSum {
    const WGSL: &'static str = include_str!("../../../../shaders/outer_sum.wgsl");
}

impl Schedule for On<'_, OuterSum> {
    fn specialise(&self, template: &mut Specialise) {
        self.tile().specialise(template);
        self.tile().specialise_reads(template, [(&self.a, Axis::Cols), (&self.b, Axis::Cols)], self.steps);
        template.constant("SEVERAL", self.steps > 1);
        specialise_views(template, [("A_VIEW", &self.a), ("B_VIEW", &self.b)]);
        if self.sums.integers() {
            template.snippet("sums", "grid_sums");
            template.block("record", RECORD);
            template.block("place", "    let at = g;");
        } else {
            template.block("grid", "");
        }
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let chunk = chunk(self);
        let matrices = rows.div_ceil(chunk) * self.groups;
        let mut launches = Vec::new();
        let sizes = |first: [usize; 2]| [first[0], first[1], self.groups, self.rows, self.cols, rows, chunk];
        if self.sums.integers() {
            // The first launch clears the sums, and the others add to them.
            for (first, grid) in self.tile().grids(self.groups, self.rows, self.cols) {
                let part = words(&[0, 0, 0, 0, 0]);
                launches.push(Launch::new([self.a.words(), self.b.words(), words(&sizes(first)), part].concat(), grid));
            }
        }
        for (first, grid) in self.tile().grids(matrices, self.rows, self.cols) {
            for part in Span::split(chunk.min(rows), self.steps, 1) {
                let adds = self.sums.integers() || !part.is_first();
                let part = words(&[&part.outer[..], &part.inner, &[usize::from(adds)]].concat());
                launches.push(Launch::new([self.a.words(), self.b.words(), words(&sizes(first)), part].concat(), grid));
            }
        }
        launches
    }

    fn sum_of_parts(&self, rows: usize) -> Option<Reduce> {
        let (chunks, record) = (rows.div_ceil(chunk(self)), self.size());
        let kept = vec![Walk { size: record, stride: 1 }];
        let records = Records::All(Extent::fixed(chunks));
        (chunks > 1 && !self.sums.integers()).then_some(Reduce {
            records,
            record,
            kept,
            reduced: vec![],
            square: false,
        })
    }

    fn iterations(&self) -> usize {
        // A record's own sum is rounded once, where all of it is in one launch.
        if self.sums.integers() { self.steps.saturating_mul(2).saturating_add(2) } else { 0 }
    }

    fn rounding(&self) -> Rounding {
        // A record's own terms, in parts where launches cut them; then the records of a chunk, and the chunks.
        let launches = Span::split(1, self.steps, 1).len();
        let records = match self.sums {
            Sums::Floats => Extent { per_row: 1, fixed: chunk(self) },
            _ => Extent::fixed(0),
        };
        Rounding { element: self.steps + launches, records, ..Rounding::sum(0) }
    }
}
