//! Native twins of [`Pool`] and [`PoolVjp`].

use std::ops::Range;

use super::patches::inside;
use super::{Buffers, Native, parallel};
use crate::lower::kernels::{Pool, PoolKind, PoolVjp, Window};

impl Native for Pool {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let (windows, kind) = (Windows::new(&self.window), self.kind);
        let (from, to) = (self.window.elements(), self.window.positions());
        let planes = self.channels * if self.batched { rows } else { 1 };
        parallel::pieces(written[0].f32(), planes, to, to, |results: &mut Vec<f32>, plane, y| {
            let x = &read[0].f32()[plane * from..][..from];
            let results = parallel::room(results, windows.width);
            for line in 0..windows.lines {
                if kind == PoolKind::Max {
                    windows.largest(x, line, results);
                } else {
                    results.fill(0.0);
                    windows.each_tap(line, |at, tap| at.add(x, &mut results[tap]));
                }
                windows.each_row(line, |row, places| y[row].copy_from_slice(&results[places]));
            }
            if kind != PoolKind::Max {
                windows.divide(kind, &mut y[..to]);
            }
        });
    }
}

impl Native for PoolVjp {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let (windows, kind) = (Windows::new(&self.window), self.kind);
        let (to, from) = (self.window.elements(), self.window.positions());
        let planes = self.channels * if self.batched { rows } else { 1 };
        let (x, dy) = (read[0].f32(), read[read.len() - 1].f32());
        parallel::pieces(written[0].f32(), planes, to, to, |[bests, shares, all]: &mut [Vec<f32>; 3], plane, dx| {
            let all = parallel::room(all, from);
            all.copy_from_slice(&dy[plane * from..][..from]);
            if kind != PoolKind::Max {
                windows.divide(kind, all);
            }
            let [bests, shares] = [bests, shares].map(|scratch| parallel::room(scratch, windows.width));
            dx[..to].fill(0.0);
            for line in 0..windows.lines {
                // Between the rows of windows there is nothing to share.
                shares.fill(0.0);
                windows.each_row(line, |row, places| shares[places].copy_from_slice(&all[row]));
                if kind == PoolKind::Max {
                    let x = &x[plane * to..][..to];
                    windows.largest(x, line, bests);
                    // The first of the largest elements gets all, or the first NaN.
                    windows.each_tap(line, |at, tap| at.give(x, &bests[tap.clone()], &mut shares[tap], dx));
                } else {
                    windows.each_tap(line, |at, tap| at.spread(&shares[tap], dx));
                }
            }
        });
    }
}

/// Where neighbouring windows find one of their elements: from `first` on, `stride` apart.
struct Elements {
    first: usize,
    stride: usize,
}

impl Elements {
    /// Adds its element to each of `sums`.
    #[inline(always)]
    fn add(&self, x: &[f32], sums: &mut [f32]) {
        let add = |(sum, x): (&mut f32, &f32)| *sum += x;
        let x = &x[self.first..];
        match self.stride {
            1 => sums.iter_mut().zip(x).for_each(add),
            2 => {
                // Pairs, of which the second may be missing at the end.
                let (pairs, last) = x.as_chunks::<2>();
                let (sums, rest) = sums.split_at_mut(sums.len().min(pairs.len()));
                sums.iter_mut().zip(pairs).for_each(|(sum, [x, _])| *sum += x);
                rest.iter_mut().zip(last).for_each(add);
            }
            stride => sums.iter_mut().zip(x.iter().step_by(stride)).for_each(add),
        }
    }

    /// Adds each of `shares` to its element.
    #[inline(always)]
    fn spread(&self, shares: &[f32], dx: &mut [f32]) {
        let add = |(dx, share): (&mut f32, &f32)| *dx += share;
        let dx = &mut dx[self.first..];
        match self.stride {
            1 => dx.iter_mut().zip(shares).for_each(add),
            2 => {
                let (pairs, last) = dx.as_chunks_mut::<2>();
                let (shares, rest) = shares.split_at(shares.len().min(pairs.len()));
                pairs.iter_mut().zip(shares).for_each(|([dx, _], share)| *dx += share);
                last.iter_mut().zip(rest).for_each(add);
            }
            stride => dx.iter_mut().step_by(stride).zip(shares).for_each(add),
        }
    }

    /// Makes each of `bests` the larger of itself and of its element. NaN wins, so that it is not lost.
    #[inline(always)]
    fn raise(&self, x: &[f32], bests: &mut [f32]) {
        let larger = |(best, &x): (&mut f32, &f32)| *best = if x > *best || x.is_nan() { x } else { *best };
        let x = &x[self.first..];
        match self.stride {
            1 => bests.iter_mut().zip(x).for_each(larger),
            2 => bests.iter_mut().zip(x.iter().step_by(2)).for_each(larger),
            stride => bests.iter_mut().zip(x.iter().step_by(stride)).for_each(larger),
        }
    }

    /// Gives to each element that is its window's best what there is to share, which nothing is left of then.
    #[inline(always)]
    fn give(&self, x: &[f32], bests: &[f32], shares: &mut [f32], dx: &mut [f32]) {
        let give = |(((dx, &x), &best), share): (((&mut f32, &f32), &f32), &mut f32)| {
            let given = if x == best || x.is_nan() { *share } else { 0.0 };
            // What was given may be infinite.
            *share = if x == best || x.is_nan() { 0.0 } else { *share };
            *dx += given;
        };
        let (x, dx) = (&x[self.first..], &mut dx[self.first..]);
        match self.stride {
            1 => dx.iter_mut().zip(x).zip(bests).zip(shares).for_each(give),
            2 => dx.iter_mut().step_by(2).zip(x.iter().step_by(2)).zip(bests).zip(shares).for_each(give),
            stride => {
                dx.iter_mut().step_by(stride).zip(x.iter().step_by(stride)).zip(bests).zip(shares).for_each(give);
            }
        }
    }
}

/// The windows of a channel, in lines along the last axis; or all of them in one line, where each row of windows begins in the
/// row of the input after that of the one before, and what stands between the rows are windows that nobody asked for.
struct Windows<'a> {
    window: &'a Window,
    /// Number of lines, and windows in each.
    lines: usize,
    width: usize,
    /// For each kernel column, the output columns for which it is inside the input.
    columns: Vec<Range<usize>>,
    /// For each position along each axis, how many kernel elements are inside the input, and inside the padded one.
    counts: [Vec<[usize; 2]>; 3],
}

impl<'a> Windows<'a> {
    fn new(w: &'a Window) -> Windows<'a> {
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
        let reach = |i: usize| w.output[i] + (w.kernel[i] - 1) * w.dilation[i];
        let one_line = w.stride[1..] == [1, 1]
            && [w.kernel[0], w.output[0]] == [1, 1]
            && w.pad == [0; 3]
            && [1, 2].into_iter().all(|i| reach(i) <= w.input[i]);
        let (lines, width) = match one_line {
            true => (1, (w.output[1] - 1) * w.input[2] + w.output[2]),
            false => (w.output[0] * w.output[1], w.output[2]),
        };
        Windows { window: w, lines, width, columns, counts }
    }

    /// Calls `f` with the places of each row of windows in a plane of results, and in its line.
    fn each_row(&self, line: usize, mut f: impl FnMut(Range<usize>, Range<usize>)) {
        let w = self.window;
        let rows = w.output[0] * w.output[1] / self.lines;
        for row in 0..rows {
            let (first, place) = ((line * rows + row) * w.output[2], row * w.input[2]);
            f(first..first + w.output[2], place..place + w.output[2]);
        }
    }

    /// Divides what each window of the plane has by the number of its elements.
    fn divide(&self, kind: PoolKind, sums: &mut [f32]) {
        let (padded, w) = (usize::from(kind == PoolKind::AveragePadded), self.window);
        let [depths, rows, columns] = &self.counts;
        let same = |counts: &[[usize; 2]]| counts.iter().all(|count| count[padded] == counts[0][padded]);
        if self.counts.iter().all(|counts| !counts.is_empty() && same(counts)) {
            let count: usize = self.counts.iter().map(|counts| counts[0][padded]).product();
            let count = count as f32;
            return sums.iter_mut().for_each(|sum| *sum /= count);
        }
        for (line, first) in (0..w.output[0] * w.output[1]).map(|line| (line, line * w.output[2])) {
            let lines = depths[line / w.output[1]][padded] * rows[line % w.output[1]][padded];
            let sums = sums[first..].iter_mut();
            sums.zip(columns).for_each(|(sum, count)| *sum /= (lines * count[padded]) as f32);
        }
    }

    /// The largest elements of the windows of `line`, or NaN where there is one.
    fn largest(&self, x: &[f32], line: usize, bests: &mut [f32]) {
        bests.fill(f32::NEG_INFINITY);
        self.each_tap(line, |at, tap| at.raise(x, &mut bests[tap]));
    }

    /// Calls `f` for each kernel element, row-major, with the output columns of `line` for which it is inside the input, and
    /// with where they find it.
    #[inline(always)]
    fn each_tap(&self, line: usize, mut f: impl FnMut(Elements, Range<usize>)) {
        let w = self.window;
        if self.width > w.output[2] {
            for (row, column) in (0..w.kernel[1]).flat_map(|row| (0..w.kernel[2]).map(move |column| (row, column))) {
                let first = row * w.dilation[1] * w.input[2] + column * w.dilation[2];
                f(Elements { first, stride: 1 }, 0..self.width);
            }
            return;
        }
        let line = [line / w.output[1], line % w.output[1]];
        let at = |axis: usize, k: usize| (line[axis] * w.stride[axis] + k * w.dilation[axis]).wrapping_sub(w.pad[axis]);
        for depth in (0..w.kernel[0]).map(|k| at(0, k)).filter(|&depth| depth < w.input[0]) {
            for row in (0..w.kernel[1]).map(|k| at(1, k)).filter(|&row| row < w.input[1]) {
                for (kw, columns) in self.columns.iter().enumerate().filter(|(_, c)| !c.is_empty()) {
                    let column = columns.start * w.stride[2] + kw * w.dilation[2] - w.pad[2];
                    let first = (depth * w.input[1] + row) * w.input[2] + column;
                    f(Elements { first, stride: w.stride[2] }, columns.clone());
                }
            }
        }
    }
}
