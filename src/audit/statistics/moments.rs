//! Second moments, and how far chance moves them.

use std::f64::consts::PI;

use super::gaussian::quantile;

/// How unlikely a value outside its bounds is for a correct mechanism: a false alarm of one check in 10⁹.
pub const ALARM: f64 = 1e-9;

/// How many standard deviations an estimate is from its mean with a probability of [`ALARM`] for any of `estimates`.
pub fn deviations(estimates: usize) -> f64 {
    -quantile(0.5 * ALARM / estimates.max(1) as f64)
}

/// Sums of a sample of normals with known mean 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    /// How many.
    pub count: usize,
    sum: f64,
    squares: f64,
}

impl Moments {
    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.squares += value * value;
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }

    /// The root mean square, which estimates the standard deviation; its own is about `σ/√2n`.
    pub fn deviation(&self) -> f64 {
        (self.squares / self.count as f64).sqrt()
    }
}

impl Extend<f64> for Moments {
    fn extend<I: IntoIterator<Item = f64>>(&mut self, values: I) {
        values.into_iter().for_each(|value| self.add(value));
    }
}

impl FromIterator<f64> for Moments {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Moments {
        let mut moments = Moments::default();
        moments.extend(values);
        moments
    }
}

/// The products of pairs of values, and of each with itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Products {
    /// How many pairs.
    pub count: usize,
    both: f64,
    first: f64,
    second: f64,
}

impl Products {
    /// Adds pairs of values whose means are 0.
    pub fn add(&mut self, first: &[f32], second: &[f32]) {
        for (&a, &b) in first.iter().zip(second) {
            let (a, b) = (f64::from(a), f64::from(b));
            self.count += 1;
            self.both += a * b;
            self.first += a * a;
            self.second += b * b;
        }
    }

    /// The correlation: 0 where either side is all zeros.
    pub fn correlation(&self) -> f64 {
        let scale = (self.first * self.second).sqrt();
        if scale > 0.0 { self.both / scale } else { 0.0 }
    }

    /// The probability that independent normals with mean 0 are correlated as strongly, from above:
    /// `√(2/π(n-1)) · (1-r²)^((n-1)/2) / r`. The correlation's density is `Γ(n/2)/(√π Γ((n-1)/2)) · (1-u²)^((n-3)/2)`, where
    /// the ratio of gammas is at most `√((n-1)/2)` and the tail's integral at most that with another factor `u/r`.
    pub fn chance(&self) -> f64 {
        if self.count < 2 {
            return 1.0;
        }
        let (r, degrees) = (self.correlation().abs().min(1.0), self.count as f64 - 1.0);
        let rest = (0.5 * degrees * (-r * r).ln_1p()).exp();
        // A correlation that is not a number is as unlikely as can be.
        let chance = (2.0 / (PI * degrees)).sqrt() * rest / r;
        if chance.is_nan() { 0.0 } else { chance.min(1.0) }
    }

    /// The correlation in standard deviations: how far from its mean a normal is with a probability of
    /// [`Products::chance`].
    pub fn score(&self) -> f64 {
        -quantile(0.5 * self.chance())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_false_alarm_in_a_billion() {
        assert!((deviations(1) - 6.109_410_204_869_397_5).abs() < 1e-6);
        assert!(deviations(1000) > deviations(1));
    }

    #[test]
    fn moments_of_known_samples() {
        let mut moments = Moments::default();
        moments.extend([3.0, -4.0, 1.0]);
        assert_eq!((moments.count, moments.mean()), (3, 0.0));
        assert!((moments.deviation() - (26.0_f64 / 3.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn correlations_of_known_pairs() {
        let of = |a: &[f32], b: &[f32]| {
            let mut products = Products::default();
            products.add(a, b);
            products
        };
        let values: Vec<f32> = (0..100).map(|i| (i as f32 * 0.7).sin()).collect();
        let negative: Vec<f32> = values.iter().map(|v| -2.0 * v).collect();
        assert_eq!(of(&values, &values).score(), f64::INFINITY);
        assert!(of(&values, &negative).correlation() < -0.999_999);
        assert_eq!(of(&[1.0, -1.0], &[1.0, 1.0]).correlation(), 0.0);
        assert_eq!(of(&[0.0; 9], &values[..9]).score(), 0.0);
        let half: Vec<f32> = (0..1000).map(|i| if i % 4 < 2 { 1.0 } else { -1.0 }).collect();
        let other: Vec<f32> = (0..1000).map(|i| if i % 8 < 3 { 1.0 } else { -1.0 }).collect();
        let products = of(&half, &other);
        assert!((products.score() / (products.correlation().atanh() * 997.0_f64.sqrt()) - 1.0).abs() < 0.02);
    }

    /// Above the truth (`scipy.stats.beta.sf(r², 1/2, (n-1)/2)`, see `tests/oracles/audit.py`), and near it in the tail.
    #[test]
    fn correlations_are_no_likelier_than_they_are() {
        for (count, r, truth) in [
            (2, 0.999_999, 0.000_900_316_391_201_406_4),
            (8, 0.99, 3.260_672_285_039_185e-07),
            (48, 0.5, 0.000_254_127_415_200_687_1),
            (1000, 0.2, 1.720_467_689_370_106_4e-10),
            (1_000_000, 0.006, 1.972_573_854_650_224_5e-09),
            (100, 0.1, 0.319_748_474_139_301_35),
        ] {
            let chance = Products { count, both: r, first: 1.0, second: 1.0 }.chance();
            assert!(chance >= truth && (truth > 1e-3 || chance < 1.3 * truth), "{count} {r}: {chance}");
        }
        assert_eq!(Products { count: 1, both: 1.0, first: 1.0, second: 1.0 }.chance(), 1.0);
        assert_eq!(Products { count: 9, both: f64::NAN, first: 1.0, second: 1.0 }.score(), f64::INFINITY);
    }
}
