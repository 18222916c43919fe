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
