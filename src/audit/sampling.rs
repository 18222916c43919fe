//! The sampler: whether units enter batches as often, and as independently, as the claim says.
//!
//! The counts have a binomial distribution if units enter batches independently, exactly, so that bounds hold for any rate
//! and number of units. How far batch sizes and units' inclusions scatter is counted as how many of them are beyond
//! bounds of known probability.

use statrs::distribution::{Binomial, DiscreteCDF};

use super::AuditError;
use super::report::Check;
use super::statistics::{binomial, moments};
use crate::privacy::keys::RunKey;
use crate::privacy::plan::{PlanSpec, PrivacyPlan};
use crate::privacy::sampler::Sampler;
use crate::privacy::sampling::Sampling;

/// Batches that are drawn; an even number.
const STEPS: u64 = 2000;
/// The rates at which a sampler can be tested: at others hardly any unit enters a batch, or is left out.
const RATES: [f64; 2] = [1.0 / 1024.0, 0.5];
/// The fewest units that enter a batch on average.
const LEAST: f64 = 16.0;
/// The fewest and the most units, unless more are needed for [`LEAST`].
const UNITS: [f64; 2] = [256.0, 8192.0];

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Trial {
    rate: f64,
    units: usize,
}

impl Trial {
    /// As near as can be to batches of the claimed `plan`.
    fn of(plan: &PrivacyPlan) -> Trial {
        let rate = plan.rate().clamp(RATES[0], RATES[1]);
        let least = (LEAST / rate).ceil().max(UNITS[0]);
        let units = (plan.expected_batch / plan.rate()).round().clamp(least, least.max(UNITS[1]));
        Trial { rate, units: units as usize }
    }

    /// The sampling of `followed`, of as many units and as far from the claimed rate.
    fn plan(self, claimed: &PrivacyPlan, followed: &PrivacyPlan) -> Result<PrivacyPlan, AuditError> {
        let units = self.units as u64;
        let rate = (self.rate * followed.rate() / claimed.rate()).min(1.0);
        let batch = ((rate * self.units as f64).round() as u64).max(1);
        let sampling = match followed.sampling {
            // A plan of the audit is not cyclic, but one that it is given may be.
            Sampling::Poisson { .. } | Sampling::Cyclic { .. } => Sampling::Poisson { rate },
            Sampling::TruncatedPoisson { .. } => Sampling::TruncatedPoisson { rate, units, max_batch: 2 * batch },
            Sampling::FixedSize { .. } => Sampling::FixedSize { units, batch },
            Sampling::Shuffle { .. } => Sampling::Shuffle { units, batch },
        };
        let spec = PlanSpec::new(sampling, sampling.rate() * self.units as f64, followed.clip.clone());
        let PlanSpec { delta, adjacency, .. } = **followed;
        Ok(PrivacyPlan::new(PlanSpec { delta, adjacency, noise_multiplier: 0.0, ..spec })?)
    }
}

/// The checks of sampling by the plan that is `followed`, where each unit should enter each batch independently with the
/// probability that is `claimed`.
///
/// # Errors
/// Where the plan that is followed cannot be followed.
pub fn checks(claimed: &PrivacyPlan, followed: &PrivacyPlan, key: &RunKey) -> Result<Vec<Check>, AuditError> {
    let trial = Trial::of(claimed);
    let Trial { rate, units } = trial;
    let sampler = Sampler::new(key, &trial.plan(claimed, followed)?, units)?;
    let (of_batch, of_unit) = (Middle::of(units as u64, rate), Middle::of(STEPS, rate));
    let mut entered = vec![0_u64; units];
    let [mut total, mut odd_sizes, mut neighbours, mut successive] = [0_u64; 4];
    let mut before = vec![false; units];
    for step in 0..STEPS {
        let drawn = sampler.sample(step);
        total += drawn.len() as u64;
        odd_sizes += u64::from(of_batch.is_beyond(drawn.len() as u64));
        let mut present = vec![false; units];
        for &unit in &drawn {
            entered[unit] += 1;
            present[unit] = true;
        }
        // Pairs that have nothing in common, so that each is another coin.
        neighbours += present.chunks_exact(2).filter(|pair| pair[0] && pair[1]).count() as u64;
        if step % 2 == 1 {
            successive += present.iter().zip(&before).filter(|(now, before)| **now && **before).count() as u64;
        }
        before = present;
    }
    let odd_units = entered.iter().filter(|&&count| of_unit.is_beyond(count)).count() as u64;
    let (n, both) = (units as u64, rate * rate);
    let drawn = match rate == claimed.rate() {
        true => format!("{STEPS} batches of {units} units at rate {rate}"),
        false => {
            format!("{STEPS} batches of {units} units at rate {rate}, {} being too extreme to test", claimed.rate())
        }
    };
    let beyond = |middle: &Middle| format!("those outside {} to {}", middle.from, middle.to);
    Ok(vec![
        count("inclusions", total, STEPS * n, rate).with(drawn),
        count("batches of an odd size", odd_sizes, STEPS, of_batch.beyond).with(beyond(&of_batch)),
        count("units in an odd number of batches", odd_units, n, of_unit.beyond).with(beyond(&of_unit)),
        count("neighbouring units in one batch", neighbours, STEPS * (n / 2), both),
        count("units in two successive batches", successive, STEPS / 2 * n, both),
    ])
}

/// Whether `figure` of `trials` can be if each has probability `p`.
fn count(name: &str, figure: u64, trials: u64, p: f64) -> Check {
    let bounds = binomial::range(trials, p, moments::ALARM);
    Check::within(name, figure as f64, bounds.map(|bound| bound as f64))
}

/// The middle of a binomial distribution: about a standard deviation to both sides of its mean.
struct Middle {
    from: u64,
    to: u64,
    /// The probability of being beyond it.
    beyond: f64,
}

impl Middle {
    fn of(trials: u64, p: f64) -> Middle {
        let (mean, deviation) = (trials as f64 * p, (trials as f64 * p * (1.0 - p)).sqrt());
        let from = (mean - deviation).ceil().max(0.0) as u64;
        let to = (mean + deviation).floor() as u64;
        let beyond = Binomial::new(p, trials).map_or(1.0, |counts| {
            let below = if from == 0 { 0.0 } else { counts.cdf(from - 1) };
            below + counts.sf(to)
        });
        Middle { from, to, beyond }
    }

    fn is_beyond(&self, count: u64) -> bool {
        !(self.from..=self.to).contains(&count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::adjacency::Adjacency;

    fn plan(rate: f64, batch: f64) -> PrivacyPlan {
        let spec = PlanSpec::new(Sampling::Poisson { rate }, batch, "flat:1".parse().unwrap());
        PrivacyPlan::new(PlanSpec { noise_multiplier: 1.0, delta: Some(1e-5), ..spec }).unwrap()
    }

    #[test]
    fn a_correct_sampler_passes_at_any_rate_and_batch_size() {
        for (seed, rate) in (0..).zip([1e-9, 1e-5, 0.01, 0.125, 0.5, 0.99, 1.0]) {
            for batch in [1.0, 7.0, 32.0, 65_536.0] {
                let plan = plan(rate, batch);
                for check in checks(&plan, &plan, &RunKey::insecure(seed)).unwrap() {
                    assert!(check.passed, "{rate} {batch}: {check:?}");
                }
            }
        }
    }

    #[test]
    fn other_rates_and_batches_of_a_fixed_size_fail() {
        for (rate, batch) in [(0.125, 1.0), (0.125, 32.0), (1e-5, 8.0), (1.0, 4.0)] {
            let claimed = plan(rate, batch);
            let Trial { rate, units } = Trial::of(&claimed);
            let fixed = |sampling| {
                let spec = PlanSpec { sampling, public_units: Some(units as u64), ..PlanSpec::from(claimed.clone()) };
                let expected_batch = sampling.rate() * units as f64;
                PrivacyPlan::new(PlanSpec { adjacency: Adjacency::ReplaceOne, expected_batch, ..spec }).unwrap()
            };
            let (units, batch) = (units as u64, (rate * units as f64) as u64);
            for sampling in [Sampling::FixedSize { units, batch }, Sampling::Shuffle { units, batch }] {
                let found = checks(&claimed, &fixed(sampling), &RunKey::insecure(1)).unwrap();
                assert!(found.iter().any(|check| !check.passed), "{sampling:?}");
            }
        }
    }
}
