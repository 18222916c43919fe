//! Native twin of [`Accumulate`].

use super::{Native, parallel};
use crate::lower::kernels::Accumulate;

impl Native for Accumulate {
    fn run(&self, _rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]) {
        let x = read[0];
        parallel::blocks(&mut written[0][..self.len], |start, y| {
            y.iter_mut().zip(&x[start..]).for_each(|(y, x)| *y += x);
        });
    }
}
