//! Native twins of [`Narrow`] and [`Widen`].

use super::lanes::widest;
use super::{Buffers, Native, parallel};
use crate::lower::kernels::{Half, Narrow, Packing, Widen};

impl Native for Narrow {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let Narrow(packing) = *self;
        let (len, words) = (packing.len, packing.words());
        let x = read[0].f32();
        parallel::pieces(written[0].i32(), rows, words, words, |_: &mut (), n, y| {
            narrow(packing, &x[n * len..][..len], halves_mut(&mut y[..words]));
        });
    }
}

impl Native for Widen {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let Widen(packing) = *self;
        let (len, words) = (packing.len, packing.words());
        let x = read[0].i32();
        parallel::pieces(written[0].f32(), rows, len, len, |_: &mut (), n, y| {
            widen(packing, &x[n * words..][..words], &mut y[..len]);
        });
    }
}

/// Words as their halves, the lower ones first, as they lie in memory.
fn halves_mut(words: &mut [i32]) -> &mut [u16] {
    const { assert!(cfg!(target_endian = "little")) };
    bytemuck::cast_slice_mut(words)
}

/// Sets the halves `y`, of which there may be one more than numbers.
fn narrow(packing: Packing, x: &[f32], y: &mut [u16]) {
    let (y, rest) = y.split_at_mut(x.len());
    rest.fill(0);
    match packing.half {
        Half::F16 => to_f16(x, y, packing.scale()),
        Half::Bf16 => to_bf16(x, y, packing.scale()),
    }
}

/// Sets the numbers that words keep.
pub(super) fn widen(packing: Packing, x: &[i32], y: &mut [f32]) {
    let x: &[u16] = bytemuck::cast_slice(x);
    match packing.half {
        Half::F16 => from_f16(x, y, packing.scale().recip()),
        Half::Bf16 => from_bf16(x, y, packing.scale().recip()),
    }
}

widest! {
    to_f16(x: &[f32], y: &mut [u16], scale: f32) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = f16(x * scale));
    }
}

widest! {
    to_bf16(x: &[f32], y: &mut [u16], scale: f32) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = bf16(x * scale));
    }
}

widest! {
    from_f16(x: &[u16], y: &mut [f32], scale: f32) {
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = of_f16(x) * scale);
    }
}

widest! {
    from_bf16(x: &[u16], y: &mut [f32], scale: f32) {
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = f32::from_bits(u32::from(x) << 16) * scale);
    }
}

/// The nearest binary16, in integers.
#[inline(always)]
fn f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let size = bits & 0x7fff_ffff;
    let normal = size.wrapping_sub(0x3800_0000).wrapping_add(0xfff + (size >> 13 & 1)) >> 13;
    // Below 2⁻¹⁴, in units of 2⁻²⁴.
    let shift = 126_u32.saturating_sub(size >> 23).clamp(1, 25);
    let digits = size & 0x7f_ffff | 0x80_0000;
    let small = (digits + ((1 << (shift - 1)) - 1) + (digits >> shift & 1)) >> shift;
    let number = if size < 0x3880_0000 { small } else { normal };
    let large = if size > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
    let half = if size >= 0x477f_f000 { large } else { number };
    let sign = if size > 0x7f80_0000 { 0 } else { bits >> 16 & 0x8000 };
    (sign | half) as u16
}

/// The number of a binary16.
#[inline(always)]
fn of_f16(half: u16) -> f32 {
    let bits = u32::from(half);
    let size = bits & 0x7fff;
    let normal = (size << 13) + if size >= 0x7c00 { 0x7000_0000 } else { 0x3800_0000 };
    let small = (size as f32 * 2.0_f32.powi(-24)).to_bits();
    let number = if size < 0x400 { small } else { normal };
    f32::from_bits((bits & 0x8000) << 16 | number)
}

/// The nearest of the floats whose lower half is 0.
#[inline(always)]
fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    (if x.is_nan() { 0x7fc0 } else { rounded }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_read_and_rounded_to_itself() {
        for bits in 0..=u16::MAX {
            let number = of_f16(bits);
            let exact = {
                let (size, sign) = (bits & 0x7fff, if bits >> 15 == 1 { -1.0 } else { 1.0 });
                match (i32::from(size >> 10), f64::from(size & 0x3ff)) {
                    (31, 0.0) => sign * f64::INFINITY,
                    (31, _) => f64::NAN,
                    (0, digits) => sign * digits * 2.0_f64.powi(-24),
                    (exponent, digits) => sign * (1024.0 + digits) * 2.0_f64.powi(exponent - 25),
                }
            };
            assert!(f64::from(number) == exact || number.is_nan() && exact.is_nan(), "{bits:x}");
            assert_eq!(f16(number), if number.is_nan() { 0x7e00 } else { bits });
            let brain = f32::from_bits(u32::from(bits) << 16);
            assert_eq!(bf16(brain), if brain.is_nan() { 0x7fc0 } else { bits });
        }
    }

    #[test]
    fn numbers_between_go_to_the_nearest_even() {
        for bits in 0..0x7c00_u16 {
            let (low, high) = (f64::from(of_f16(bits)), f64::from(of_f16(bits + 1)));
            let high = if high.is_finite() { high } else { 65_536.0 };
            let middle = ((low + high) / 2.0) as f32;
            let even = if bits % 2 == 0 { bits } else { bits + 1 };
            assert_eq!([f16(middle), f16(-middle)], [even, even | 0x8000], "{middle}");
            assert_eq!([f16(middle.next_down()), f16(middle.next_up())], [bits, bits + 1], "{middle}");
        }
        for bits in 0..0x7f7f_u16 {
            let middle = f32::from_bits(u32::from(bits) << 16 | 0x8000);
            let even = if bits % 2 == 0 { bits } else { bits + 1 };
            assert_eq!([bf16(middle), bf16(middle.next_down()), bf16(middle.next_up())], [even, bits, bits + 1]);
        }
        assert_eq!([f16(65_504.0), f16(65_519.996), f16(65_520.0), f16(1e30)], [0x7bff, 0x7bff, 0x7c00, 0x7c00]);
        assert_eq!([bf16(f32::MAX), bf16(-f32::INFINITY)], [0x7f80, 0xff80]);
    }
}
