//! Native twins of [`Pool`] and [`PoolVjp`].

use std::ops::Range;

use super::patches::inside;
use super::{Native, parallel};
use crate::lower::kernels::{Pool, PoolKind, PoolVjp, Window};

impl Native for Pool {
    fn run(&self, rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]) {
        let (windows, kind) = (Windows::new(&self.window), self.kind);
        let (from, to) = (self.window.elements(), self.window.positions());
        let planes = self.channels * if self.batched { rows } else { 1 };
        parallel::pieces(written[0], planes, to, to, |_: &mut (), plane, y| {
            let x = &read[0][plane * from..][..from];
            for (line, y) in y[..to].chunks_exact_mut(self.window.output[2]).enumerate() {
                if kind == PoolKind::Max {
                    y.fill(f32::NEG_INFINITY);
                    // NaN wins, so that it is not lost.
                    windows.each_tap(line, |at, tap| {
                        at.zip(&mut y[tap], |i, y| {
                            if x[i] > *y || x[i].is_nan() {
                                *y = x[i]
                            }
                        })
                    });
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
    fn run(&self, rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]) {
        let (windows, kind) = (Windows::new(&self.window), self.kind);
        let (to, from) = (self.window.elements(), self.window.positions());
        let columns = self.window.output[2];
        let planes = self.channels * if self.batched { rows } else { 1 };
        let (x, dy) = (read[0], read[read.len() - 1]);
        parallel::pieces(written[0], planes, to, to, |bests: &mut Vec<(f32, usize)>, plane, dx| {
            let dy = &dy[plane * from..][..from];
            dx[..to].fill(0.0);
            for (line, dy) in dy.chunks_exact(columns).enumerate() {
                bests.clear();
                if kind == PoolKind::Max {
                    // The largest element so far of each window and where it is.
                    let x = &x[plane * to..][..to];
                    bests.resize(columns, (f32::NEG_INFINITY, usize::MAX));
                    windows.each_tap(line, |at, tap| {
                        at.zip(&mut bests[tap], |i, best| {
                            if x[i] > best.0 || x[i].is_nan() || best.1 == usize::MAX {
                                *best = (x[i], i);
                            }
                        });
                    });
                    for (dy, (_, at)) in dy.iter().zip(&*bests) {
                        if let Some(dx) = dx.get_mut(*at) {
                            *dx += dy;
                        }
                    }
                } else {
                    bests.extend(dy.iter().enumerate().map(|(ow, dy)| (dy / windows.count(kind, line, ow), 0)));
                    windows.each_tap(line, |at, tap| at.zip(&mut bests[tap], |i, share| dx[i] += share.0));
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
