//! Exactly uniform integers, subsets and permutations from a key stream.

use std::collections::BTreeSet;

use crate::privacy::keys::Stream;

/// Uniform integers from a key stream.
pub(in crate::privacy) struct Uniform(Stream);

impl Uniform {
    pub(in crate::privacy) fn new(stream: Stream) -> Uniform {
        Uniform(stream)
    }

    /// A uniform integer below `bound`, which is above 0: 64-bit words above the largest multiple of
    /// `bound` are drawn again.
    pub(in crate::privacy) fn below(&mut self, bound: u64) -> u64 {
        let excess = (u64::MAX % bound + 1) % bound;
        loop {
            let word = self.word();
            if word <= u64::MAX - excess {
                return word % bound;
            }
        }
    }

    /// Whether something of this probability, in [0, 1], happens: the bits of a uniform number are compared with those of the
    /// probability, 64 at a time, until they differ.
    pub(in crate::privacy) fn chance(&mut self, probability: f64) -> bool {
        const WORD: f64 = 18_446_744_073_709_551_616.0;
        let mut left = probability;
        loop {
            if left >= 1.0 {
                return true;
            }
            // Exact: a scaling by a power of two, a floor and a difference of numbers that share their bits.
            let (shifted, drawn) = (left * WORD, self.word());
            let digit = shifted.floor();
            if drawn != digit as u64 {
                return drawn < digit as u64;
            }
            left = shifted - digit;
            if left == 0.0 {
                return false;
            }
        }
    }

    fn word(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A uniform subset of `0..count` of `size` numbers, at most `count`, in increasing order (Floyd's
    /// algorithm: Bentley and Floyd 1987, "A sample of brilliance").
    pub(super) fn subset(&mut self, count: usize, size: usize) -> Vec<usize> {
        let mut chosen = BTreeSet::new();
        for last in count - size..count {
            let candidate = self.below(last as u64 + 1) as usize;
            if !chosen.insert(candidate) {
                chosen.insert(last);
            }
        }
        chosen.into_iter().collect()
    }

    /// A uniform permutation of `0..count` (Fisher–Yates).
    pub(super) fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last as u64 + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::keys::{Domain, RunKey};
    use std::collections::BTreeMap;

    fn uniform(stream: u64) -> Uniform {
        Uniform::new(Stream::at(&RunKey::insecure(1).derive(Domain::Sampling), stream, 0))
    }

    /// Each outcome's count within 6 deviations of the same number of draws for each.
    fn assert_uniform(outcomes: &BTreeMap<Vec<usize>, u32>, kinds: usize, draws: u32) {
        assert_eq!(outcomes.len(), kinds);
        let p = 1.0 / kinds as f64;
        let (mean, deviation) = (f64::from(draws) * p, (f64::from(draws) * p * (1.0 - p)).sqrt());
        for (outcome, &count) in outcomes {
            assert!((f64::from(count) - mean).abs() < 6.0 * deviation, "{outcome:?}: {count}");
        }
    }

    #[test]
    fn every_subset_is_as_likely() {
        let mut uniform = uniform(0);
        let mut outcomes = BTreeMap::new();
        for _ in 0..20_000 {
            *outcomes.entry(uniform.subset(5, 2)).or_default() += 1;
        }
        assert_uniform(&outcomes, 10, 20_000);
        assert_eq!(uniform.subset(4, 4), [0, 1, 2, 3]);
        assert!(uniform.subset(4, 0).is_empty());
    }

    #[test]
    fn every_permutation_is_as_likely() {
        let mut uniform = uniform(1);
        let mut outcomes = BTreeMap::new();
        for _ in 0..24_000 {
            *outcomes.entry(uniform.permutation(4)).or_default() += 1;
        }
        assert_uniform(&outcomes, 24, 24_000);
    }

    #[test]
    fn chances_are_those_asked_for() {
        let mut uniform = uniform(3);
        for probability in [0.5, 0.05, 1.0 / 3.0, 0.999] {
            let happened = (0..20_000).filter(|_| uniform.chance(probability)).count() as f64;
            let deviation = (20_000.0 * probability * (1.0 - probability)).sqrt();
            assert!((happened - 20_000.0 * probability).abs() < 6.0 * deviation, "{probability}: {happened}");
        }
        assert!((0..100).all(|_| uniform.chance(1.0) && !uniform.chance(0.0) && !uniform.chance(1e-30)));
    }

    #[test]
    fn large_bounds_have_no_bias() {
        let bound = u64::MAX / 3 * 2;
        let mut uniform = uniform(2);
        let low = (0..3000).filter(|_| uniform.below(bound) < bound / 2).count();
        assert!((low as f64 - 1500.0).abs() < 6.0 * 750.0_f64.sqrt(), "{low}");
    }
}
