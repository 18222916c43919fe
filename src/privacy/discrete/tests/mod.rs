//! The sampler against the distribution that it must have.

mod accounting;
mod decisions;
mod distribution;
mod oracle;
mod streams;

use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::sampler::DiscreteGaussian;
use super::{DiscreteNoise, Scale};
use crate::privacy::keys::RunKey;

/// Below which probability of a larger χ² a test fails.
const RARE: f64 = 1e-6;

fn scale(s: f64) -> Scale {
    Scale::from_steps((s * f64::from(1 << Scale::FRACTION_BITS)).round() as u64).unwrap()
}

fn noise(seed: u64) -> DiscreteNoise {
    DiscreteNoise::new(&RunKey::insecure(seed))
}

fn draw(seed: u64, sampler: &DiscreteGaussian, count: usize) -> Vec<i64> {
    let mut values = vec![i64::MIN; count];
    noise(seed).fill(0, 0, sampler, &mut values).unwrap();
    values
}

/// `exp(-z²/2s²)`, and the sum over all z.
fn weight(s: f64, z: i64) -> f64 {
    libm::exp(-0.5 * (z as f64 / s).powi(2))
}

fn total(s: f64) -> f64 {
    1.0 + 2.0 * (1..=(40.0 * s) as i64 + 1).map(|z| weight(s, z)).sum::<f64>()
}

/// Cells of integers and their probabilities.
struct Cells {
    /// The first integer after each cell but the last, increasing.
    ends: Vec<i64>,
    probabilities: Vec<f64>,
}

impl Cells {
    /// Cells of `width` integers for `N_Z(0, s²)`, as many together as it takes for an expectation of 25 in `draws`.
    fn new(s: f64, width: i64, draws: usize) -> Cells {
        let least = 25.0 / draws as f64;
        let reach = ((12.0 * s) as i64 + 2) / width * width;
        let all = total(s);
        let (mut ends, mut probabilities, mut cell) = (Vec::new(), Vec::new(), 0.0);
        for start in (-reach..reach).step_by(width as usize) {
            cell += (start..start + width).map(|z| weight(s, z)).sum::<f64>() / all;
            if cell >= least {
                ends.push(start + width);
                probabilities.push(cell);
                cell = 0.0;
            }
        }
        // What is left, and what is beyond reach, is part of the last cell.
        ends.pop();
        *probabilities.last_mut().unwrap() += cell;
        Cells { ends, probabilities }
    }

    fn counts(&self, values: &[i64]) -> Vec<f64> {
        let mut counts = vec![0.0; self.probabilities.len()];
        values.iter().for_each(|value| counts[self.ends.partition_point(|end| end <= value)] += 1.0);
        counts
    }

    /// The probability of a χ² larger than that of `values`.
    fn rarity(&self, values: &[i64]) -> f64 {
        rarity(&self.counts(values), &self.probabilities)
    }
}

/// The probability of a χ² larger than that of `counts`.
fn rarity(counts: &[f64], probabilities: &[f64]) -> f64 {
    let draws: f64 = counts.iter().sum();
    let terms = counts.iter().zip(probabilities).map(|(count, p)| (count - draws * p).powi(2) / (draws * p));
    larger(terms.sum(), counts.len() - 1)
}

/// The probability of a χ² larger than `value`.
fn larger(value: f64, freedom: usize) -> f64 {
    ChiSquared::new(freedom as f64).unwrap().sf(value)
}
