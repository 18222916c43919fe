//! Native twin of [`Fold`].

use super::{Native, parallel};
use crate::lower::kernels::Fold;

impl Native for Fold {
    fn run(&self, _rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]) {
        let [unit, sum] = written else { return };
        let factor = read[0][0];
        parallel::blocks2(&mut unit[..self.len], &mut sum[..self.len], |_, unit, sum| {
            if factor != 0.0 {
                unit.iter_mut().zip(sum.iter()).for_each(|(unit, sum)| *unit += factor * sum);
            }
            sum.fill(0.0);
        });
    }
}
