//! Native twin of [`SegmentCross`].

use super::matmul::{Into, Matrix, MatrixMut, matmul};
use super::operand::Operand;
use super::{Buffers, Native, parallel};
use crate::lower::kernels::{SegmentCross, row_of_id};
use crate::lower::target::Rounding;

impl Native for SegmentCross {
    fn rounding(&self) -> Rounding {
        Rounding { element: self.width as f64 + 1.0, ..Rounding::sum(self.count + parallel::roundings(self.steps)) }
    }

    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let (ids, x) = (read[0].i32(), read[1].f32());
        let SegmentCross { count, width, table_rows, steps, .. } = *self;
        let b = Operand::new(self.b, read[2].f32(), 1, table_rows, steps);
        let a = Operand::new(self.a, read[3].f32(), 1, width, steps);
        parallel::pieces(written[0].f32(), rows, 1, 1, |[s, t, products]: &mut [Vec<f32>; 3], n, y| {
            let x = Matrix { data: &x[n * count * width..], rows: count, cols: width, row: width, col: 1 };
            let (a, b) = (a.matrix(n, 0, s), b.matrix(n, 0, t));
            products.resize(count * steps, 0.0);
            matmul(MatrixMut::contiguous(products, count, steps), Into::Set, 1.0, x, a);
            let row = |t: usize| Some(row_of_id(ids[n * count + t], table_rows)).filter(|&row| row < table_rows);
            let term = |t: usize| row(t).map(|row| parallel::sum(steps, |u| b.at(row, u) * products[t * steps + u]));
            y[0] = 2.0 * (0..count).filter_map(term).sum::<f32>();
        });
    }
}
