//! Schedule of [`OuterSum`]: chunks of records are summed apart, then their sums.

use super::tile::Axis;
use super::{Launch, On, Schedule, Span, Specialise, Template, Tile, specialise_views, words};
use crate::lower::kernels::{OuterSum, Records, Reduce, Walk};
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

impl Template for OuterSum {
    const WGSL: &'static str = include_str!("../../../../shaders/outer_sum.wgsl");
}

impl Schedule for On<'_, OuterSum> {
    fn specialise(&self, template: &mut Specialise) {
        self.tile().specialise(template);
        self.tile().specialise_reads(template, [(&self.a, Axis::Cols), (&self.b, Axis::Cols)], self.steps);
        template.constant("SEVERAL", self.steps > 1);
        specialise_views(template, [("A_VIEW", &self.a), ("B_VIEW", &self.b)]);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let chunk = chunk(self);
        let matrices = rows.div_ceil(chunk) * self.groups;
        let mut launches = Vec::new();
        for (first, grid) in self.tile().grids(matrices, self.rows, self.cols) {
            for part in Span::split(chunk.min(rows), self.steps, 1) {
                let sizes = [first[0], first[1], self.groups, self.rows, self.cols, rows, chunk];
                let part = [&part.outer[..], &part.inner, &[usize::from(!part.is_first())]].concat();
                launches
                    .push(Launch::new([self.a.words(), self.b.words(), words(&sizes), words(&part)].concat(), grid));
            }
        }
        launches
    }

    fn sum_of_parts(&self, rows: usize) -> Option<Reduce> {
        let (chunks, record) = (rows.div_ceil(chunk(self)), self.size());
        let kept = vec![Walk { size: record, stride: 1 }];
        let records = Records::All(Extent::fixed(chunks));
        (chunks > 1).then_some(Reduce { records, record, kept, reduced: vec![], square: false })
    }

    fn rounding(&self) -> Rounding {
        // A record's own terms, in parts where launches cut them; then the records of a chunk, and the chunks.
        let launches = Span::split(1, self.steps, 1).len();
        let records = Extent { per_row: 1, fixed: chunk(self) };
        Rounding { element: self.steps + launches, records, ..Rounding::sum(0) }
    }
}
