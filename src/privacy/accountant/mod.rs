//! Accountants: how much privacy the steps taken have cost.
//!
//! An accountant is one file with one [`Accountant`], and one line in [`ACCOUNTANTS`].

mod logspace;
mod rdp;

use std::fmt;

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use rdp::Rdp;

/// Steps of the Poisson-subsampled Gaussian mechanism that share their parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubsampledGaussian {
    /// The noise's standard deviation as a multiple σ ≥ 0 of the sensitivity.
    pub noise_multiplier: f64,
    /// The probability q in `[0, 1]` of each record entering a step.
    pub sample_rate: f64,
    /// How many steps.
    pub steps: u64,
}

/// Bounds the privacy loss of a sequence of steps under add-or-remove-one adjacency.
pub trait Accountant: fmt::Debug + Send + Sync {
    /// The name on the command line and in certificates.
    fn name(&self) -> &'static str;

    /// An upper bound on the ε for which the composition of `history` is (ε, δ)-private; infinite
    /// where there is none, 0 for no steps.
    ///
    /// # Errors
    /// Every number in `history` that is out of its range, and δ outside (0, 1).
    fn epsilon(&self, history: &[SubsampledGaussian], delta: f64) -> Result<f64, InvalidInput>;

    /// An upper bound in `[0, 1]` on the δ for which the composition of `history` is (ε, δ)-private.
    ///
    /// # Errors
    /// Every number in `history` that is out of its range, and a negative or non-finite ε.
    fn delta(&self, history: &[SubsampledGaussian], epsilon: f64) -> Result<f64, InvalidInput>;
}

/// Every accountant there is. The first is the default.
pub static ACCOUNTANTS: &[&dyn Accountant] = &[&Rdp];

/// The accountant called `name`.
///
/// # Errors
/// When there is none of that name.
pub fn by_name(name: &str) -> Result<&'static dyn Accountant, UnknownAccountant> {
    let found = ACCOUNTANTS.iter().find(|accountant| accountant.name() == name);
    found.copied().ok_or_else(|| UnknownAccountant { name: name.to_owned() })
}

/// A name that no accountant has.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
#[error("there is no accountant called `{name}`")]
#[diagnostic(
    code(dpc::privacy::accountant),
    help("the accountants are: {}", ACCOUNTANTS.iter().map(|a| a.name()).collect::<Vec<_>>().join(", "))
)]
pub struct UnknownAccountant {
    name: String,
}

/// Numbers that no accountant can work with.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
#[error("the privacy loss cannot be worked out")]
#[diagnostic(code(dpc::privacy::accounting))]
pub struct InvalidInput {
    /// Everything that is wrong.
    #[related]
    pub problems: Vec<InputProblem>,
}

/// One number out of its range.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum InputProblem {
    #[error("the noise multiplier is {value}")]
    #[diagnostic(code(dpc::privacy::accounting::noise_multiplier), help("give a finite number of at least 0"))]
    NoiseMultiplier { value: f64 },
    #[error("the sample rate is {value}")]
    #[diagnostic(code(dpc::privacy::accounting::sample_rate), help("give a probability between 0 and 1"))]
    SampleRate { value: f64 },
    #[error("delta is {value}")]
    #[diagnostic(
        code(dpc::privacy::accounting::delta),
        help("give a number above 0 and below 1, well below one over the number of records")
    )]
    Delta { value: f64 },
    #[error("epsilon is {value}")]
    #[diagnostic(
        code(dpc::privacy::accounting::epsilon),
        help("give a finite number of at least 0; a target must be above 0")
    )]
    Epsilon { value: f64 },
}

impl InvalidInput {
    /// All of `problems` as one error, if there are any.
    pub(super) fn check(problems: Vec<InputProblem>) -> Result<(), InvalidInput> {
        if problems.is_empty() { Ok(()) } else { Err(InvalidInput { problems }) }
    }
}

/// What is wrong with a history.
pub(super) fn history_problems(history: &[SubsampledGaussian]) -> Vec<InputProblem> {
    let mut problems = Vec::new();
    for entry in history {
        let (sigma, q) = (entry.noise_multiplier, entry.sample_rate);
        if !(sigma.is_finite() && sigma >= 0.0) {
            problems.push(InputProblem::NoiseMultiplier { value: sigma });
        }
        if !(0.0..=1.0).contains(&q) {
            problems.push(InputProblem::SampleRate { value: q });
        }
    }
    problems
}

/// What is wrong with a δ.
pub(super) fn delta_problem(delta: f64) -> Option<InputProblem> {
    let valid = delta > 0.0 && delta < 1.0;
    (!valid).then_some(InputProblem::Delta { value: delta })
}

/// What is wrong with an ε.
pub(super) fn epsilon_problem(epsilon: f64) -> Option<InputProblem> {
    let valid = epsilon.is_finite() && epsilon >= 0.0;
    (!valid).then_some(InputProblem::Epsilon { value: epsilon })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_accountants_by_name() {
        assert_eq!(by_name("rdp").unwrap().name(), "rdp");
        let error = by_name("magic").unwrap_err();
        assert!(error.help().unwrap().to_string().contains("rdp"));
    }

    #[test]
    fn reports_every_bad_number() {
        let entry = |noise_multiplier, sample_rate| SubsampledGaussian { noise_multiplier, sample_rate, steps: 1 };
        let history = [entry(-1.0, 0.5), entry(1.0, 1.5), entry(f64::NAN, f64::NAN), entry(f64::INFINITY, -0.1)];
        for accountant in ACCOUNTANTS {
            let error = accountant.epsilon(&history, 0.0).unwrap_err();
            assert_eq!(error.problems.len(), 7);
            let error = accountant.delta(&history, -1.0).unwrap_err();
            assert_eq!(error.problems.len(), 7);
            for delta in [-1.0, 0.0, 1.0, f64::NAN] {
                assert!(accountant.epsilon(&[], delta).is_err());
            }
            for epsilon in [-1.0, f64::NAN, f64::INFINITY] {
                assert!(accountant.delta(&[], epsilon).is_err());
            }
        }
    }
}
