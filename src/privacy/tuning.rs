//! The noise of trials of which the best is chosen, for a target (ε, δ) of the choice.

use super::accountant::Selection;
use super::accountant::selection::{BestOf, Candidate};
use super::calibrate::{self, CalibrationError, Target};
use super::trials::Trials;

/// How much lower the next ε is that candidates are calibrated to, at least, where the last was too high for all of them together.
const LOWER: f64 = 1e-3;

/// For each of `candidates`, which are given with the noise of multiplier 1, the multiplier with which the best of `trials` trials among all of
/// them is (ε, δ)-private. Where each has been calibrated alone, all together may cost more, as their divergences peak at other orders: then
/// all get more noise.
///
/// # Errors
/// As [`calibrate::noise_multiplier`].
pub fn noise_multipliers(
    trials: Trials,
    target: Target,
    candidates: &[Candidate],
) -> Result<Vec<f64>, CalibrationError> {
    let mut epsilon = target.epsilon;
    loop {
        let mut known: Vec<(&Candidate, f64)> = Vec::new();
        let mut found = Vec::new();
        for candidate in candidates {
            let same = known.iter().find(|(other, _)| *other == candidate);
            let multiplier = match same {
                Some(&(_, multiplier)) => multiplier,
                None => {
                    let Candidate { steps, numbers, .. } = *candidate;
                    let accountant = BestOf { trials, steps, numbers };
                    let scaled = |factor: f64| candidate.scaled(factor).history;
                    calibrate::noise_multiplier(&accountant, Target { epsilon, ..target }, scaled)?
                }
            };
            known.push((candidate, multiplier));
            found.push(multiplier);
        }
        let scaled = candidates.iter().zip(&found).map(|(candidate, &multiplier)| candidate.scaled(multiplier));
        let reached = Selection::new(trials, scaled).epsilon(target.adjacency, target.delta)?;
        if reached <= target.epsilon {
            return Ok(found);
        }
        epsilon *= (target.epsilon / reached).min(1.0 - LOWER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::accountant::Mechanism;
    use crate::privacy::adjacency::Adjacency;
    use crate::privacy::sampling::Sampling;

    fn candidate(rate: f64, steps: u64) -> Candidate {
        let sampling = Sampling::Poisson { rate };
        Candidate { history: vec![Mechanism { noise_multiplier: 1.0, sampling, steps }], steps, numbers: Some(1000) }
    }

    fn reached(trials: Trials, target: Target, candidates: &[Candidate], found: &[f64]) -> f64 {
        let scaled = candidates.iter().zip(found).map(|(candidate, &multiplier)| candidate.scaled(multiplier));
        Selection::new(trials, scaled).epsilon(target.adjacency, target.delta).unwrap()
    }

    #[test]
    fn the_choice_meets_its_target_and_no_more_noise_is_added_than_that_takes() {
        let target = Target { epsilon: 3.0, delta: 1e-5, adjacency: Adjacency::AddRemove };
        let trials: Trials = "20".parse().unwrap();
        let alike = [candidate(0.01, 1000), candidate(0.01, 1000)];
        let found = noise_multipliers(trials, target, &alike).unwrap();
        assert_eq!(found[0], found[1]);
        let epsilon = reached(trials, target, &alike, &found);
        assert!(epsilon <= 3.0 && epsilon > 2.98, "{epsilon}");
        // Few steps of many records, and many steps of few.
        let unlike = [candidate(0.5, 10), candidate(0.01, 1000), candidate(0.001, 100_000)];
        let found = noise_multipliers(trials, target, &unlike).unwrap();
        let epsilon = reached(trials, target, &unlike, &found);
        assert!(epsilon <= 3.0 && epsilon > 2.8, "{epsilon} {found:?}");
    }

    #[test]
    fn no_noise_is_enough_for_less_than_the_number_of_trials_costs() {
        let target = Target { epsilon: 1e-3, delta: 1e-5, adjacency: Adjacency::AddRemove };
        assert!(noise_multipliers("20".parse().unwrap(), target, &[candidate(0.01, 10)]).is_err());
    }
}
