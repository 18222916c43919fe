//! Native twin of [`OuterNorm`].

use super::matmul::Matrix;
use super::operand::Operand;
use super::{Native, parallel};
use crate::lower::kernels::OuterNorm;

impl Native for OuterNorm {
    fn run(&self, rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]) {
        let a = Operand::new(self.a, read[0], self.groups, self.rows, 1);
        let b = Operand::new(self.b, read[1], self.groups, self.cols, 1);
        parallel::pieces(written[0], rows, 1, 1, |scratch: &mut Vec<f32>, n, y| {
            y[0] = (0..self.groups).map(|g| square(a.matrix(n, g, scratch)) * square(b.matrix(n, g, scratch))).sum();
        });
    }
}

/// The square norm of a matrix of one column.
fn square(m: Matrix) -> f32 {
    if m.row == 1 {
        let x = &m.data[..m.rows];
        parallel::sum(x.len(), |i| x[i] * x[i])
    } else {
        parallel::sum(m.rows, |i| m.at(i, 0) * m.at(i, 0))
    }
}
