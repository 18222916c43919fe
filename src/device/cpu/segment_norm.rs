//! Native twin of [`SegmentNorm`].

use super::{Buffers, Native, double, parallel};
use crate::lower::kernels::{SegmentNorm, row_of_id};
use crate::lower::target::Rounding;

impl Native for SegmentNorm {
    fn block(&self) -> Option<usize> {
        Some(1)
    }

    fn rounding(&self) -> Rounding {
        // In `f64` all the way, and then a number.
        Rounding { element: double::roundings(self.count), ..Rounding::sum(1) }
    }

    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let (ids, order, x) = (read[0].i32(), read[1].i32(), read[2].f32());
        let SegmentNorm { count, width, table_rows } = *self;
        parallel::pieces(written[0].f32(), rows, 1, 1, |sum: &mut Vec<f64>, n, y| {
            let (ids, order) = (&ids[n * count..][..count], &order[n * count..][..count]);
            let mut squares = 0.0;
            // A position that is none of the record's, which only a damaged order has, is the last one.
            let at = |t: i32| usize::try_from(t).map_or(count - 1, |t| t.min(count - 1));
            let row = |t: i32| row_of_id(ids[at(t)], table_rows);
            for run in order.chunk_by(|&t, &u| row(t) == row(u)) {
                sum.clear();
                sum.resize(width, 0.0);
                for &t in run {
                    sum.iter_mut().zip(&x[(n * count + at(t)) * width..]).for_each(|(s, x)| *s += f64::from(*x));
                }
                squares += double::squares(sum);
            }
            y[0] = squares as f32;
        });
    }
}
