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
        parallel::pieces(written[0].f32(), planes, to, to, |_: &mut (), plane, y| {
            let x = &read[0].f32()[plane * from..][..from];
            for (line, y) in y[..to].chunks_exact_mut(self.window.output[2]).enumerate() {
                if kind == PoolKind::Max {
                    windows.largest(x, line, y);
                } else {
                    y.fill(0.0);
                    windows.each_tap(line, |at, tap| at.zip(&mut y[tap], |i, y| *y += x[i]));
                    y.iter_mut().enumerate().for_each(|(ow, y)| *y /= windows.count(kind, line, ow));
                }
            }
        });
    }
}

impl Native for PoolVjp {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let (windows, kind) = (Windows::new(&self.window), self.kind);
        let (to, from) = (self.window.elements(), self.window.positions());
        let columns = self.window.output[2];
        let planes = self.channels * if self.batched { rows } else { 1 };
        let (x, dy) = (read[0].f32(), read[read.len() - 1].f32());
        parallel::pieces(written[0].f32(), planes, to, to, |[bests, shares]: &mut [Vec<f32>; 2], plane, dx| {
            let dy = &dy[plane * from..][..from];
            dx[..to].fill(0.0);
            for (line, dy) in dy.chunks_exact(columns).enumerate() {
                let shares = parallel::room(shares, columns);
                if kind == PoolKind::Max {
                    let x = &x[plane * to..][..to];
                    let bests = parallel::room(bests, columns);
                    windows.largest(x, line, bests);
                    shares.copy_from_slice(dy);
                    // The first of the largest elements gets all, or the first NaN.
                    windows.each_tap(line, |at, tap| at.give(x, &bests[tap.clone()], &mut shares[tap], dx));
                } else {
                    let share = |(ow, dy): (usize, &f32)| dy / windows.count(kind, line, ow);
                    shares.iter_mut().zip(dy.iter().enumerate().map(share)).for_each(|(to, share)| *to = share);
                    windows.each_tap(line, |at, tap| at.zip(&mut shares[tap], |i, share| dx[i] += *share));
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
    #[inline(always)]
    fn zip<T>(&self, windows: &mut [T], mut f: impl FnMut(usize, &mut T)) {
        windows.iter_mut().enumerate().for_each(|(i, w)| f(self.first + i * self.stride, w));
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

/// The windows of a channel, in lines along the last axis.
struct Windows<'a> {
    window: &'a Window,
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
        Windows { window: w, columns, counts }
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

    /// What the sum over a window is divided by.
    fn count(&self, kind: PoolKind, line: usize, column: usize) -> f32 {
        let (padded, height) = (usize::from(kind == PoolKind::AveragePadded), self.window.output[1]);
        let [depths, rows, columns] = &self.counts;
        (depths[line / height][padded] * rows[line % height][padded] * columns[column][padded]) as f32
    }
}
