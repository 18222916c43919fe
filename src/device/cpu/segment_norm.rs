//! Native twin of [`SegmentNorm`].

use super::lanes::widest;
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
        let (count, gradient) = (self.count, self.count * self.width);
        parallel::pieces(written[0].f32(), rows, 1, 1, |sum: &mut Vec<f64>, n, y| {
            let (ids, order) = (&ids[n * count..][..count], &order[n * count..][..count]);
            squared_norm(self, (ids, order), &x[n * gradient..][..gradient], sum, &mut y[0]);
        });
    }
}

widest! {
    /// Sets `out` to the squared norm of a record's gradient: `x` at the positions of each id, in order of id, added up in `sum`.
    squared_norm(kernel: &SegmentNorm, ids: (&[i32], &[i32]), x: &[f32], sum: &mut Vec<f64>, out: &mut f32) {
        let (ids, order) = ids;
        let SegmentNorm { count, width, table_rows } = *kernel;
        let mut squares = 0.0;
        // A position that is none of the record's, which only a damaged order has, is the last one.
        let at = |t: i32| usize::try_from(t).map_or(count - 1, |t| t.min(count - 1));
        let row = |t: i32| row_of_id(ids[at(t)], table_rows);
        let x = |t: i32| &x[at(t) * width..][..width];
        for run in order.chunk_by(|&t, &u| row(t) == row(u)) {
            if let [t] = run {
                squares += double::squares(x(*t));
                continue;
            }
            sum.clear();
            sum.resize(width, 0.0);
            for &t in run {
                sum.iter_mut().zip(x(t)).for_each(|(s, x)| *s += f64::from(*x));
            }
            squares += double::squares(sum);
        }
        *out = squares as f32;
    }
}
