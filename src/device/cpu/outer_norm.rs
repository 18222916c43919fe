//! Native twin of [`OuterNorm`].

use super::matmul::Matrix;
use super::operand::Operand;
use super::{Native, parallel};
use crate::lower::kernels::OuterNorm;

impl Native for OuterNorm {
    fn run(&self, rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]) {
        let a = Operand::new(self.a, read[0], self.groups, self.rows, self.steps);
        let b = Operand::new(self.b, read[1], self.groups, self.cols, self.steps);
        parallel::pieces(written[0], rows, 1, 1, |scratch: &mut Vec<f32>, n, y| {
            y[0] = (0..self.groups).map(|g| square(a.matrix(n, g, scratch)) * square(b.matrix(n, g, scratch))).sum();
        });
    }
}

/// The square norm of a matrix, and what may have underflowed.
fn square(m: Matrix) -> f32 {
    // Lines are whichever way neighbours are nearer.
    let m = if m.row < m.col || m.cols == 1 { m.transposed() } else { m };
    let line = |i: usize| {
        let x = &m.data[i * m.row..];
        if m.col == 1 {
            let x = &x[..m.cols];
            parallel::sum(x.len(), |j| x[j] * x[j])
        } else {
            parallel::sum(m.cols, |j| x[j * m.col] * x[j * m.col])
        }
    };
    (0..m.rows).map(line).sum::<f32>() + (m.rows * m.cols) as f32 * OuterNorm::UNDERFLOW
}
