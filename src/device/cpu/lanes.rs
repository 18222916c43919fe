//! Loops over slices as wide as the processor's registers. The result is the same on every processor: no two operations are
//! made one, and the order of a sum does not depend on the width.

use super::parallel::{self, BLOCK};

/// Declares a function that is compiled for the widest registers that x86-64 processors have, and for all.
macro_rules! widest {
    ($(#[$doc:meta])* $vis:vis $name:ident($($arg:ident: $ty:ty),*) $body:block) => {
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) {
            #[inline(always)]
            fn portably($($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                fn with_avx512($($arg: $ty),*) {
                    portably($($arg),*);
                }
                #[target_feature(enable = "avx2")]
                fn with_avx2($($arg: $ty),*) {
                    portably($($arg),*);
                }
                if is_x86_feature_detected!("avx512f") {
                    // SAFETY: the processor has just said that it has AVX-512F.
                    return unsafe { with_avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has just said that it has AVX2.
                    return unsafe { with_avx2($($arg),*) };
                }
            }
            portably($($arg),*);
        }
    };
}
pub(super) use widest;

widest! {
    /// Adds `weights[0] · terms[0]`, then `weights[1] · terms[1]` and so on to each element of `sums`.
    pub add_weighted(sums: &mut [f32], terms: [&[f32]; 4], weights: [f32; 4]) {
        let [a, b, c, d] = terms.map(|terms| &terms[..sums.len()]);
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = *sum + weights[0] * a[i] + weights[1] * b[i] + weights[2] * c[i] + weights[3] * d[i];
        }
    }
}

widest! {
    /// Adds `weight · terms` to `sums`, element by element.
    pub add_scaled(sums: &mut [f32], terms: &[f32], weight: f32) {
        sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += weight * term);
    }
}

/// Copies `from` to `to`, which is as long. Short rows of usual lengths are moved in registers: to call for a routine that knows
/// all lengths takes longer than to copy them.
#[inline(always)]
pub fn copy<T: Copy>(to: &mut [T], from: &[T]) {
    fn whole<T: Copy, const LEN: usize>(to: &mut [T], from: &[T]) {
        if let (Some(to), Some(from)) = (to.first_chunk_mut::<LEN>(), from.first_chunk::<LEN>()) {
            *to = *from;
        }
    }
    match to.len() {
        1 => whole::<T, 1>(to, from),
        2 => whole::<T, 2>(to, from),
        4 => whole::<T, 4>(to, from),
        8 => whole::<T, 8>(to, from),
        16 => whole::<T, 16>(to, from),
        32 => whole::<T, 32>(to, from),
        _ => to.copy_from_slice(from),
    }
}

/// Partial sums of a block of [`BLOCK`] terms.
const LANES: usize = 64;
// No chain of additions is longer than that of [`parallel::sum`].
const _: () = assert!(BLOCK / LANES + LANES.ilog2() as usize <= BLOCK / parallel::LANES);

/// Roundings of a [`sum_of`] over `len` terms: a lane's, the lanes', and one of the blocks' sum.
pub fn roundings(len: usize) -> usize {
    if len < LANES {
        return parallel::roundings(len);
    }
    len.min(BLOCK).div_ceil(LANES) + LANES.ilog2() as usize + 1
}

/// Sum of `f(x)`, in a fixed order: in lanes, by blocks.
#[inline(always)]
pub fn sum_of(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    if x.len() < LANES {
        return parallel::sum(x.len(), |i| f(x[i]));
    }
    if x.len() <= BLOCK {
        return sum_of_block(x, &f);
    }
    let mut sum = 0.0;
    for terms in x.chunks(BLOCK) {
        sum += f64::from(sum_of_block(terms, &f));
    }
    sum as f32
}

/// That of a block. A part of its callers, whatever they think: on its own it would not have their registers.
#[inline(always)]
fn sum_of_block(block: &[f32], f: &impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (whole, rest) = block.as_chunks::<LANES>();
    for terms in whole {
        lanes.iter_mut().zip(terms).for_each(|(lane, &x)| *lane += f(x));
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, &x)| *lane += f(x));
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        let (low, high) = lanes.split_at_mut(width);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
    }
    lanes[0]
}

/// The largest element, whatever is NaN left out.
#[inline(always)]
pub fn largest(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let larger = |(lane, &x): (&mut f32, &f32)| *lane = if x > *lane { x } else { *lane };
    let (whole, rest) = x.as_chunks::<LANES>();
    for terms in whole {
        lanes.iter_mut().zip(terms).for_each(larger);
    }
    lanes.iter_mut().zip(rest).for_each(larger);
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        let (low, high) = lanes.split_at_mut(width);
        low.iter_mut().zip(high).for_each(|(low, high)| larger((low, high)));
    }
    lanes[0]
}

widest! {
    /// Sets `sum` to that of the squares of `x`. No chain of additions is longer than that of [`parallel::sum`].
    pub squares(x: &[f32], sum: &mut f32) {
        *sum = sum_of(x, |x| x * x);
    }
}

widest! {
    /// Sets `sum` to that of `x`, likewise.
    pub sum(x: &[f32], sum: &mut f32) {
        *sum = sum_of(x, |x| x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_added_in_order() {
        let term = |k: usize| -> Vec<f32> { (0..37).map(|i| ((i * 7 + k * 13) % 29) as f32 / 7.0 - 2.0).collect() };
        let terms: [Vec<f32>; 4] = std::array::from_fn(term);
        let weights = [0.3, -1e-7, 2e7, 1.5];
        let mut sums = term(9);
        let mut expected = sums.clone();
        add_weighted(&mut sums, [&terms[0], &terms[1], &terms[2], &terms[3]], weights);
        for (weight, terms) in weights.iter().zip(&terms) {
            expected.iter_mut().zip(terms).for_each(|(sum, x)| *sum += weight * x);
        }
        let bits = |sums: Vec<f32>| sums.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(sums), bits(expected));
    }

    #[test]
    fn sums_round_no_more_often_than_they_may() {
        for len in [0, 1, 15, 16, 63, 64, 100, 4096, 4097, 10_000] {
            let x: Vec<f32> = (0..len).map(|i| (i * 37 % 101) as f32 / 7.0 - 6.0).collect();
            let exact = |f: fn(f64) -> f64| x.iter().map(|&x| f(x.into())).sum::<f64>();
            let within = |found: f32, exact: f64, terms: f64| {
                let roundings = (super::roundings(len) + 1) as f64;
                assert!((f64::from(found) - exact).abs() <= roundings * terms / f64::from(1 << 24), "{len}: {found}");
            };
            let (mut of_squares, mut of_terms) = (f32::NAN, f32::NAN);
            squares(&x, &mut of_squares);
            sum(&x, &mut of_terms);
            within(of_squares, exact(|x| x * x), exact(|x| x * x));
            within(of_terms, exact(|x| x), exact(f64::abs));
        }
    }
}
