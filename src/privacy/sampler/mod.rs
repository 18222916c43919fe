//! Sampling: which units of the dataset enter a logical batch.
//!
//! Poisson sampling includes unit i of a step iff a uniform 64-bit integer, words 2i and 2i+1 of the step's
//! ChaCha20 stream, is below `floor(q·2⁶⁴)`. The probability is thus exactly q for q ≥ 2⁻¹², and below
//! that less than 2⁻⁶⁴ under it; it is never above the q that the accountant is given. What the other kinds
//! of [`Sampling`] draw beyond that comes from the upper half of the same stream, and is exactly uniform.
//!
//! The parts of cyclic sampling have a key of their own, [`Parts`], which sessions of one run share: a unit must be in the same part in
//! all of them. They are as secret as the run key.

pub(in crate::privacy) mod uniform;

use std::fmt;

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::keys::{Domain, RunKey, Stream};
use super::plan::PrivacyPlan;
use super::sampling::Sampling;
use uniform::Uniform;

/// Draws the logical batches of a run.
pub struct Sampler {
    key: [u8; 32],
    sampling: Sampling,
    units: usize,
    parts: Option<(Parts, Vec<Vec<usize>>)>,
}

/// What the parts of cyclic sampling follow from.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts([u8; 32]);

impl Parts {
    /// Those of a run that begins.
    pub fn of(run: &RunKey) -> Parts {
        Parts(run.derive(Domain::Parts))
    }

    /// The units of each of `parts` parts, each unit in one of them by itself, uniformly.
    fn split(&self, parts: u64, units: usize) -> Vec<Vec<usize>> {
        let mut uniform = Uniform::new(Stream::at(&self.0, 0, 0));
        let mut split = vec![Vec::new(); parts as usize];
        (0..units).for_each(|unit| split[uniform.below(parts) as usize].push(unit));
        split
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parts(secret)")
    }
}

/// The data do not have as many units as the plan's sampling is for.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
#[error("the plan samples from {planned} units, the data have {found}")]
#[diagnostic(
    code(dpc::privacy::sampler_units),
    help("this sampling is accounted for a stated number of units; train on the data it was planned for")
)]
pub struct UnitMismatch {
    planned: u64,
    found: usize,
}

/// Units whose random words are drawn together.
const CHUNK: usize = 1024;
/// The block from which a step's stream is read for anything but Poisson inclusion.
const UPPER_HALF: u64 = 1 << 63;

impl Sampler {
    /// The sampler over units `0..units` with the plan's sampling.
    ///
    /// # Errors
    /// When the sampling is for another number of units.
    pub fn new(run: &RunKey, plan: &PrivacyPlan, units: usize) -> Result<Sampler, UnitMismatch> {
        match plan.sampling.units() {
            Some(planned) if planned != units as u64 => Err(UnitMismatch { planned, found: units }),
            _ => {
                let key = run.derive(Domain::Sampling);
                let mut sampler = Sampler { key, sampling: plan.sampling, units, parts: None };
                sampler.set_parts(Parts::of(run));
                Ok(sampler)
            }
        }
    }

    /// Takes the parts of a run that is gone on with, where sampling is cyclic.
    pub fn set_parts(&mut self, parts: Parts) {
        self.parts = match self.sampling {
            Sampling::Cyclic { parts: count, .. } => Some((parts, parts.split(count, self.units))),
            _ => None,
        };
    }

    /// What the parts follow from, where sampling is cyclic.
    pub fn parts(&self) -> Option<Parts> {
        self.parts.as_ref().map(|(parts, _)| *parts)
    }

    /// The units of the logical batch of `step`, in increasing order; possibly none.
    ///
    /// A function of the run key and `step` alone.
    pub fn sample(&self, step: u64) -> Vec<usize> {
        match self.sampling {
            Sampling::Poisson { rate } => self.poisson(step, self.units, rate),
            Sampling::TruncatedPoisson { rate, max_batch, .. } => {
                let drawn = self.poisson(step, self.units, rate);
                let most = usize::try_from(max_batch).unwrap_or(usize::MAX);
                match drawn.len() > most {
                    true => self.uniform(step).subset(drawn.len(), most).into_iter().map(|at| drawn[at]).collect(),
                    false => drawn,
                }
            }
            Sampling::FixedSize { batch, .. } => self.uniform(step).subset(self.units, batch as usize),
            Sampling::Shuffle { batch, .. } => {
                let epoch = self.sampling.epoch().unwrap_or(1);
                let order = self.uniform(step / epoch).permutation(self.units);
                let first = (step % epoch) as usize * batch as usize;
                let mut drawn = order[first..first + batch as usize].to_vec();
                drawn.sort_unstable();
                drawn
            }
            Sampling::Cyclic { rate, parts } => {
                let part = self.parts.as_ref().map_or(&[][..], |(_, split)| &split[(step % parts) as usize]);
                self.poisson(step, part.len(), rate).into_iter().map(|at| part[at]).collect()
            }
        }
    }

    fn poisson(&self, step: u64, units: usize, rate: f64) -> Vec<usize> {
        let threshold = threshold(rate);
        let mut stream = Stream::at(&self.key, step, 0);
        let mut bytes = [0; CHUNK * 8];
        let mut batch = Vec::new();
        for first in (0..units).step_by(CHUNK) {
            let count = CHUNK.min(units - first);
            stream.fill(&mut bytes[..count * 8]);
            for (i, word) in bytes[..count * 8].as_chunks::<8>().0.iter().enumerate() {
                if u128::from(u64::from_le_bytes(*word)) < threshold {
                    batch.push(first + i);
                }
            }
        }
        batch
    }

    fn uniform(&self, stream: u64) -> Uniform {
        Uniform::new(Stream::at(&self.key, stream, UPPER_HALF))
    }
}

/// `floor(q·2⁶⁴)` for q in `[0, 1]`. The product is exact, being a change of exponent.
fn threshold(q: f64) -> u128 {
    (q * 18_446_744_073_709_551_616.0) as u128
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::adjacency::Adjacency;
    use crate::privacy::correlation::Correlation;
    use crate::privacy::grid::Grid;
    use crate::privacy::plan::{self, PlanSpec};

    fn sampler(q: f64, seed: u64, units: usize) -> Sampler {
        of(Sampling::Poisson { rate: q }, seed, units)
    }

    fn of(sampling: Sampling, seed: u64, units: usize) -> Sampler {
        let cyclic = matches!(sampling, Sampling::Cyclic { .. });
        let plan = PlanSpec {
            correlation: cyclic.then(|| Correlation::Banded { bands: 1 }.strategy(1, 1)),
            grid: cyclic.then(Grid::default),
            public_units: sampling.units(),
            expected_batch: sampling.units().map_or(64.0, |units| sampling.rate() * units as f64),
            sampling,
            adjacency: Adjacency::ReplaceOne,
            ..plan::example()
        };
        Sampler::new(&RunKey::insecure(seed), &PrivacyPlan::new(plan).unwrap(), units).unwrap()
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

    #[test]
    fn truncation_keeps_a_uniform_part_of_what_poisson_drew() {
        let whole = of(Sampling::Poisson { rate: 0.5 }, 2, 40);
        let cut = of(Sampling::TruncatedPoisson { rate: 0.5, units: 40, max_batch: 15 }, 2, 40);
        let mut kept = [0.0_f64; 40];
        for step in 0..2000 {
            let (whole, cut) = (whole.sample(step), cut.sample(step));
            assert_eq!(cut.len(), whole.len().min(15));
            assert!(cut.is_sorted_by(|a, b| a < b) && cut.iter().all(|unit| whole.contains(unit)));
            cut.iter().for_each(|&unit| kept[unit] += 1.0);
        }
        let mean = kept.iter().sum::<f64>() / 40.0;
        assert!(kept.iter().all(|count| (count - mean).abs() < 6.0 * 2000.0_f64.sqrt() / 2.0), "{kept:?}");
    }

    #[test]
    fn fixed_batches_have_their_size_and_every_unit_its_share() {
        let sampler = of(Sampling::FixedSize { units: 30, batch: 10 }, 4, 30);
        let mut counts = [0.0_f64; 30];
        for step in 0..3000 {
            let batch = sampler.sample(step);
            assert_eq!(batch.len(), 10);
            assert!(batch.is_sorted_by(|a, b| a < b));
            batch.iter().for_each(|&unit| counts[unit] += 1.0);
        }
        let deviation = (3000.0_f64 * 2.0 / 9.0).sqrt();
        assert!(counts.iter().all(|count| (count - 1000.0).abs() < 6.0 * deviation), "{counts:?}");
    }

    #[test]
    fn a_shuffled_epoch_has_every_unit_at_most_once() {
        let sampler = of(Sampling::Shuffle { units: 20, batch: 6 }, 9, 20);
        let mut orders = Vec::new();
        for epoch in 0..5 {
            let mut seen: Vec<usize> = (0..3).flat_map(|batch| sampler.sample(3 * epoch + batch)).collect();
            assert_eq!(seen.len(), 18);
            orders.push(seen.clone());
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 18);
        }
        orders.dedup();
        assert_eq!(orders.len(), 5);
    }

    /// A unit has its turns in one part, and there with the probability asked for; the parts are uniform, independent of each other and of how many units there are.
    #[test]
    fn units_of_a_cycle_keep_their_parts() {
        let (parts, steps) = (5, 1000);
        let sampler = of(Sampling::Cyclic { rate: 0.4, parts }, 6, 300);
        let mut part = vec![None; 300];
        let mut counts = [0.0_f64; 300];
        for step in 0..steps {
            let drawn = sampler.sample(step);
            assert!(drawn.is_sorted_by(|a, b| a < b));
            for unit in drawn {
                counts[unit] += 1.0;
                assert_eq!(*part[unit].get_or_insert(step % parts), step % parts);
            }
        }
        let turns = (steps / parts) as f64;
        let deviation = (turns * 0.24).sqrt();
        assert!(counts.iter().all(|count| (count - turns * 0.4).abs() < 6.0 * deviation));
        for wanted in 0..parts {
            let size = part.iter().filter(|part| **part == Some(wanted)).count() as f64;
            assert!((size - 60.0).abs() < 6.0 * (300.0_f64 * 0.16).sqrt(), "{size}");
        }
        let whole = |seed, units| of(Sampling::Cyclic { rate: 1.0, parts }, seed, units).sample(7);
        assert_ne!(whole(6, 300), whole(7, 300));
        assert!(whole(6, 400).starts_with(&whole(6, 300)));
        let mut other = of(Sampling::Cyclic { rate: 1.0, parts }, 7, 300);
        other.set_parts(sampler.parts().unwrap());
        assert_eq!(other.sample(7), whole(6, 300));
    }

    #[test]
    fn a_plan_for_other_data_is_refused() {
        let plan = PlanSpec {
            sampling: Sampling::FixedSize { units: 256, batch: 64 },
            public_units: Some(256),
            adjacency: Adjacency::ReplaceOne,
            ..plan::example()
        };
        let plan = PrivacyPlan::new(plan).unwrap();
        assert!(Sampler::new(&RunKey::insecure(0), &plan, 255).is_err());
        assert!(Sampler::new(&RunKey::insecure(0), &plan, 256).is_ok());
    }
}
