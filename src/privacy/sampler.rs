//! Poisson sampling: each record enters a logical batch independently with probability q.
//!
//! Record i enters the batch of a step iff a uniform 64-bit integer, words 2i and 2i+1 of the step's
//! ChaCha20 stream, is below `floor(q·2⁶⁴)`. The probability is thus exactly q for q ≥ 2⁻¹², and below
//! that less than 2⁻⁶⁴ under it; it is never above the q that the accountant is given.

use super::keys::{Domain, RunKey, Stream};
use super::plan::PrivacyPlan;

/// Draws the logical batches of a run.
pub struct PoissonSampler {
    key: [u8; 32],
    /// `floor(q·2⁶⁴)`, in `0..=2⁶⁴`.
    threshold: u128,
    records: usize,
}

/// Records whose random words are drawn together.
const CHUNK: usize = 1024;

impl PoissonSampler {
    /// The sampler over records `0..records` with the plan's sample rate.
    pub fn new(run: &RunKey, plan: &PrivacyPlan, records: usize) -> PoissonSampler {
        PoissonSampler { key: run.derive(Domain::Sampling), threshold: threshold(plan.rate()), records }
    }

    /// The records of the logical batch of `step`, in increasing order; possibly none.
    ///
    /// A function of the run key and `step` alone.
    pub fn sample(&self, step: u64) -> Vec<usize> {
        let mut stream = Stream::at(&self.key, step, 0);
        let mut bytes = [0; CHUNK * 8];
        let mut batch = Vec::new();
        for first in (0..self.records).step_by(CHUNK) {
            let count = CHUNK.min(self.records - first);
            stream.fill(&mut bytes[..count * 8]);
            for (i, word) in bytes[..count * 8].as_chunks::<8>().0.iter().enumerate() {
                if u128::from(u64::from_le_bytes(*word)) < self.threshold {
                    batch.push(first + i);
                }
            }
        }
        batch
    }
}

/// `floor(q·2⁶⁴)` for q in `[0, 1]`. The product is exact, being a change of exponent.
fn threshold(q: f64) -> u128 {
    (q * 18_446_744_073_709_551_616.0) as u128
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::plan::{self, PlanSpec};
    use crate::privacy::sampling::Sampling;

    fn sampler(q: f64, seed: u64, records: usize) -> PoissonSampler {
        let plan = PrivacyPlan::new(PlanSpec { sampling: Sampling::Poisson { rate: q }, ..plan::example() }).unwrap();
        PoissonSampler::new(&RunKey::insecure(seed), &plan, records)
    }

    #[test]
    fn the_threshold_is_never_rounded_up() {
        assert_eq!(threshold(1.0), 1 << 64);
        assert_eq!(threshold(0.5), 1 << 63);
        assert_eq!(threshold(0.0), 0);
        assert_eq!(threshold(f64::powi(2.0, -64)), 1);
        assert_eq!(threshold(1.9 * f64::powi(2.0, -64)), 1);
        assert_eq!(threshold(f64::powi(2.0, -65)), 0);
        assert_eq!(threshold(1.0 - f64::EPSILON / 2.0), (1 << 64) - (1 << 11));
        for q in [1.0 / 3.0, 0.1, 256.0 / 60000.0, 1e-9, 1e-18] {
            let back = threshold(q) as f64 / f64::powi(2.0, 64);
            assert!(back <= q && q - back < f64::powi(2.0, -64));
        }
    }

    #[test]
    fn everyone_at_rate_one_and_nobody_among_none() {
        assert_eq!(sampler(1.0, 3, 3000).sample(0), Vec::from_iter(0..3000));
        assert!(sampler(1.0, 3, 0).sample(0).is_empty());
    }

    #[test]
    fn a_step_is_a_function_of_key_and_number() {
        let batch = sampler(0.1, 3, 5000).sample(17);
        assert_eq!(sampler(0.1, 3, 5000).sample(17), batch);
        assert_ne!(sampler(0.1, 3, 5000).sample(18), batch);
        assert_ne!(sampler(0.1, 4, 5000).sample(17), batch);
        assert!(batch.is_sorted_by(|a, b| a < b));
        let longer = sampler(0.1, 3, 9000).sample(17);
        assert!(longer.starts_with(&batch));
    }

    /// Over 2,000 steps the batch size has mean nq and variance nq(1-q), each within 5 deviations of
    /// its estimator.
    #[test]
    fn batch_sizes_are_binomial() {
        let (n, q, steps) = (1000.0, 0.05, 2000);
        let sampler = sampler(q, 11, n as usize);
        let sizes: Vec<f64> = (0..steps).map(|step| sampler.sample(step).len() as f64).collect();
        let steps = steps as f64;
        let mean = sizes.iter().sum::<f64>() / steps;
        let variance = sizes.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (steps - 1.0);
        let expected = n * q * (1.0 - q);
        assert!((mean - n * q).abs() < 5.0 * (expected / steps).sqrt(), "{mean}");
        assert!((variance - expected).abs() < 5.0 * expected * (2.0 / steps).sqrt(), "{variance}");
    }

    /// Every record's count of inclusions, and every neighbouring pair's count of joint inclusions,
    /// within 6 deviations of independent draws.
    #[test]
    fn records_are_drawn_independently() {
        let (n, q, steps) = (400, 0.3, 4000);
        let sampler = sampler(q, 5, n);
        let mut single = vec![0.0; n];
        let mut pair = vec![0.0; n];
        let mut successive = vec![0.0; n];
        let mut previous = vec![false; n];
        for step in 0..steps {
            let mut present = vec![false; n];
            for i in sampler.sample(step) {
                present[i] = true;
            }
            for i in 0..n {
                single[i] += f64::from(present[i]);
                pair[i] += f64::from(present[i] && present[(i + 1) % n]);
                successive[i] += f64::from(present[i] && previous[i]);
            }
            previous = present;
        }
        let check = |counts: &[f64], p: f64, trials: f64| {
            let deviation = (trials * p * (1.0 - p)).sqrt();
            for count in counts {
                assert!((count - trials * p).abs() < 6.0 * deviation, "{count}");
            }
        };
        check(&single, q, steps as f64);
        check(&pair, q * q, steps as f64);
        check(&successive, q * q, (steps - 1) as f64);
    }
}
