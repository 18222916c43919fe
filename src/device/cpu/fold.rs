//! Native twin of [`Fold`].

use rayon::prelude::*;

use super::adding::{holds_none, leave_out, rounded};
use super::carry::{joined, split};
use super::{Buffers, Native, parallel};
use crate::lower::kernels::Fold;

impl Native for Fold {
    fn run(&self, _rows: usize, Buffers { read, written, .. }: Buffers) {
        let [unit, sum] = written else { return };
        let factor = read[0].f32()[0];
        if self.grid {
            let (unit, _) = unit.i32().as_chunks_mut::<2>();
            let pieces = unit[..self.len].par_chunks_mut(parallel::GRAIN);
            return pieces.zip(sum.f32()[..self.len].par_chunks_mut(parallel::GRAIN)).for_each(|(unit, sum)| {
                if !holds_none(factor) {
                    leave_out(sum, factor);
                    let add = |unit: &mut [i32; 2], sum: &f32| {
                        *unit = split(joined(*unit) + i64::from(rounded(factor * sum)))
                    };
                    unit.iter_mut().zip(sum.iter()).for_each(|(unit, sum)| add(unit, sum));
                }
                sum.fill(0.0);
            });
        }
        parallel::blocks2(&mut unit.f32()[..self.len], &mut sum.f32()[..self.len], |_, unit, sum| {
            if !holds_none(factor) {
                leave_out(sum, factor);
                unit.iter_mut().zip(sum.iter()).for_each(|(unit, sum)| *unit += factor * sum);
            }
            sum.fill(0.0);
        });
    }
}
