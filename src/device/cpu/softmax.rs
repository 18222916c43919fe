//! Native twins of [`Softmax`] and [`SoftmaxVjp`].

use super::{Buffers, Native, parallel};
use crate::lower::kernels::{Softmax, SoftmaxRows, SoftmaxVjp};
use crate::lower::math::exp;

impl Native for Softmax {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        each_line(&self.0, rows, [read[0].f32()], written[0].f32(), |[x], y| {
            let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            y.iter_mut().zip(x).for_each(|(y, x)| *y = exp(x - largest));
            let sum = parallel::sum(y.len(), |i| y[i]);
            if self.0.log {
                let log = sum.ln();
                y.iter_mut().zip(x).for_each(|(y, x)| *y = x - largest - log);
            } else {
                y.iter_mut().for_each(|y| *y /= sum);
            }
        });
    }
}

impl Native for SoftmaxVjp {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let log = self.0.log;
        each_line(&self.0, rows, [read[0].f32(), read[1].f32()], written[0].f32(), |[y, dy], dx| {
            let dot = parallel::sum(y.len(), |i| if log { dy[i] } else { y[i] * dy[i] });
            for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx = if log { dy - exp(*y) * dot } else { y * (dy - dot) };
            }
        });
    }
}

/// Calls `f` with each line of the inputs along the axis and the line of `out` that it yields.
fn each_line<const N: usize>(
    shape: &SoftmaxRows,
    rows: usize,
    inputs: [&[f32]; N],
    out: &mut [f32],
    f: impl Fn([&[f32]; N], &mut [f32]) + Sync,
) {
    let SoftmaxRows { batched, outer, len, inner, .. } = *shape;
    let (count, size) = (outer * if batched { rows } else { 1 }, len * inner);
    parallel::pieces(out, count, size, size, |scratch: &mut Vec<f32>, i, out| {
        let inputs = inputs.map(|x| &x[i * size..][..size]);
        if inner == 1 {
            return f(inputs, &mut out[..size]);
        }
        let scratch = parallel::room(scratch, (N + 1) * len);
        for j in 0..inner {
            let (result, lines) = scratch.split_at_mut(len);
            for (line, x) in lines.chunks_exact_mut(len).zip(inputs) {
                line.iter_mut().enumerate().for_each(|(l, y)| *y = x[l * inner + j]);
            }
            f(std::array::from_fn(|k| &lines[k * len..][..len]), result);
            result.iter().enumerate().for_each(|(l, y)| out[l * inner + j] = *y);
        }
    });
}
