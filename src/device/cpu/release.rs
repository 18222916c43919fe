//! Native twin of [`Release`].

use rayon::prelude::*;

use super::carry::joined;
use super::lanes::widest;
use super::maps::Map;
use super::parallel::GRAIN;
use super::{Buffers, Native};
use crate::lower::hyper;
use crate::lower::kernels::Release;

impl Native for Release {
    fn map(&self) -> Option<Map<'_>> {
        Some(Map::new(self.len, &[2, 0, 0, 2, 1], |len| Release { len, ..self.clone() }))
    }

    fn run(&self, _rows: usize, Buffers { read, written, .. }: Buffers) {
        let [sum, y] = written else { return };
        let (noise, _) = read[0].i32().as_chunks::<2>();
        let (inverse, unit) = (read[1].f32()[hyper::INVERSE_BATCH], read[2].f32()[self.group]);
        let (sum, _) = sum.i32().as_chunks_mut::<2>();
        let pieces = sum[..self.len].par_chunks_mut(GRAIN).zip(noise[..self.len].par_chunks(GRAIN));
        pieces.zip(y.f32()[..self.len].par_chunks_mut(GRAIN)).for_each(|((sum, noise), y)| {
            released(sum, noise, [unit, inverse], y);
            sum.fill([0; 2]);
        });
    }
}

widest! {
    /// Sets `y` to the sums of two integers as floats, times both numbers. Sums are below 2⁵¹ in magnitude: 2²⁸ records and noise
    /// of a standard deviation of 2⁴⁰ together are.
    released(sum: &[[i32; 2]], noise: &[[i32; 2]], by: [f32; 2], y: &mut [f32]) {
        // 1.5 · 2⁵² plus an integer has that in its last bits.
        const ROUNDER: f64 = 6_755_399_441_055_744.0;
        for ((sum, noise), y) in sum.iter().zip(noise).zip(y) {
            let noisy = joined(*sum).wrapping_add(joined(*noise));
            let exact = f64::from_bits(noisy.wrapping_add(ROUNDER.to_bits() as i64) as u64) - ROUNDER;
            *y = exact as f32 * by[0] * by[1];
        }
    }
}
