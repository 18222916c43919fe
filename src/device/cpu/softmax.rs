//! Native twins of [`Softmax`] and [`SoftmaxVjp`].

use super::lanes::{largest, sum_of, widest};
use super::{Buffers, Native, parallel};
use crate::lower::kernels::{Softmax, SoftmaxRows, SoftmaxVjp};
use crate::lower::math::exp;

impl Native for Softmax {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        each_line(&self.0, rows, [read[0].f32()], written[0].f32(), |[x], y| softmax(x, self.0.log, y));
    }
}

impl Native for SoftmaxVjp {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let inputs = [read[0].f32(), read[1].f32()];
        each_line(&self.0, rows, inputs, written[0].f32(), |[y, dy], dx| cotangent(y, dy, self.0.log, dx));
    }
}

widest! {
    /// Sets `y` to the softmax of a line, or to its logarithm.
    softmax(x: &[f32], log: bool, y: &mut [f32]) {
        let top = largest(x);
        y.iter_mut().zip(x).for_each(|(y, x)| *y = exp(x - top));
        let sum = sum_of(y, |y| y);
        if log {
            let log = sum.ln();
            y.iter_mut().zip(x).for_each(|(y, x)| *y = x - top - log);
        } else {
            y.iter_mut().for_each(|y| *y /= sum);
        }
    }
}

widest! {
    /// Sets `dx` to the cotangent of a line whose softmax, or its logarithm, is `y`.
    cotangent(y: &[f32], dy: &[f32], log: bool, dx: &mut [f32]) {
        if log {
            let sum = sum_of(dy, |dy| dy);
            dx.iter_mut().zip(y).zip(dy).for_each(|((dx, y), dy)| *dx = dy - exp(*y) * sum);
        } else {
            dx.iter_mut().zip(y).zip(dy).for_each(|((dx, y), dy)| *dx = y * dy);
            let dot = sum_of(dx, |product| product);
            dx.iter_mut().zip(y).zip(dy).for_each(|((dx, y), dy)| *dx = y * (dy - dot));
        }
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
