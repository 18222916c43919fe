//! Loops over slices as wide as the processor's registers. The result is the same on every processor: no two operations are
//! made one, and the order of a sum does not depend on the width.

use super::parallel;

/// Declares a function that is compiled for the widest registers that x86-64 processors have, and for all.
macro_rules! widest {
    ($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) $body:block) => {
        $(#[$doc])*
        pub fn $name($($arg: $ty),*) {
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

widest! {
    /// Adds `weights[0] · terms[0]`, then `weights[1] · terms[1]` and so on to each element of `sums`.
    add_weighted(sums: &mut [f32], terms: [&[f32]; 4], weights: [f32; 4]) {
        let [a, b, c, d] = terms.map(|terms| &terms[..sums.len()]);
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = *sum + weights[0] * a[i] + weights[1] * b[i] + weights[2] * c[i] + weights[3] * d[i];
        }
    }
}

widest! {
    /// Sets `sum` to that of the squares of `x`, added up as by [`parallel::sum`].
    squares(x: &[f32], sum: &mut f32) {
        *sum = parallel::sum(x.len(), |i| x[i] * x[i]);
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
    fn squares_have_the_bits_of_their_sum() {
        for len in [0, 1, 15, 16, 100, 4096, 10_000] {
            let x: Vec<f32> = (0..len).map(|i| (i * 37 % 101) as f32 / 7.0 - 6.0).collect();
            let mut sum = f32::NAN;
            squares(&x, &mut sum);
            assert_eq!(sum.to_bits(), parallel::sum(len, |i| x[i] * x[i]).to_bits());
        }
    }
}
