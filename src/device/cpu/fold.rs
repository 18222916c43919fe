//! Native twin of [`Fold`].

use super::{Buffers, Native, parallel};
use crate::lower::kernels::Fold;

impl Native for Fold {
    fn run(&self, _rows: usize, Buffers { read, written, .. }: Buffers) {
        let [unit, sum] = written else { return };
        let factor = read[0].f32()[0];
        parallel::blocks2(&mut unit.f32()[..self.len], &mut sum.f32()[..self.len], |_, unit, sum| {
            if factor != 0.0 {
                unit.iter_mut().zip(sum.iter()).for_each(|(unit, sum)| *unit += factor * sum);
            }
            sum.fill(0.0);
        });
    }
}
