//! Histories of fewer, and not less costly, distinct steps.

use super::Mechanism;

/// The steps of `history` that cost something, equal ones joined, in the order of their noise.
pub(super) fn merged(history: &[Mechanism]) -> Vec<Mechanism> {
    let costly = |entry: &&Mechanism| entry.steps > 0 && entry.sampling.rate() > 0.0;
    let mut steps: Vec<Mechanism> = history.iter().filter(costly).copied().collect();
    steps.sort_by(|a, b| a.noise_multiplier.total_cmp(&b.noise_multiplier));
    let mut merged: Vec<Mechanism> = Vec::new();
    for entry in steps {
        let same_noise = merged.iter_mut().rev().take_while(|last| last.noise_multiplier == entry.noise_multiplier);
        match same_noise.into_iter().find(|last| last.sampling == entry.sampling) {
            Some(last) => last.steps = last.steps.saturating_add(entry.steps),
            None => merged.push(entry),
        }
    }
    merged
}

/// As [`merged`], with noise multipliers rounded down to powers of `e^interval`.
pub(super) fn rounded(history: &[Mechanism], interval: f64) -> Vec<Mechanism> {
    let round = |entry: &Mechanism| {
        let sigma = entry.noise_multiplier;
        let below = libm::exp(libm::floor(libm::log(sigma) / interval) * interval);
        Mechanism { noise_multiplier: sigma.min(below), ..*entry }
    };
    merged(&history.iter().map(round).collect::<Vec<_>>())
}

/// What joining steps of different noise may add to their contributions, as a share of the whole, with
/// about [`BUCKETS`] of them left.
const EXCESS: f64 = 5e-3;
const BUCKETS: f64 = 150.0;
/// How far apart the noise of joined steps may be.
const WIDEST: f64 = 1.1;

/// As [`merged`], steps of the same sampling and similar noise joined at the least of their noise.
///
/// A step contributes about `v = q²(e^(1/σ²) - 1)` to the variance of the privacy loss, on which ε depends
/// (see [`Gdp`](super::Gdp)), and joined steps may exceed that by the same small share of the whole each.
/// Steps that contribute little are thereby joined more than others.
pub(super) fn joined(history: &[Mechanism]) -> Vec<Mechanism> {
    let contribution = |noise_multiplier: f64, entry: &Mechanism| {
        let exponent = (1.0 / (noise_multiplier * noise_multiplier)).min(LARGEST_EXPONENT);
        entry.steps as f64 * entry.sampling.rate().powi(2) * libm::expm1(exponent)
    };
    let mut steps = merged(history);
    let whole: f64 = steps.iter().map(|entry| contribution(entry.noise_multiplier, entry)).sum();
    let most = EXCESS / BUCKETS * whole;
    // For each sampling, the last bucket and by how much it exceeds its steps.
    let mut buckets: Vec<(Mechanism, f64)> = Vec::new();
    let mut joined = Vec::new();
    for entry in steps.drain(..) {
        match buckets.iter_mut().find(|(bucket, _)| bucket.sampling == entry.sampling) {
            None => buckets.push((entry, 0.0)),
            Some((bucket, excess)) => {
                let noise = bucket.noise_multiplier;
                *excess += contribution(noise, &entry) - contribution(entry.noise_multiplier, &entry);
                if *excess <= most && entry.noise_multiplier <= WIDEST * noise {
                    bucket.steps = bucket.steps.saturating_add(entry.steps);
                } else {
                    joined.push(std::mem::replace(bucket, entry));
                    *excess = 0.0;
                }
            }
        }
    }
    joined.extend(buckets.into_iter().map(|(bucket, _)| bucket));
    merged(&joined)
}

/// Bounds the exponent of a contribution.
const LARGEST_EXPONENT: f64 = 50.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::sampling::Sampling;

    fn step(noise_multiplier: f64, rate: f64, steps: u64) -> Mechanism {
        Mechanism { noise_multiplier, sampling: Sampling::Poisson { rate }, steps }
    }

    #[test]
    fn equal_steps_become_one() {
        let history = [step(2.0, 0.1, 1), step(1.0, 0.1, 5), step(2.0, 0.2, 1), step(2.0, 0.1, 3), step(0.0, 0.0, 9)];
        assert_eq!(merged(&history), [step(1.0, 0.1, 5), step(2.0, 0.1, 4), step(2.0, 0.2, 1)]);
        assert_eq!(merged(&[step(1.0, 0.1, 0)]), []);
        assert_eq!(merged(&[step(1.0, 0.1, u64::MAX), step(1.0, 0.1, 1)]), [step(1.0, 0.1, u64::MAX)]);
    }

    #[test]
    fn similar_steps_are_joined_at_the_least_noise() {
        let history: Vec<Mechanism> = (0..14_062).map(|i| step(64.0 * 0.9997_f64.powi(i), 0.01, 1)).collect();
        let history = [history, vec![step(1.0, 0.5, 3)]].concat();
        let joined = joined(&history);
        assert!((50..=400).contains(&joined.len()), "{}", joined.len());
        // Steps of at most any noise become no fewer.
        let below = |steps: &[Mechanism], noise: f64| {
            steps.iter().filter(|s| s.noise_multiplier <= noise).map(|s| s.steps).sum::<u64>()
        };
        for entry in &joined {
            assert!(history.iter().any(|step| step.noise_multiplier == entry.noise_multiplier));
            assert!(below(&joined, entry.noise_multiplier) >= below(&history, entry.noise_multiplier));
        }
        assert_eq!(below(&joined, 100.0), 14_065);
        let whole = |steps: &[Mechanism]| -> f64 {
            steps
                .iter()
                .map(|s| s.steps as f64 * s.sampling.rate().powi(2) * (1.0 / s.noise_multiplier.powi(2)).exp_m1())
                .sum()
        };
        assert!(whole(&joined) / whole(&history) < 1.02, "{}", whole(&joined) / whole(&history));
    }

    #[test]
    fn noise_is_rounded_down_and_by_little() {
        let history: Vec<Mechanism> = (0..1000).map(|i| step(2.0 * 0.999_f64.powi(i), 0.1, 1)).collect();
        let rounded = rounded(&history, 0.01);
        assert!((90..=110).contains(&rounded.len()), "{}", rounded.len());
        assert_eq!(rounded.iter().map(|entry| entry.steps).sum::<u64>(), 1000);
        let noise = |steps: &[Mechanism]| steps.iter().map(|s| s.noise_multiplier * s.steps as f64).sum::<f64>();
        let ratio = noise(&rounded) / noise(&history);
        assert!(ratio < 1.0 && ratio > 0.99, "{ratio}");
    }
}
