//! The noise multiplier for a target (ε, δ).

use miette::Diagnostic;
use thiserror::Error;

use super::accountant::{Accountant, InputProblem, InvalidInput, Mechanism, delta_problem, epsilon_problem};
use super::adjacency::Adjacency;
use super::sampling::Sampling;

/// What a calibration aims at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// The largest ε allowed, above 0.
    pub epsilon: f64,
    /// The δ, in (0, 1).
    pub delta: f64,
    /// How each batch is drawn, at a rate above 0.
    pub sampling: Sampling,
    /// Which datasets count as neighbours.
    pub adjacency: Adjacency,
    /// How many steps, at least one.
    pub steps: u64,
}

/// The search ends when σ is known to this relative accuracy.
const TOLERANCE: f64 = 1e-4;
const SMALLEST: f64 = 1e-3;
const LARGEST: f64 = 1e7;

/// The smallest noise multiplier, to a relative 1e-4 and on the safe side, with which `accountant`
/// allows `target`: its ε is at most the target's. No less than 1e-3 is returned, however large the
/// target.
///
/// # Errors
/// Every number out of its range, or a target that not even σ = 1e7 meets.
pub fn noise_multiplier(accountant: &dyn Accountant, target: Target) -> Result<f64, CalibrationError> {
    check(target)?;
    let epsilon = |noise_multiplier| {
        let mechanism = Mechanism { noise_multiplier, sampling: target.sampling, steps: target.steps };
        accountant.epsilon(&[mechanism], target.adjacency, target.delta)
    };
    let (mut low, mut high) = (SMALLEST, 1.0);
    if epsilon(low)? <= target.epsilon {
        return Ok(low);
    }
    while epsilon(high)? > target.epsilon {
        low = high;
        high *= 2.0;
        if high > LARGEST {
            return Err(CalibrationError::Unreachable { target: target.epsilon, reached: epsilon(LARGEST)? });
        }
    }
    while high > low * (1.0 + TOLERANCE) {
        let middle = (low * high).sqrt();
        if epsilon(middle)? <= target.epsilon {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(high)
}

fn check(target: Target) -> Result<(), CalibrationError> {
    let mut problems = Vec::new();
    problems.extend(epsilon_problem(target.epsilon));
    if target.epsilon == 0.0 {
        problems.push(InputProblem::Epsilon { value: 0.0 });
    }
    problems.extend(delta_problem(target.delta));
    if !(target.sampling.is_valid() && target.sampling.rate() > 0.0) {
        problems.push(InputProblem::Sampling { sampling: target.sampling });
    }
    InvalidInput::check(problems)?;
    if target.steps == 0 {
        return Err(CalibrationError::NoSteps);
    }
    Ok(())
}

/// No noise multiplier could be found.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum CalibrationError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Input(#[from] InvalidInput),
    #[error("there are no steps to calibrate the noise for")]
    #[diagnostic(code(dpc::privacy::calibrate::steps), help("give at least one step or epoch"))]
    NoSteps,
    #[error("epsilon {target} cannot be reached: with a noise multiplier of {LARGEST:e} it is still {reached}")]
    #[diagnostic(
        code(dpc::privacy::calibrate::unreachable),
        help("raise epsilon or delta, or take fewer steps or a lower sample rate")
    )]
    Unreachable { target: f64, reached: f64 },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::accountant::Rdp;

    const TARGET: Target = Target {
        epsilon: 3.0,
        delta: 1e-5,
        sampling: Sampling::Poisson { rate: 0.01 },
        adjacency: Adjacency::AddRemove,
        steps: 1000,
    };

    fn epsilon(target: Target, noise_multiplier: f64) -> f64 {
        let mechanism = Mechanism { noise_multiplier, sampling: target.sampling, steps: target.steps };
        Rdp.epsilon(&[mechanism], target.adjacency, target.delta).unwrap()
    }

    #[test]
    fn ends_on_the_safe_side_and_close() {
        for goal in [0.05, 0.3, 1.0, 3.0, 8.0, 100.0, 1e4] {
            for (rate, steps) in [(1.0, 1), (0.2, 10), (0.01, 5000), (1e-4, 100_000)] {
                let target = Target { epsilon: goal, sampling: Sampling::Poisson { rate }, steps, ..TARGET };
                let sigma = noise_multiplier(&Rdp, target).unwrap();
                assert!(epsilon(target, sigma) <= goal, "{target:?}");
                assert!(epsilon(target, sigma * (1.0 - 1e-3)) > goal, "{target:?}");
            }
        }
    }

    #[test]
    fn a_target_out_of_reach_says_what_was_reached() {
        let target = Target {
            epsilon: 0.1,
            delta: 1e-300,
            sampling: Sampling::Poisson { rate: 1.0 },
            steps: u64::MAX,
            ..TARGET
        };
        let error = noise_multiplier(&Rdp, target).unwrap_err();
        assert!(matches!(error, CalibrationError::Unreachable { reached, .. } if reached > 0.1));
    }

    #[test]
    fn an_enormous_target_gets_the_smallest_noise() {
        let target = Target { epsilon: 1e300, ..TARGET };
        assert_eq!(noise_multiplier(&Rdp, target), Ok(SMALLEST));
    }

    #[test]
    fn refuses_bad_numbers_all_at_once() {
        let target = Target { epsilon: 0.0, delta: 2.0, sampling: Sampling::Poisson { rate: 0.0 }, steps: 1, ..TARGET };
        match noise_multiplier(&Rdp, target).unwrap_err() {
            CalibrationError::Input(error) => assert_eq!(error.problems.len(), 3),
            other => panic!("{other}"),
        }
        let target = Target { steps: 0, ..TARGET };
        assert_eq!(noise_multiplier(&Rdp, target), Err(CalibrationError::NoSteps));
    }
}
