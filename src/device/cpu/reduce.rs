//! Native twin of [`Reduce`].

use super::adding::{Grid, Sum, WideGrid, holds_none};
use super::{Buffers, Native, lanes, parallel};
use crate::lower::kernels::{Records, Reduce, Sums, Walk};
use crate::lower::program::Extent;
use crate::lower::target::Rounding;

/// Records that are summed one after another; blocks of them are summed at the same time.
const RECORDS: usize = 32;
/// Results from which on it is the results that are shared out, not the records.
const WIDE: usize = 4096;
/// Results that one thread works out at a time, where they are shared out.
const COLUMNS: usize = 4096;
/// Records that are added at a time, where all that happens to their elements is to be weighted.
const TOGETHER: usize = 4;

impl Native for Reduce {
    fn rounding(&self) -> Rounding {
        let (last, outer) = match self.reduced.split_last() {
            Some((last, outer)) => {
                (last.size, outer.iter().fold(1, |product: usize, w| product.saturating_mul(w.size)))
            }
            None => (1, 1),
        };
        // Line by line, or of neighbouring results term by term.
        let beside = self.kept.last().is_some_and(|kept| kept.stride == 1);
        let squares = self.square && self.elements() == 1 && self.reduced.last().is_none_or(|walk| walk.stride == 1);
        let line = match (beside, squares) {
            (true, _) => last.max(parallel::roundings(last)),
            (_, true) => lanes::roundings(last),
            _ => parallel::roundings(last),
        };
        let square = if beside && outer > 1 { outer.saturating_mul(line) } else { outer + line };
        let each = matches!(self.records, Records::Each(_));
        let per_row = usize::from(!each && !self.records.sums().integers());
        Rounding { records: Extent { per_row, fixed: 0 }, ..Rounding::sum(square) }
    }

    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let (x, len) = (read[0].f32(), self.elements());
        let (records, weight) = match self.records {
            Records::Each(e) => {
                return parallel::pieces(written[0].f32(), e.at(rows), len, len, |_: &mut (), n, y| {
                    y[..len].fill(0.0);
                    self.add(x, n, 1.0, 0, &mut y[..len]);
                });
            }
            Records::All(e) => (e.at(rows), None),
            Records::Weighted(_) => (rows, Some(read[1].f32())),
        };
        let weights = (0..records).map(|n| (n, weight.map_or(1.0, |w| w[n]))).filter(|(_, w)| !holds_none(*w));
        let weights: Vec<(usize, f32)> = weights.collect();
        // What a record that is left out adds.
        let zeros = vec![0.0; if weights.iter().any(|(_, w)| *w == 0.0) { self.record } else { 0 }];
        let x = Sources { x, zeros: &zeros, record: self.record };
        match self.records.sums() {
            Sums::Floats => self.total(x, &weights, records, &mut written[0].f32()[..len], |x, w, first, y| {
                self.add(x, 0, w, first, y);
            }),
            Sums::Grid => self.total(x, &weights, records, &mut written[0].i32()[..len], |x, w, first, y| {
                Grid::add_scaled(y, &x[first..][..y.len()], w);
            }),
            Sums::WideGrid => {
                let out: &mut [WideGrid] = bytemuck::cast_slice_mut(&mut written[0].i32()[..len]);
                self.total(x, &weights, records, out, |x, w, first, y| {
                    WideGrid::add_scaled(y, &x[first..][..y.len()], w);
                });
            }
        }
    }
}

/// Where the elements of each record are.
#[derive(Clone, Copy)]
struct Sources<'a> {
    x: &'a [f32],
    zeros: &'a [f32],
    record: usize,
}

impl<'a> Sources<'a> {
    /// Those of record `n`, whose weight is `w`.
    fn of(self, n: usize, w: f32) -> &'a [f32] {
        if w == 0.0 { self.zeros } else { &self.x[n * self.record..] }
    }
}

impl Reduce {
    /// Sets `out` to the sum over the records that have a weight, which `add` adds one by one to some of the results.
    fn total<T: Sum>(
        &self,
        x: Sources<'_>,
        weights: &[(usize, f32)],
        records: usize,
        out: &mut [T],
        add: impl Fn(&[f32], f32, usize, &mut [T]) + Sync,
    ) {
        let len = out.len();
        let plain = self.reduced.is_empty() && !self.square && matches!(self.kept[..], [Walk { stride: 1, .. }]);
        let add = |from: usize, to: usize, first: usize, y: &mut [T]| {
            let start = weights.partition_point(|(n, _)| *n < from);
            let end = weights.partition_point(|(n, _)| *n < to);
            let (fours, rest) = weights[start..end].as_chunks::<TOGETHER>();
            let (fours, rest) = if plain { (fours, rest) } else { (&[][..], &weights[start..end]) };
            for four in fours {
                let terms = four.map(|(n, w)| &x.of(n, w)[first..][..y.len()]);
                T::add_weighted(y, terms, four.map(|(_, w)| w));
            }
            for &(n, w) in rest {
                add(x.of(n, w), w, first, y);
            }
        };
        out.fill(T::default());
        if len >= WIDE {
            let parts = len.div_ceil(COLUMNS);
            parallel::pieces(out, parts, COLUMNS, COLUMNS, |_: &mut (), i, y| {
                let width = y.len().min(COLUMNS);
                add(0, records, i * COLUMNS, &mut y[..width]);
            });
            return;
        }
        let parts = records.div_ceil(RECORDS);
        let mut sums = vec![T::default(); parts * len];
        parallel::pieces(&mut sums, parts, len, len, |_: &mut (), i, y| {
            add(i * RECORDS, (i + 1) * RECORDS, 0, &mut y[..len]);
        });
        for sum in sums.chunks_exact(len.max(1)) {
            T::add(out, sum);
        }
    }

    /// Adds `w` times the sums of record `n` to `y`, results `first..first + y.len()`.
    fn add(&self, x: &[f32], n: usize, w: f32, first: usize, y: &mut [f32]) {
        let one = Walk { size: 1, stride: 0 };
        let (kept, outer_kept) = self.kept.split_last().unwrap_or((&one, &[]));
        let (terms, outer_terms) = self.reduced.split_last().unwrap_or((&one, &[]));
        let (mut line, mut column, mut done) = (first / kept.size, first % kept.size, 0);
        while done < y.len() {
            let to = y.len().min(done + kept.size - column);
            let start = n * self.record + offset(outer_kept, line) + column * kept.stride;
            for r in 0..outer_terms.iter().map(|a| a.size).product() {
                let x = &x[start + offset(outer_terms, r)..];
                if self.square && (y.len(), terms.stride) == (1, 1) {
                    let mut sum = 0.0;
                    lanes::squares(&x[..terms.size], &mut sum);
                    y[0] += w * sum;
                } else if self.square {
                    lines(x, w, *kept, *terms, &mut y[done..to], |v| v * v);
                } else if terms.stride == 1 && terms.size >= 8 {
                    for (k, y) in y[done..to].iter_mut().enumerate() {
                        let mut sum = 0.0;
                        lanes::sum(&x[k * kept.stride..][..terms.size], &mut sum);
                        *y += w * sum;
                    }
                } else {
                    lines(x, w, *kept, *terms, &mut y[done..to], |v| v);
                }
            }
            (line, column, done) = (line + 1, 0, to);
        }
    }
}

/// Where index `i` of the walks, row-major, leads.
fn offset(walks: &[Walk], mut i: usize) -> usize {
    let mut offset = 0;
    for walk in walks.iter().rev() {
        offset += i % walk.size * walk.stride;
        i /= walk.size;
    }
    offset
}

/// Adds to each `y[k]` the sum of `w · f` of the terms of its line.
#[inline(always)]
fn lines(x: &[f32], w: f32, kept: Walk, terms: Walk, y: &mut [f32], f: impl Fn(f32) -> f32) {
    if kept.stride == 1 && y.len() >= terms.size.min(8) {
        for r in 0..terms.size {
            y.iter_mut().zip(&x[r * terms.stride..]).for_each(|(y, &x)| *y += w * f(x));
        }
        return;
    }
    for (k, y) in y.iter_mut().enumerate() {
        let x = &x[k * kept.stride..];
        *y += w * if terms.stride == 1 {
            let x = &x[..terms.size];
            parallel::sum(x.len(), |r| f(x[r]))
        } else {
            parallel::sum(terms.size, |r| f(x[r * terms.stride]))
        };
    }
}
