//! Native twins of [`Pool`] and [`PoolVjp`].

use std::ops::Range;

use super::lanes::widest;
use super::patches::inside;
use super::{Buffers, Native, parallel};
use crate::lower::kernels::{Pool, PoolKind, PoolVjp, Window};

impl Native for Pool {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let planes = self.channels * if self.batched { rows } else { 1 };
        let (windows, kind) = (Windows::new(&self.window, planes), self.kind);
        let (from, to) = (self.window.elements(), self.window.positions() * windows.planes);
        let all = &mut written[0].f32()[..planes * self.window.positions()];
        parallel::pieces(
            all,
            planes.div_ceil(windows.planes),
            to,
            to.min(all.len()),
            |results: &mut Vec<f32>, i, y| {
                let (first, count) = (i * windows.planes, y.len() / self.window.positions());
                let x = &read[0].f32()[first * from..][..count * from];
                let results = parallel::room(results, windows.width(count));
                match kind {
                    PoolKind::Max => largest(&windows, count, x, results, y),
                    PoolKind::AverageInside | PoolKind::AveragePadded => {
                        sums(&windows, count, x, results, y);
                        windows.divide(kind, y);
                    }
                }
            },
        );
    }
}

widest! {
    /// Sets `y` to the largest elements of the windows of some planes.
    largest(windows: &Windows<'_>, planes: usize, x: &[f32], results: &mut [f32], y: &mut [f32]) {
        for line in 0..windows.lines {
            windows.largest(x, line, planes, results);
            windows.each_row(line, planes, |row, places| y[row].copy_from_slice(&results[places]));
        }
    }
}

widest! {
    /// Sets `y` to the sums of the windows of some planes.
    sums(windows: &Windows<'_>, planes: usize, x: &[f32], results: &mut [f32], y: &mut [f32]) {
        for line in 0..windows.lines {
            results.fill(0.0);
            for tap in &windows.taps[line] {
                tap.elements.add(x, &mut results[windows.range(tap, planes)]);
            }
            windows.each_row(line, planes, |row, places| y[row].copy_from_slice(&results[places]));
        }
    }
}

widest! {
    /// Gives what each window of some planes has, `all`, to the first of its largest elements, or to the first NaN.
    give(windows: &Windows<'_>, planes: usize, x: &[f32], all: &[f32], bests: &mut [f32], shares: &mut [f32], dx: &mut [f32]) {
        dx.fill(0.0);
        for line in 0..windows.lines {
            // Between the rows of windows there is nothing to share.
            shares.fill(0.0);
            windows.each_row(line, planes, |row, places| shares[places].copy_from_slice(&all[row]));
            windows.largest(x, line, planes, bests);
            for tap in &windows.taps[line] {
                let range = windows.range(tap, planes);
                tap.elements.give(x, &bests[range.clone()], &mut shares[range], dx);
            }
        }
    }
}

widest! {
    /// Gives what each window of some planes has, `all`, to each of its elements.
    spread(windows: &Windows<'_>, planes: usize, all: &[f32], shares: &mut [f32], dx: &mut [f32]) {
        dx.fill(0.0);
        for line in 0..windows.lines {
            shares.fill(0.0);
            windows.each_row(line, planes, |row, places| shares[places].copy_from_slice(&all[row]));
            for tap in &windows.taps[line] {
                tap.elements.spread(&shares[windows.range(tap, planes)], dx);
            }
        }
    }
}

impl Native for PoolVjp {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let planes = self.channels * if self.batched { rows } else { 1 };
        let (windows, kind) = (Windows::new(&self.window, planes), self.kind);
        let (to, from) = (self.window.elements() * windows.planes, self.window.positions());
        let (x, dy) = (read[0].f32(), read[read.len() - 1].f32());
        let out = &mut written[0].f32()[..planes * self.window.elements()];
        let pieces = planes.div_ceil(windows.planes);
        parallel::pieces(out, pieces, to, to.min(out.len()), |[bests, shares, all]: &mut [Vec<f32>; 3], i, dx| {
            let (first, count) = (i * windows.planes, dx.len() / self.window.elements());
            let all = parallel::room(all, count * from);
            all.copy_from_slice(&dy[first * from..][..count * from]);
            if kind != PoolKind::Max {
                windows.divide(kind, all);
            }
            let [bests, shares] = [bests, shares].map(|scratch| parallel::room(scratch, windows.width(count)));
            match kind {
                PoolKind::Max => {
                    let x = &x[first * self.window.elements()..][..dx.len()];
                    give(&windows, count, x, all, bests, shares, dx);
                }
                _ => spread(&windows, count, all, shares, dx),
            }
        });
    }
}

/// Where neighbouring windows find one of their elements, or two that are neighbours: from `first` on, `stride` apart.
struct Elements {
    first: usize,
    stride: usize,
    /// Whether the next element is theirs too; then `stride` is 2.
    both: bool,
}

/// Calls `f` with each of some values and the first element of its pair, of which the last may lack its second.
macro_rules! firsts {
    ($x:expr, $values:expr, $f:expr) => {{
        let (pairs, last) = $x.as_chunks::<2>();
        let (values, rest) = $values.split_at_mut($values.len().min(pairs.len()));
        values.iter_mut().zip(pairs).for_each(|(value, [x, _])| $f((value, x)));
        rest.iter_mut().zip(last).for_each($f);
    }};
}

impl Elements {
    /// Adds its element to each of `sums`.
    #[inline(always)]
    fn add(&self, x: &[f32], sums: &mut [f32]) {
        let add = |(sum, x): (&mut f32, &f32)| *sum += x;
        let x = &x[self.first..];
        match (self.stride, self.both) {
            (1, _) => sums.iter_mut().zip(x).for_each(add),
            (_, true) => sums.iter_mut().zip(x.as_chunks::<2>().0).for_each(|(sum, [x, y])| *sum = *sum + x + y),
            (2, _) => firsts!(x, sums, add),
            (stride, _) => sums.iter_mut().zip(x.iter().step_by(stride)).for_each(add),
        }
    }

    /// Adds each of `shares` to its element.
    #[inline(always)]
    fn spread(&self, shares: &[f32], dx: &mut [f32]) {
        let add = |(dx, share): (&mut f32, &f32)| *dx += share;
        let dx = &mut dx[self.first..];
        match (self.stride, self.both) {
            (1, _) => dx.iter_mut().zip(shares).for_each(add),
            (_, true) => dx.as_chunks_mut::<2>().0.iter_mut().zip(shares).for_each(|(pair, share)| {
                *pair = [pair[0] + share, pair[1] + share];
            }),
            (stride, _) => dx.iter_mut().step_by(stride).zip(shares).for_each(add),
        }
    }

    /// Makes each of `bests` the larger of itself and of its element. NaN wins, so that it is not lost.
    #[inline(always)]
    fn raise(&self, x: &[f32], bests: &mut [f32]) {
        let of = |best: f32, x: f32| if best >= x || best.is_nan() { best } else { x };
        let larger = |(best, &x): (&mut f32, &f32)| *best = of(*best, x);
        let x = &x[self.first..];
        match (self.stride, self.both) {
            (1, _) => bests.iter_mut().zip(x).for_each(larger),
            (_, true) => bests.iter_mut().zip(x.as_chunks::<2>().0).for_each(|(best, [x, y])| {
                *best = of(of(*best, *x), *y);
            }),
            (2, _) => firsts!(x, bests, larger),
            (stride, _) => bests.iter_mut().zip(x.iter().step_by(stride)).for_each(larger),
        }
    }

    /// Gives to each element that is its window's best what there is to share, which nothing is left of then.
    #[inline(always)]
    fn give(&self, x: &[f32], bests: &[f32], shares: &mut [f32], dx: &mut [f32]) {
        // What is given, and what is left: what was given may be infinite.
        let part = |x: f32, best: f32, share: f32| {
            let all = x == best || x.is_nan();
            (if all { share } else { 0.0 }, if all { 0.0 } else { share })
        };
        let give = |(((dx, &x), &best), share): (((&mut f32, &f32), &f32), &mut f32)| {
            let (given, left) = part(x, best, *share);
            *share = left;
            *dx += given;
        };
        let (x, dx) = (&x[self.first..], &mut dx[self.first..]);
        match (self.stride, self.both) {
            (1, _) => dx.iter_mut().zip(x).zip(bests).zip(shares).for_each(give),
            (_, true) => {
                let pairs = dx.as_chunks_mut::<2>().0.iter_mut().zip(x.as_chunks::<2>().0);
                pairs.zip(bests).zip(shares).for_each(|(((dx, x), &best), share)| {
                    let (first, left) = part(x[0], best, *share);
                    let (second, left) = part(x[1], best, left);
                    *share = left;
                    *dx = [dx[0] + first, dx[1] + second];
                });
            }
            (stride, _) => {
                dx.iter_mut().step_by(stride).zip(x.iter().step_by(stride)).zip(bests).zip(shares).for_each(give);
            }
        }
    }
}

/// The windows of a channel, in lines along the last axis; or those of several channels in one line that goes on from row to
/// row of the input, where what stands between the rows of windows are windows that nobody asked for.
struct Windows<'a> {
    window: &'a Window,
    /// Number of lines, and windows in each.
    lines: usize,
    width: usize,
    /// Where all are in one line: windows from one row of windows to the next, from one channel to the next, and the number
    /// of channels.
    pitch: usize,
    area: usize,
    planes: usize,
    /// For each kernel column, the output columns for which it is inside the input.
    columns: Vec<Range<usize>>,
    /// For each position along each axis, how many kernel elements are inside the input, and inside the padded one.
    counts: [Vec<[usize; 2]>; 3],
    /// The kernel elements of each line.
    taps: Vec<Vec<Tap>>,
}

/// A kernel element: the windows of a line for which it is inside the input, and where they find it.
struct Tap {
    elements: Elements,
    windows: Range<usize>,
}

/// Elements of the channels whose windows are in one line.
const LINE: usize = 2048;

impl<'a> Windows<'a> {
    /// The windows of `planes` channels.
    fn new(w: &'a Window, planes: usize) -> Windows<'a> {
        let offset = |axis: usize, k: usize| (k * w.dilation[axis]) as isize - w.pad[axis] as isize;
        let columns = (0..w.kernel[2]).map(|k| inside(w.output[2], w.stride[2], offset(2, k), w.input[2])).collect();
        let counts = [0, 1, 2].map(|i| {
            let count = |o: usize| {
                let (start, padded) = (o * w.stride[i], w.pad[i] + w.input[i] + w.pad_end[i]);
                let real = inside(w.kernel[i], w.dilation[i], start as isize - w.pad[i] as isize, w.input[i]);
                [real.len(), inside(w.kernel[i], w.dilation[i], start as isize, padded).len()]
            };
            (0..w.output[i]).map(count).collect()
        });
        let reach = |i: usize| (w.output[i] - 1) * w.stride[i] + (w.kernel[i] - 1) * w.dilation[i] + 1;
        // Windows from one row of windows to the next; a longer way would be work for nothing.
        let pitch = w.stride[1] * w.input[2] / w.stride[2];
        let one_line = w.stride[1] <= 2
            && w.stride[2] <= 2
            && (w.stride[1] * w.input[2]).is_multiple_of(w.stride[2])
            && [w.kernel[0], w.output[0]] == [1, 1]
            && w.pad == [0; 3]
            && [1, 2].into_iter().all(|i| reach(i) <= w.input[i]);
        let (lines, width) = match one_line {
            true => (1, (w.output[1] - 1) * pitch + w.output[2]),
            false => (w.output[0] * w.output[1], w.output[2]),
        };
        let whole = one_line && w.elements().is_multiple_of(w.stride[2]);
        let together = if whole { (LINE / w.elements().max(1)).clamp(1, planes.max(1)) } else { 1 };
        let (area, both) =
            (w.elements() / w.stride[2], one_line && [w.kernel[2], w.stride[2], w.dilation[2]] == [2, 2, 1]);
        let mut windows =
            Windows { window: w, lines, width, pitch, area, planes: together, columns, counts, taps: vec![] };
        windows.taps = (0..lines).map(|line| windows.taps_of(line, one_line, both)).collect();
        windows
    }

    /// Windows in a line of `planes` channels.
    fn width(&self, planes: usize) -> usize {
        (planes - 1) * self.area + self.width
    }

    /// The windows of a line of `planes` channels that have a kernel element inside the input.
    #[inline(always)]
    fn range(&self, tap: &Tap, planes: usize) -> Range<usize> {
        tap.windows.start..tap.windows.end + (planes - 1) * self.area
    }

    /// Calls `f` with the places of each row of windows in planes of results, and in its line.
    #[inline(always)]
    fn each_row(&self, line: usize, planes: usize, mut f: impl FnMut(Range<usize>, Range<usize>)) {
        let w = self.window;
        let rows = w.output[0] * w.output[1] / self.lines;
        for (plane, row) in (0..planes).flat_map(|plane| (0..rows).map(move |row| (plane, row))) {
            let first = plane * w.positions() + (line * rows + row) * w.output[2];
            let place = plane * self.area + row * self.pitch;
            f(first..first + w.output[2], place..place + w.output[2]);
        }
    }

    /// Divides what each window of planes has by the number of its elements.
    fn divide(&self, kind: PoolKind, sums: &mut [f32]) {
        let (padded, w) = (usize::from(kind == PoolKind::AveragePadded), self.window);
        let [depths, rows, columns] = &self.counts;
        let same = |counts: &[[usize; 2]]| counts.iter().all(|count| count[padded] == counts[0][padded]);
        if self.counts.iter().all(|counts| !counts.is_empty() && same(counts)) {
            let count: usize = self.counts.iter().map(|counts| counts[0][padded]).product();
            let count = count as f32;
            return sums.iter_mut().for_each(|sum| *sum /= count);
        }
        let all = w.output[0] * w.output[1];
        for (line, sums) in sums.chunks_exact_mut(w.output[2]).enumerate().map(|(i, sums)| (i % all, sums)) {
            let lines = depths[line / w.output[1]][padded] * rows[line % w.output[1]][padded];
            sums.iter_mut().zip(columns).for_each(|(sum, count)| *sum /= (lines * count[padded]) as f32);
        }
    }

    /// The largest elements of the windows of `line`, or NaN where there is one.
    #[inline(always)]
    fn largest(&self, x: &[f32], line: usize, planes: usize, bests: &mut [f32]) {
        bests.fill(f32::NEG_INFINITY);
        for tap in &self.taps[line] {
            tap.elements.raise(x, &mut bests[self.range(tap, planes)]);
        }
    }

    /// The kernel elements of `line`, row-major, `both` those of a row at once.
    fn taps_of(&self, line: usize, one_line: bool, both: bool) -> Vec<Tap> {
        let w = self.window;
        let stride = w.stride[2];
        if one_line {
            let columns = (0..w.kernel[2]).step_by(if both { 2 } else { 1 });
            let elements = (0..w.kernel[1]).flat_map(|row| columns.clone().map(move |column| (row, column)));
            let first = |(row, column)| row * w.dilation[1] * w.input[2] + column * w.dilation[2];
            let tap = |at| Tap { elements: Elements { first: first(at), stride, both }, windows: 0..self.width };
            return elements.map(tap).collect();
        }
        let mut taps = Vec::new();
        let line = [line / w.output[1], line % w.output[1]];
        let at = |axis: usize, k: usize| (line[axis] * w.stride[axis] + k * w.dilation[axis]).wrapping_sub(w.pad[axis]);
        for depth in (0..w.kernel[0]).map(|k| at(0, k)).filter(|&depth| depth < w.input[0]) {
            for row in (0..w.kernel[1]).map(|k| at(1, k)).filter(|&row| row < w.input[1]) {
                for (kw, columns) in self.columns.iter().enumerate().filter(|(_, c)| !c.is_empty()) {
                    let column = columns.start * stride + kw * w.dilation[2] - w.pad[2];
                    let first = (depth * w.input[1] + row) * w.input[2] + column;
                    let elements = Elements { first, stride, both: false };
                    taps.push(Tap { elements, windows: columns.clone() });
                }
            }
        }
        taps
    }
}
