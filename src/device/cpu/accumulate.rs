//! Native twin of [`Accumulate`].

use super::{Buffers, Native, parallel};
use crate::lower::kernels::Accumulate;

impl Native for Accumulate {
    fn run(&self, _rows: usize, Buffers { read, written, .. }: Buffers) {
        let x = read[0].f32();
        parallel::blocks(&mut written[0].f32()[..self.len], |start, y| {
            y.iter_mut().zip(&x[start..]).for_each(|(y, x)| *y += x);
        });
    }
}
