//! Native twin of [`Nonfinite`].

use rayon::prelude::*;

use super::{Native, parallel};
use crate::lower::kernels::Nonfinite;

impl Native for Nonfinite {
    fn run(&self, _rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]) {
        let flag = &mut parallel::integers_mut(written[0])[self.at];
        for (k, x) in read.iter().enumerate() {
            let found = x[..self.len].par_chunks(parallel::GRAIN).any(|piece| largest(piece) >= Nonfinite::INFINITY);
            *flag |= i32::from(found) << k;
        }
    }
}

/// The largest bits, signs aside.
fn largest(piece: &[f32]) -> u32 {
    piece.iter().fold(0, |largest, x| largest.max(x.to_bits() & !(1 << 31)))
}
