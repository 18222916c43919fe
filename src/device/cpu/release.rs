//! Native twin of [`Release`].

use rayon::prelude::*;

use super::carry::joined;
use super::parallel::GRAIN;
use super::{Buffers, Native};
use crate::lower::hyper;
use crate::lower::kernels::Release;

impl Native for Release {
    fn run(&self, _rows: usize, Buffers { read, written, .. }: Buffers) {
        let [sum, y] = written else { return };
        let (noise, _) = read[0].i32().as_chunks::<2>();
        let (inverse, unit) = (read[1].f32()[hyper::INVERSE_BATCH], read[2].f32()[self.group]);
        let (sum, _) = sum.i32().as_chunks_mut::<2>();
        let pieces = sum[..self.len].par_chunks_mut(GRAIN).zip(noise[..self.len].par_chunks(GRAIN));
        pieces.zip(y.f32()[..self.len].par_chunks_mut(GRAIN)).for_each(|((sum, noise), y)| {
            for ((sum, noise), y) in sum.iter_mut().zip(noise).zip(y) {
                let noisy = joined(*sum).wrapping_add(joined(*noise));
                *y = noisy as f32 * unit * inverse;
                *sum = [0; 2];
            }
        });
    }
}
