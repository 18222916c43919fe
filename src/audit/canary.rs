//! A lower bound on the ε of one compiled step, from outside: a canary record's trace in what is released.
//!
//! The same step is replayed with and without a canary, a record that moves the sum as far as any found. Who knows the
//! rest of the batch, the parameters and the canary's gradient, as the guarantee allows, projects what is released on the
//! direction in which the canary moves it, and guesses from the side of the midpoint on which it lies. How often that is
//! wrong bounds μ of Gaussian differential privacy from below, by Clopper–Pearson, and μ bounds ε
//! (Nasr et al. 2023, <https://arxiv.org/abs/2302.07956>). That refutes a claim of Gaussian noise of a certain size, and is
//! a bound on ε if the noise is Gaussian, which [`super::noise`] tests. The same error rates α and β bound the ε of any
//! mechanism whatever, by less: `ε ≥ ln((1-δ-β)/α)`, and the same with α and β exchanged
//! (Kairouz, Oh and Viswanath 2015, <https://arxiv.org/abs/1311.0776>, Theorem 2.1).
//!
//! Replay r has the same noise on both sides. The two guesses are then not independent, and the bound does not take them
//! to be: it adds bounds on the probabilities that at least one is wrong and that both are, whose sum is that of the two
//! error rates.

use super::AuditError;
use super::records::Records;
use super::statistics::{binomial, gaussian};
use super::subject::{Rig, distance};

/// How the replays went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replays {
    /// Replays of each side.
    pub count: u64,
    /// Replays in which the canary was guessed to be there and was not, and those in which it was the other way round.
    pub wrong: [u64; 2],
    /// Replays in which at least one guess was wrong.
    pub either: u64,
    /// Replays in which both were.
    pub both: u64,
    /// How far the canary moves the sum, over its sensitivity.
    pub reach: f64,
    /// What kind of record the canary is.
    pub canary: &'static str,
}

impl Replays {
    /// Replays `noisy` `count` times a side. `quiet` is the same subject without noise, and `scale` the claimed
    /// sensitivity of what is released.
    ///
    /// # Errors
    /// When there is no noise, or the device fails.
    pub fn run(
        noisy: &mut Rig<'_>,
        quiet: &mut Rig<'_>,
        records: &Records,
        scale: f64,
        count: u64,
    ) -> Result<Replays, AuditError> {
        let others = others(quiet, records);
        let without = quiet.release(0, &[others])?;
        let longest = Canary::longest(quiet, records)?;
        let direction: Vec<f64> = longest
            .with
            .iter()
            .zip(&without)
            .map(|(a, b)| (f64::from(*a) - f64::from(*b)) / longest.length.max(f64::MIN_POSITIVE))
            .collect();
        let project =
            |gradient: &[f32]| -> f64 { gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * d).sum() };
        let midpoint = 0.5 * (project(&without) + project(&longest.with));
        let mut guesses = |batch: &[usize]| -> Result<Vec<bool>, AuditError> {
            (0..count).map(|step| Ok(project(&noisy.release(step, &[batch])?) > midpoint)).collect()
        };
        let (absent, present) = (guesses(others)?, guesses(&longest.batch)?);
        let wrong = || absent.iter().zip(&present).map(|(absent, present)| (*absent, !present));
        Ok(Replays {
            count,
            wrong: [wrong().filter(|(a, _)| *a).count() as u64, wrong().filter(|(_, b)| *b).count() as u64],
            either: wrong().filter(|(a, b)| *a || *b).count() as u64,
            both: wrong().filter(|(a, b)| *a && *b).count() as u64,
            reach: longest.length / scale,
            canary: longest.kind,
        })
    }

    /// The lower bound on ε at `delta` of a mechanism with Gaussian noise, which holds with a probability of at least
    /// `1 - risk`.
    pub fn gaussian_epsilon(&self, delta: f64, risk: f64) -> f64 {
        let bound = |wrong| binomial::upper(wrong, self.count, 0.5 * risk);
        gaussian::epsilon(gaussian::mu_of_errors(bound(self.either) + bound(self.both)), delta)
    }

    /// The lower bound on ε at `delta` of any mechanism, which holds with a probability of at least `1 - risk`.
    pub fn epsilon(&self, delta: f64, risk: f64) -> f64 {
        let [a, b] = self.wrong.map(|wrong| binomial::upper(wrong, self.count, 0.5 * risk));
        let bound = |a: f64, b: f64| ((1.0 - delta - b) / a).ln();
        // Of rates that are no better than chance the logarithm is negative, or there is none.
        bound(a, b).max(bound(b, a)).max(0.0)
    }
}

/// The ordinary records beside a canary.
pub(super) fn others<'a>(quiet: &mut Rig<'_>, records: &'a Records) -> &'a [usize] {
    &records.ordinary[..records.ordinary.len().min(quiet.rows() - 1)]
}

/// The record that moves what is released the farthest.
pub(super) struct Canary {
    with: Vec<f32>,
    length: f64,
    /// What kind of record it is.
    pub kind: &'static str,
    /// The ordinary records and the canary.
    pub batch: Vec<usize>,
}

impl Canary {
    /// The one that moves it the farthest beside [`others`].
    ///
    /// # Errors
    /// When the device fails.
    pub fn longest(quiet: &mut Rig<'_>, records: &Records) -> Result<Canary, AuditError> {
        let others = others(quiet, records);
        let without = quiet.release(0, &[others])?;
        let mut longest = Canary { with: without.clone(), length: 0.0, kind: "", batch: others.to_vec() };
        for &(kind, record) in &records.adversaries {
            let batch = [others, &[record]].concat();
            let with = quiet.release(0, &[&batch])?;
            let length = distance(&with, &without);
            if length > longest.length {
                longest = Canary { with, length, kind, batch };
            }
        }
        Ok(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::keys::{Domain, RunKey, Stream};

    fn replays(count: u64, either: u64, both: u64) -> Replays {
        let wrong = [either / 2 + both / 2, either - either / 2 + both - both / 2];
        Replays { count, wrong, either, both, reach: 1.0, canary: "" }
    }

    /// The power at σ = 1, δ = 1e-5 (ε = 4.377): half of a large number of unit normals are beyond ±1/2 in 61.7 % of draws.
    #[test]
    fn a_thousand_replays_prove_most_of_epsilon() {
        let expected =
            |count: u64| replays(count, (0.617_075 * count as f64).round() as u64, 0).gaussian_epsilon(1e-5, 0.05);
        assert!((expected(1000) - 3.87).abs() < 0.05, "{}", expected(1000));
        assert!((expected(100_000) - 4.377).abs() < 0.1, "{}", expected(100_000));
        assert!(replays(1000, 617, 0).gaussian_epsilon(1e-5, 0.001) < expected(1000));
    }

    /// The bound is above the truth in no more of 2,000 audits than it may, and proves 3.2 in nearly all of them.
    #[test]
    fn the_bound_holds_as_often_as_it_says() {
        let key = RunKey::insecure(9).derive(Domain::Noise);
        let (audits, count) = (2000, 1000);
        let (mut above, mut weak) = (0, 0);
        for audit in 0..audits {
            let mut words = vec![0; 8 * count];
            Stream::at(&key, audit, 0).fill(&mut words);
            let (words, _) = words.as_chunks::<8>();
            let either = words.iter().filter(|word| {
                let uniform = (u64::from_le_bytes(**word) as f64 + 0.5) / 18_446_744_073_709_551_616.0;
                gaussian::quantile(uniform).abs() > 0.5
            });
            let bound = replays(count as u64, either.count() as u64, 0).gaussian_epsilon(1e-5, 0.05);
            above += u64::from(bound > gaussian::epsilon(1.0, 1e-5));
            weak += u64::from(bound < 3.2);
        }
        assert!(above as f64 <= 0.05 * audits as f64, "{above} of {audits}");
        assert!(weak as f64 <= 0.01 * audits as f64, "{weak} of {audits}");
    }

    /// A third of the guesses wrong on either side: `ln((1 - 1e-5 - u) / u)` for the upper bounds u on the rates.
    #[test]
    fn some_of_epsilon_is_proved_of_any_mechanism() {
        let found = replays(1000, 618, 0);
        assert_eq!(found.wrong, [309, 309]);
        let upper: f64 = 0.338_671_324_716_287_64;
        assert!((found.epsilon(1e-5, 0.05) - ((1.0 - 1e-5 - upper) / upper).ln()).abs() < 1e-6);
        assert!(found.epsilon(1e-5, 0.05) < found.gaussian_epsilon(1e-5, 0.05));
        assert_eq!(replays(1000, 1000, 0).epsilon(1e-5, 0.05), 0.0);
        assert_eq!(replays(1000, 1000, 1000).epsilon(1e-5, 0.05), 0.0);
        assert!(replays(1_000_000, 0, 0).epsilon(1e-5, 0.05) > 10.0);
    }

    #[test]
    fn guesses_no_better_than_chance_prove_nothing() {
        assert_eq!(replays(1000, 1000, 0).gaussian_epsilon(1e-5, 0.05), 0.0);
        assert_eq!(replays(1000, 700, 400).gaussian_epsilon(1e-5, 0.05), 0.0);
    }
}
