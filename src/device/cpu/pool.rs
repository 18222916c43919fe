//! Native twins of [`Pool`] and [`PoolVjp`].

use std::ops::Range;

use super::patches::inside;
use super::{Native, parallel};
use crate::lower::kernels::{Pool, PoolGeometry, PoolKind, PoolVjp};

impl Native for Pool {
    fn run(&self, rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]) {
        let Pool { batched, kind, geometry } = self;
        let (from, to) = (area(geometry.input), area(geometry.output));
        let planes = geometry.channels * if *batched { rows } else { 1 };
        parallel::pieces(written[0], planes, to, to, |_: &mut (), plane, y| {
            let x = &read[0][plane * from..][..from];
            each_window(geometry, |w, window| {
                y[w] = match kind {
                    PoolKind::Max => x[window.largest(x)],
                    _ => window.elements().map(|i| x[i]).sum::<f32>() / window.count(*kind),
                };
            });
        });
    }
}

impl Native for PoolVjp {
    fn run(&self, rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]) {
        let PoolVjp { batched, kind, geometry } = self;
        let (to, from) = (area(geometry.input), area(geometry.output));
        let planes = geometry.channels * if *batched { rows } else { 1 };
        let (x, dy) = (read[0], read[read.len() - 1]);
        parallel::pieces(written[0], planes, to, to, |_: &mut (), plane, dx| {
            let dy = &dy[plane * from..][..from];
            dx[..to].fill(0.0);
            each_window(geometry, |w, window| match kind {
                PoolKind::Max => dx[window.largest(&x[plane * to..][..to])] += dy[w],
                _ => {
                    let share = dy[w] / window.count(*kind);
                    window.elements().for_each(|i| dx[i] += share);
                }
            });
        });
    }
}

fn area(sizes: [usize; 2]) -> usize {
    sizes[0] * sizes[1]
}

/// The part of a window that is inside the input, as ranges of kernel rows and columns.
struct Window<'a> {
    geometry: &'a PoolGeometry,
    kernel: [Range<usize>; 2],
    at: [usize; 2],
    padded: usize,
}

impl Window<'_> {
    /// Indices of its elements in a plane, row-major.
    fn elements(&self) -> impl Iterator<Item = usize> + '_ {
        let g = self.geometry;
        let place = |axis: usize, k: usize| self.at[axis] * g.stride[axis] + k * g.dilation[axis] - g.pad[axis];
        let [rows, columns] = &self.kernel;
        rows.clone().flat_map(move |kh| {
            let row = place(0, kh) * g.input[1];
            columns.clone().map(move |kw| row + place(1, kw))
        })
    }

    /// Index of the first largest element.
    fn largest(&self, x: &[f32]) -> usize {
        self.elements().reduce(|best, i| if x[i] > x[best] { i } else { best }).unwrap_or(0)
    }

    fn count(&self, kind: PoolKind) -> f32 {
        (if kind == PoolKind::AveragePadded { self.padded } else { area(self.kernel.each_ref().map(Range::len)) })
            as f32
    }
}

fn each_window(g: &PoolGeometry, mut f: impl FnMut(usize, Window)) {
    // Along each axis and for each output: the kernel elements inside the input, and how many are inside the padded one.
    let spans = [0, 1].map(|i| {
        let span = |o: usize| {
            let offset = (o * g.stride[i]) as isize - g.pad[i] as isize;
            let padded =
                inside(g.kernel[i], g.dilation[i], (o * g.stride[i]) as isize, g.pad[i] + g.input[i] + g.pad_end[i]);
            (inside(g.kernel[i], g.dilation[i], offset, g.input[i]), padded.len())
        };
        (0..g.output[i]).map(span).collect::<Vec<_>>()
    });
    for oh in 0..g.output[0] {
        for ow in 0..g.output[1] {
            let (rows, columns) = (&spans[0][oh], &spans[1][ow]);
            let kernel = [rows.0.clone(), columns.0.clone()];
            let window = Window { geometry: g, kernel, at: [oh, ow], padded: rows.1 * columns.1 };
            f(oh * g.output[1] + ow, window);
        }
    }
}
