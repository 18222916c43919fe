//! Native twin of [`Carry`].

use rayon::prelude::*;

use super::lanes::widest;
use super::parallel::GRAIN;
use super::{Buffers, Native};
use crate::lower::kernels::Carry;

/// The integer of 64 bits whose words these are.
#[inline(always)]
pub fn joined(words: [i32; 2]) -> i64 {
    let [low, high] = words;
    match cfg!(target_endian = "little") {
        true => bytemuck::cast(words),
        false => i64::from(high) << 32 | i64::from(low as u32),
    }
}

/// The words of an integer of 64 bits, the low one first.
#[inline(always)]
pub fn split(value: i64) -> [i32; 2] {
    match cfg!(target_endian = "little") {
        true => bytemuck::cast(value),
        false => [value as i32, (value >> 32) as i32],
    }
}

impl Native for Carry {
    fn run(&self, _rows: usize, Buffers { read, written, .. }: Buffers) {
        let x = &read[0].i32()[..self.len];
        let (y, _) = written[0].i32().as_chunks_mut::<2>();
        y[..self.len].par_chunks_mut(GRAIN).zip(x.par_chunks(GRAIN)).for_each(|(y, x)| add(y, x));
    }
}

widest! {
    /// Adds integers to those of 64 bits.
    add(y: &mut [[i32; 2]], x: &[i32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = split(joined(*y).wrapping_add(i64::from(*x))));
    }
}
