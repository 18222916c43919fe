//! Native twin of [`OuterNorm`].

use super::matmul::Matrix;
use super::operand::Operand;
use super::{Buffers, Native, lanes, parallel};
use crate::lower::kernels::{OuterNorm, View};
use crate::lower::target::Rounding;

impl Native for OuterNorm {
    fn rounding(&self) -> Rounding {
        let side = |view: View, items: usize| {
            let (row, col) = Operand::strides(view, items, self.steps);
            let (lines, len) = if by_columns(row, col, self.steps) { (self.steps, items) } else { (items, self.steps) };
            let stride = if by_columns(row, col, self.steps) { row } else { col };
            let contiguous = len == 1 || stride == 1;
            let line = if contiguous { lanes::roundings(len) } else { parallel::roundings(len) };
            // The lines in `f64`, from which a number is made where there are several.
            line + usize::from(lines > 1) + 1
        };
        Rounding::sum(side(self.a, self.rows) + side(self.b, self.cols) + 3)
    }

    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let a = Operand::new(self.a, read[0].f32(), self.groups, self.rows, self.steps);
        let b = Operand::new(self.b, read[1].f32(), self.groups, self.cols, self.steps);
        parallel::pieces(written[0].f32(), rows, 1, 1, |scratch: &mut Vec<f32>, n, y| {
            let mut product = |g: usize| f64::from(square(a.matrix(n, g, scratch)) * square(b.matrix(n, g, scratch)));
            y[0] = (0..self.groups).map(&mut product).sum::<f64>() as f32;
        });
    }
}

/// Whether columns are the lines that are summed: whichever way neighbours are nearer.
fn by_columns(row: usize, col: usize, cols: usize) -> bool {
    row < col || cols == 1
}

/// The square norm of a matrix, and what may have underflowed.
fn square(m: Matrix) -> f32 {
    let m = if by_columns(m.row, m.col, m.cols) { m.transposed() } else { m };
    let line = |i: usize| {
        let x = &m.data[i * m.row..];
        if m.col == 1 {
            let mut sum = 0.0;
            lanes::squares(&x[..m.cols], &mut sum);
            sum
        } else {
            parallel::sum(m.cols, |j| x[j * m.col] * x[j * m.col])
        }
    };
    (0..m.rows).map(|i| f64::from(line(i))).sum::<f64>() as f32 + (m.rows * m.cols) as f32 * OuterNorm::UNDERFLOW
}
