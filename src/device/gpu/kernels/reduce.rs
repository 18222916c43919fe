//! Schedule of [`Reduce`].

use super::{Lanes, Launch, On, Schedule, Span, Specialise, Template, specialise_grid, words};
use crate::device::gpu::class::Class;
use crate::lower::kernels::{Records, Reduce, Walk};
use crate::lower::program::Extent;
use crate::lower::target::Rounding;

impl On<'_, Reduce> {
    /// Invocations that share a sum: on a processor as many as it has in a vector, or one where the sums fill vectors and are
    /// not so long that more of them round less.
    fn lanes(&self) -> Lanes {
        match (Lanes::of(self.terms()), self.class) {
            (Lanes(1), _) => Lanes(1),
            (_, Class::Cpu) => Lanes(if self.elements() < 8 || self.terms() > 1024 { 8 } else { 1 }),
            (lanes, _) => lanes,
        }
    }

    /// Terms that an invocation adds up before it adds their sum to that of others: about as many as there are such sums.
    fn block(&self) -> usize {
        self.lanes().steps(self.terms()).isqrt().max(64)
    }
}

/// Sums of integers.
const SUMMED: &str = "\
    let first = kept(i);
    var sum = 0;
    for (var n = params.record_begin; n < params.record_end; n += 1u) {
        let weight = weight_of(n);
        if (weight != 0.0) {
            sum += on_grid(weight * record_sum(n * params.record + first, lane));
        }
    }
    if (params.adds == 1u) {
        sum += y[i];
    }
    y[i] = sum;";

impl Template for Reduce {
    const WGSL: &'static str = include_str!("../../../../shaders/reduce.wgsl");
}

impl Schedule for On<'_, Reduce> {
    fn specialise(&self, template: &mut Specialise) {
        template.constant("KEPT", format!("{}u", self.kept.len().max(1)));
        template.constant("REDUCED", format!("{}u", self.reduced.len().max(1)));
        template.constant("SQUARE", self.square);
        template.constant("SINGLE", self.terms() == 1);
        template.constant("BLOCK", format!("{}u", self.block()));
        template.constant("EACH", matches!(self.records, Records::Each(_)));
        let integers = self.records.sums().integers();
        if integers {
            template.block("summed", SUMMED);
        }
        specialise_grid(template, self.records.sums());
        if self.records.weighted() {
            let element = if integers { "i32" } else { "f32" };
            let results = format!(
                "@group(0) @binding(2) var<storage, read> weight: array<f32>;\n\
                 @group(0) @binding(3) var<storage, read_write> y: array<{element}>;"
            );
            template.block("results", &results);
            template.block("weight", "    return weight[n];");
        }
        self.lanes().specialise(template);
        if self.lanes().0 > 1 {
            template.constant("SIZE", format!("{}u", self.lanes().0));
        }
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let (results, summed) = match self.records {
            Records::Each(e) => (e.at(rows), 1),
            Records::All(e) => (1, e.at(rows)),
            Records::Weighted(_) => (1, rows),
        };
        let count = results * self.elements();
        let grid = self.lanes().grid(count);
        let axes = |walks: &[Walk]| -> Vec<u32> {
            let walks = if walks.is_empty() { &[Walk { size: 1, stride: 0 }] } else { walks };
            walks.iter().flat_map(|w| words(&[w.size, w.stride, 0, 0])).collect()
        };
        let launch = |part: &Span| {
            let inner = part.inner.map(|step| (step * self.lanes().0).min(self.terms()));
            let sizes = [&[count, self.elements(), self.record], &part.outer[..], &inner].concat();
            let adds = [u32::from(!part.is_first())];
            Launch::new([words(&sizes), adds.into(), axes(&self.kept), axes(&self.reduced)].concat(), grid)
        };
        let steps = self.lanes().steps(self.terms());
        Span::split(summed, steps, 1 + self.reduced.len() + self.kept.len()).iter().map(launch).collect()
    }

    fn rounding(&self) -> Rounding {
        // Blocks of terms, the blocks, the lanes, and the launches.
        let (lanes, steps) = (self.lanes(), self.lanes().steps(self.terms()));
        let launches = Span::split(1, steps, 1 + self.reduced.len() + self.kept.len()).len();
        let square = steps.min(self.block()) + steps.div_ceil(self.block()) + lanes.halvings() + launches;
        let each = matches!(self.records, Records::Each(_));
        let per_row = usize::from(!each && !self.records.sums().integers());
        Rounding { records: Extent { per_row, fixed: 0 }, ..Rounding::sum(square) }
    }
}
