//! Floats of 16 bits, by arithmetic.

use crate::lower::kernels::{Half, Packing};

/// Digits after the first, the exponent of the smallest number that has all of them, and the largest number.
fn form(half: Half) -> (i32, i32, f64) {
    match half {
        Half::F16 => (10, -14, 65_504.0),
        Half::Bf16 => (7, -126, 2.0_f64.powi(127) * (2.0 - 2.0_f64.powi(-7))),
    }
}

/// The bits of the nearest number.
fn bits(half: Half, number: f64) -> u32 {
    let (digits, least, most) = form(half);
    let infinite = (most.log2().floor() as i32 + 2 - least) as u32;
    if number.is_nan() {
        return infinite << digits | 1 << (digits - 1);
    }
    let sign = if number.is_sign_negative() { 0x8000 } else { 0 };
    let size = number.abs();
    if size.is_infinite() {
        return sign | infinite << digits;
    }
    let exponent = if size == 0.0 { least } else { (size.log2().floor() as i32).max(least) };
    let rounded = (size / 2.0_f64.powi(exponent - digits)).round_ties_even() * 2.0_f64.powi(exponent - digits);
    if rounded > most {
        return sign | infinite << digits;
    }
    let exponent = if rounded == 0.0 { least } else { (rounded.log2().floor() as i32).max(least) };
    // A number without a first digit has the exponent 0, and the others count from 1.
    let whole = (rounded / 2.0_f64.powi(exponent - digits)) as u32;
    sign | (((exponent - least) as u32) << digits) + whole
}

/// The number of some bits.
fn number(half: Half, bits: u32) -> f64 {
    let (digits, least, most) = form(half);
    let (sign, size) = (if bits & 0x8000 == 0 { 1.0 } else { -1.0 }, bits & 0x7fff);
    let (exponent, part) = ((size >> digits) as i32, f64::from(size & ((1 << digits) - 1)));
    let first = 2.0_f64.powi(digits);
    sign * match exponent {
        0 => part * 2.0_f64.powi(least - digits),
        _ if exponent == most.log2().floor() as i32 + 1 - least + 1 => match part {
            0.0 => f64::INFINITY,
            _ => f64::NAN,
        },
        _ => (first + part) * 2.0_f64.powi(exponent - 1 + least - digits),
    }
}

pub fn narrow(packing: &Packing, rows: usize, x: &[f64], y: &mut [f64]) {
    let (len, words) = (packing.len, packing.words());
    for (n, y) in y.chunks_exact_mut(words).enumerate().take(rows) {
        let half = |i: usize| if i < len { bits(packing.half, x[n * len + i] * f64::from(packing.scale())) } else { 0 };
        y.iter_mut().enumerate().for_each(|(j, y)| *y = f64::from((half(2 * j) | half(2 * j + 1) << 16) as i32));
    }
}

pub fn widen(packing: &Packing, rows: usize, x: &[f64], y: &mut [f64]) {
    let (len, words) = (packing.len, packing.words());
    for n in 0..rows {
        for i in 0..len {
            let word = x[n * words + i / 2] as i32 as u32;
            y[n * len + i] = number(packing.half, word >> (16 * (i % 2)) & 0xffff) / f64::from(packing.scale());
        }
    }
}
