//! Native twins of [`Pool`] and [`PoolVjp`].

use std::ops::Range;

use super::patches::inside;
use super::{Buffers, Native, parallel};
use crate::lower::kernels::{Pool, PoolGeometry, PoolKind, PoolVjp};

impl Native for Pool {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let (windows, kind) = (Windows::new(&self.geometry), self.kind);
        let (from, to) = (area(self.geometry.input), area(self.geometry.output));
        let planes = self.geometry.channels * if self.batched { rows } else { 1 };
        parallel::pieces(written[0].f32(), planes, to, to, |_: &mut (), plane, y| {
            let x = &read[0].f32()[plane * from..][..from];
            for (oh, y) in y[..to].chunks_exact_mut(self.geometry.output[1]).enumerate() {
                if kind == PoolKind::Max {
                    y.fill(f32::NEG_INFINITY);
                    // NaN wins, so that it is not lost.
                    windows.each_tap(oh, |at, tap| {
                        at.zip(&mut y[tap], |i, y| {
                            if x[i] > *y || x[i].is_nan() {
                                *y = x[i]
                            }
                        })
                    });
                } else {
                    y.fill(0.0);
                    windows.each_tap(oh, |at, tap| at.zip(&mut y[tap], |i, y| *y += x[i]));
                    y.iter_mut().enumerate().for_each(|(ow, y)| *y /= windows.count(kind, oh, ow));
                }
            }
        });
    }
}

impl Native for PoolVjp {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let (windows, kind) = (Windows::new(&self.geometry), self.kind);
        let (to, from) = (area(self.geometry.input), area(self.geometry.output));
        let columns = self.geometry.output[1];
        let planes = self.geometry.channels * if self.batched { rows } else { 1 };
        let (x, dy) = (read[0].f32(), read[read.len() - 1].f32());
        parallel::pieces(written[0].f32(), planes, to, to, |line: &mut Vec<(f32, usize)>, plane, dx| {
            let dy = &dy[plane * from..][..from];
            dx[..to].fill(0.0);
            for (oh, dy) in dy.chunks_exact(columns).enumerate() {
                line.clear();
                if kind == PoolKind::Max {
                    // The largest element so far of each window and where it is.
                    let x = &x[plane * to..][..to];
                    line.resize(columns, (f32::NEG_INFINITY, usize::MAX));
                    windows.each_tap(oh, |at, tap| {
                        at.zip(&mut line[tap], |i, best| {
                            if x[i] > best.0 || x[i].is_nan() || best.1 == usize::MAX {
                                *best = (x[i], i);
                            }
                        });
                    });
                    for (dy, (_, at)) in dy.iter().zip(&*line) {
                        if let Some(dx) = dx.get_mut(*at) {
                            *dx += dy;
                        }
                    }
                } else {
                    line.extend(dy.iter().enumerate().map(|(ow, dy)| (dy / windows.count(kind, oh, ow), 0)));
                    windows.each_tap(oh, |at, tap| at.zip(&mut line[tap], |i, share| dx[i] += share.0));
                }
            }
        });
    }
}

fn area(sizes: [usize; 2]) -> usize {
    sizes[0] * sizes[1]
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

/// The windows of a plane.
struct Windows<'a> {
    geometry: &'a PoolGeometry,
    /// For each kernel column, the output columns for which it is inside the input.
    columns: Vec<Range<usize>>,
    /// For each output row and column, how many kernel rows and columns are inside the input, and inside the padded one.
    counts: [Vec<[usize; 2]>; 2],
}

impl<'a> Windows<'a> {
    fn new(g: &'a PoolGeometry) -> Windows<'a> {
        let offset = |axis: usize, k: usize| (k * g.dilation[axis]) as isize - g.pad[axis] as isize;
        let columns = (0..g.kernel[1]).map(|k| inside(g.output[1], g.stride[1], offset(1, k), g.input[1])).collect();
        let counts = [0, 1].map(|i| {
            let count = |o: usize| {
                let (start, padded) = (o * g.stride[i], g.pad[i] + g.input[i] + g.pad_end[i]);
                let real = inside(g.kernel[i], g.dilation[i], start as isize - g.pad[i] as isize, g.input[i]);
                [real.len(), inside(g.kernel[i], g.dilation[i], start as isize, padded).len()]
            };
            (0..g.output[i]).map(count).collect()
        });
        Windows { geometry: g, columns, counts }
    }

    /// Calls `f` for each kernel element, row-major, with the output columns of row `oh` for which it is inside the input,
    /// and with where they find it.
    #[inline(always)]
    fn each_tap(&self, oh: usize, mut f: impl FnMut(Elements, Range<usize>)) {
        let g = self.geometry;
        for kh in 0..g.kernel[0] {
            let row = (oh * g.stride[0] + kh * g.dilation[0]).wrapping_sub(g.pad[0]);
            if row >= g.input[0] {
                continue;
            }
            for (kw, columns) in self.columns.iter().enumerate().filter(|(_, c)| !c.is_empty()) {
                let column = columns.start * g.stride[1] + kw * g.dilation[1] - g.pad[1];
                f(Elements { first: row * g.input[1] + column, stride: g.stride[1] }, columns.clone());
            }
        }
    }

    /// What the sum over a window is divided by.
    fn count(&self, kind: PoolKind, oh: usize, ow: usize) -> f32 {
        let padded = usize::from(kind == PoolKind::AveragePadded);
        (self.counts[0][oh][padded] * self.counts[1][ow][padded]) as f32
    }
}
