//! Probabilities of the discrete Gaussian to any number of bits, with proved rounding.
//!
//! A number is known as an interval of integers at a fixed scale: `[low, high]` at `bits` stands for all reals between
//! `low · 2^-bits` and `high · 2^-bits`. Every operation rounds the lower end down and the upper end up, so that the
//! true value never leaves the interval. Where a floor is asked for and both ends have the same one, it is that of the true value;
//! where they have not, everything is worked out again with twice the guard bits. That comes to an end unless the true value is itself a
//! multiple of `2^-bits`: no exponential of a rational number but e⁰ is, and a cumulative probability that were one would show as a table
//! that is never finished, not as a wrong one.

use num_bigint::BigUint;

/// Guard bits of a first attempt.
const GUARD: u64 = 64;

/// What a real number lies between, at a scale that goes with it.
#[derive(Clone)]
struct Interval {
    low: BigUint,
    high: BigUint,
}

impl Interval {
    fn exactly(value: BigUint) -> Interval {
        Interval { low: value.clone(), high: value }
    }

    /// The product of two numbers at scale `bits`.
    fn times(&self, other: &Interval, bits: u64) -> Interval {
        Interval { low: (&self.low * &other.low) >> bits, high: up(&self.high * &other.high, bits) }
    }

    fn plus(&mut self, other: &Interval) {
        self.low += &other.low;
        self.high += &other.high;
    }
}

fn one(bits: u64) -> BigUint {
    BigUint::from(1_u8) << bits
}

/// `⌈value · 2^-bits⌉`.
fn up(value: BigUint, bits: u64) -> BigUint {
    (value + (one(bits) - 1_u8)) >> bits
}

pub(super) fn quotient_up(value: BigUint, divisor: &BigUint) -> BigUint {
    (value + (divisor - 1_u8)) / divisor
}

/// `e^(-t)` for `t = numerator / denominator`, at scale `bits`.
///
/// `e^(-t) = (e^(-t/2^j))^(2^j)` with `t/2^j ≤ 1/4`, where the terms of the alternating Taylor series fall, so that what is left
/// out is less than the last term added. The series falls in t: its lower end is worked out at t rounded up.
/// A t above `bits` gives `[0, 2^-bits]`, as `e^(-bits) < 2^-bits`.
fn exp(numerator: &BigUint, denominator: &BigUint, bits: u64) -> Interval {
    let integer = numerator / denominator;
    if integer >= BigUint::from(bits) {
        return Interval { low: BigUint::ZERO, high: BigUint::from(1_u8) };
    }
    let halvings = integer.bits() + 2;
    let scale = bits + halvings + 16;
    let argument = numerator << (scale - halvings);
    let argument = Interval { low: &argument / denominator, high: quotient_up(argument, denominator) };
    let mut value = Interval { low: falling(&argument.high, scale).low, high: falling(&argument.low, scale).high };
    for _ in 0..halvings {
        value = value.times(&value, scale);
    }
    Interval { low: value.low >> (scale - bits), high: up(value.high, scale - bits) }
}

/// `e^(-t)` for a t in [0, 1/4] that is a multiple of `2^-bits`, by its series.
fn falling(argument: &BigUint, bits: u64) -> Interval {
    let mut term = Interval::exactly(one(bits));
    let mut added = term.clone();
    let mut taken = Interval::exactly(BigUint::ZERO);
    for order in 1_u32.. {
        term.low = ((&term.low * argument) >> bits) / order;
        term.high = quotient_up(up(&term.high * argument, bits), &BigUint::from(order));
        let side = if order % 2 == 0 { &mut added } else { &mut taken };
        side.plus(&term);
        if term.high <= BigUint::from(1_u8) {
            break;
        }
    }
    let rest = &term.high;
    let low = &added.low - (&taken.high + rest).min(added.low.clone());
    Interval { low, high: added.high + rest - taken.low }
}

/// `⌊e^(-t) · 2^bits⌋` for `t = numerator / denominator`.
pub(super) fn exp_floor(numerator: &BigUint, denominator: &BigUint, bits: u64) -> BigUint {
    if *numerator == BigUint::ZERO {
        return one(bits);
    }
    let mut guard = GUARD;
    loop {
        let value = exp(numerator, denominator, bits + guard);
        let (low, high) = (value.low >> guard, value.high >> guard);
        if low == high {
            return low;
        }
        guard *= 2;
    }
}

/// `⌊P[x ≤ i] · 2^bits⌋` for `i = 0, 1, …` up to the first that is `2^bits - 1`, as all after it are, where
/// `P[x = i]` over i ≥ 0 is proportional to `exp(-t i²)`, `t = numerator / denominator`.
///
/// With `q = e^(-t)` the weights `w_i = q^(i²)` follow from `w_(i+1) = w_i q^(2i+1)`. Where the ratio of
/// neighbours has fallen below 15/16 the weights left out sum to at most 16 times the first of them.
pub(super) fn cumulative(numerator: &BigUint, denominator: &BigUint, bits: u64) -> Vec<BigUint> {
    let mut guard = GUARD;
    loop {
        if let Some(floors) = cumulative_with(numerator, denominator, bits, guard) {
            return floors;
        }
        guard *= 2;
    }
}

/// [`cumulative`] with `guard` bits more, or `None` where they do not suffice.
fn cumulative_with(numerator: &BigUint, denominator: &BigUint, bits: u64, guard: u64) -> Option<Vec<BigUint>> {
    let scale = bits + guard;
    let mut ratio = exp(numerator, denominator, scale);
    let square = ratio.times(&ratio, scale);
    let (small, falls) = (one(guard / 2), one(scale) * 15_u8 >> 4);
    let mut weight = Interval::exactly(one(scale));
    let mut sum = Interval::exactly(BigUint::ZERO);
    let mut sums = Vec::new();
    while weight.high > small || ratio.high > falls {
        sum.plus(&weight);
        sums.push(sum.clone());
        weight = weight.times(&ratio, scale);
        ratio = ratio.times(&square, scale);
    }
    sum.high += weight.high << 4_u8;
    let all = one(bits) - 1_u8;
    let mut floors = Vec::with_capacity(sums.len());
    for part in sums {
        let low = (part.low << bits) / &sum.high;
        // No sum of a part reaches that of all.
        let high = ((part.high << bits) / &sum.low).min(all.clone());
        if low != high {
            return None;
        }
        let last = low == all;
        floors.push(low);
        if last {
            return Some(floors);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> BigUint {
        BigUint::parse_bytes(text.as_bytes(), 16).unwrap()
    }

    /// Digits by mpmath at 100 decimal places.
    #[test]
    fn exponentials_to_many_bits() {
        let floor = |n: u64, d: u64, bits| exp_floor(&n.into(), &d.into(), bits);
        assert_eq!(floor(1, 1, 128), hex("5e2d58d8b3bcdf1abadec7829054f90d"));
    }

    #[test]
    fn more_bits_begin_with_the_fewer() {
        for (n, d) in [(1_u64, 3_u64), (1, 1), (22, 7), (1, 1 << 40), (700, 9), (u64::MAX, 3)] {
            let long = exp_floor(&n.into(), &d.into(), 400);
            for bits in [1, 7, 64, 128, 399] {
                assert_eq!(exp_floor(&n.into(), &d.into(), bits), &long >> (400 - bits), "{n}/{d} {bits}");
            }
        }
    }

    #[test]
    fn cumulative_floors_to_more_bits_begin_with_the_fewer() {
        for (n, d) in [(1_u64, 2_u64), (1, 18), (1, 2 * 37 * 37), (1, 8192), (50, 49)] {
            let long = cumulative(&n.into(), &d.into(), 320);
            for bits in [4, 23, 128] {
                let short = cumulative(&n.into(), &d.into(), bits);
                assert!(short.iter().zip(&long).all(|(short, long)| *short == long >> (320 - bits)));
            }
        }
    }
}
