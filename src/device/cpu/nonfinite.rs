//! Native twin of [`Nonfinite`].

use rayon::prelude::*;

use super::{Buffers, Native, parallel};
use crate::lower::kernels::Nonfinite;

impl Native for Nonfinite {
    fn run(&self, _rows: usize, Buffers { read, written, .. }: Buffers) {
        let flag = &mut written[0].i32()[self.at];
        for (k, x) in read.iter().enumerate() {
            let found =
                x.f32()[..self.len].par_chunks(parallel::GRAIN).any(|piece| largest(piece) >= Nonfinite::INFINITY);
            *flag |= i32::from(found) << k;
        }
    }
}

/// The largest bits, signs aside.
fn largest(piece: &[f32]) -> u32 {
    piece.iter().fold(0, |largest, x| largest.max(x.to_bits() & !(1 << 31)))
}
