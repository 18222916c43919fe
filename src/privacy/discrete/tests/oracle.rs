//! A plain transcription of Canonne, Kamath and Steinke 2020 (<https://arxiv.org/abs/2004.00010>), Algorithms 1 to 3, to compare with.

use super::*;
use crate::privacy::keys::Stream;

/// Uniform integers.
struct Random(Stream);

impl Random {
    fn below(&mut self, bound: u128) -> u128 {
        loop {
            let mut bytes = [0; 16];
            self.0.fill(&mut bytes);
            let value = u128::from_le_bytes(bytes) >> (bound.leading_zeros().min(127));
            if value < bound {
                return value;
            }
        }
    }

    fn bernoulli(&mut self, n: u128, d: u128) -> bool {
        self.below(d) < n
    }

    /// Algorithm 1: true with probability `exp(-n/d)`.
    fn bernoulli_exp(&mut self, n: u128, d: u128) -> bool {
        if n <= d {
            let mut k = 1;
            while self.bernoulli(n, d * k) {
                k += 1;
            }
            return k % 2 == 1;
        }
        (0..n / d).all(|_| self.bernoulli_exp(1, 1)) && self.bernoulli_exp(n % d, d)
    }

    /// Algorithm 2 with s = 1: the discrete Laplace distribution of scale t.
    fn laplace(&mut self, t: u128) -> i128 {
        loop {
            let u = self.below(t);
            if !self.bernoulli_exp(u, t) {
                continue;
            }
            let mut v = 0;
            while self.bernoulli_exp(1, 1) {
                v += 1;
            }
            let y = (u + t * v) as i128;
            let negative = self.bernoulli(1, 2);
            if !(negative && y == 0) {
                return if negative { -y } else { y };
            }
        }
    }

    /// Algorithm 3 for `σ = n/4`.
    fn gaussian(&mut self, n: u128) -> i128 {
        let square = n * n;
        let t = n / 4 + 1;
        loop {
            let y = self.laplace(t);
            // (|Y| - σ²/t)²/2σ² with σ² = square/16.
            let difference = (16 * t * y.unsigned_abs()).abs_diff(square);
            if self.bernoulli_exp(difference * difference, 32 * square * t * t) {
                return y;
            }
        }
    }
}

#[test]
fn draws_as_the_algorithm_of_the_paper() {
    const DRAWS: usize = 100_000;
    for quarters in [3, 12, 161, 4000] {
        let s = quarters as f64 / 4.0;
        let mut random = Random(Stream::at(&[9; 32], quarters as u64, 0));
        let theirs: Vec<i64> = (0..DRAWS).map(|_| random.gaussian(quarters) as i64).collect();
        let sampler = DiscreteGaussian::new(scale(s));
        let ours = draw(quarters as u64, &sampler, DRAWS);
        let cells = Cells::new(s, ((s / 8.0) as i64).max(1), DRAWS);
        let (a, b) = (cells.counts(&theirs), cells.counts(&ours));
        let statistic: f64 = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2) / (a + b)).sum();
        let found = larger(statistic, a.len() - 1);
        assert!(found > RARE, "{s}: {found}");
        assert!(cells.rarity(&theirs) > RARE, "{s}");
    }
}
