//! Native twin of [`SegmentNorm`].

use super::{Native, parallel};
use crate::lower::kernels::{SegmentNorm, row_of_id};

impl Native for SegmentNorm {
    fn run(&self, rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]) {
        let (ids, order, x) = (parallel::integers(read[0]), parallel::integers(read[1]), read[2]);
        let SegmentNorm { count, width, table_rows } = *self;
        parallel::pieces(written[0], rows, 1, 1, |sum: &mut Vec<f32>, n, y| {
            let (ids, order) = (&ids[n * count..][..count], &order[n * count..][..count]);
            y[0] = 0.0;
            let row = |t: i32| row_of_id(ids[t as usize], table_rows);
            for run in order.chunk_by(|&t, &u| row(t) == row(u)) {
                sum.clear();
                sum.resize(width, 0.0);
                for &t in run {
                    sum.iter_mut().zip(&x[(n * count + t as usize) * width..]).for_each(|(s, x)| *s += x);
                }
                y[0] += parallel::sum(width, |j| sum[j] * sum[j]);
            }
        });
    }
}
