//! Native twin of [`Nonfinite`].

use rayon::prelude::*;

use super::lanes::widest;
use super::maps::Map;
use super::{Buffers, Native, parallel};
use crate::lower::kernels::Nonfinite;

impl Native for Nonfinite {
    fn map(&self) -> Option<Map<'_>> {
        let words = [vec![1; self.buffers], vec![0]].concat();
        Some(Map::new(self.len, &words, |len| Nonfinite { len, ..self.clone() }))
    }

    fn run(&self, _rows: usize, Buffers { read, written, .. }: Buffers) {
        let flag = &mut written[0].i32()[self.at];
        for (k, x) in read.iter().enumerate() {
            let found = x.f32()[..self.len].par_chunks(parallel::GRAIN).any(|piece| {
                let mut found = 0;
                largest(piece, &mut found);
                found >= Nonfinite::INFINITY
            });
            *flag |= i32::from(found) << k;
        }
    }
}

widest! {
    /// The largest bits, signs aside.
    largest(piece: &[f32], found: &mut u32) {
        *found = piece.iter().fold(0, |largest, x| largest.max(x.to_bits() & !(1 << 31)));
    }
}
