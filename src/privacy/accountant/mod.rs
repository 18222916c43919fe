//! Accountants: how much privacy the steps taken have cost.
//!
//! An accountant is one file with one [`Accountant`], and one line in [`ACCOUNTANTS`].

mod gaussian;
mod gdp;
mod history;
mod logspace;
mod pld;
mod prv;
mod rdp;
pub mod selection;

use std::fmt;

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::adjacency::Adjacency;
use super::sampling::Sampling;
pub use gdp::Gdp;
pub use pld::Pld;
pub use prv::Prv;
pub use rdp::Rdp;
pub use selection::Selection;

/// Steps of the subsampled Gaussian mechanism that share their parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mechanism {
    /// The noise's standard deviation as a multiple σ ≥ 0 of what adding or removing one unit can do to
    /// the sum, whatever the adjacency.
    pub noise_multiplier: f64,
    /// How each batch is drawn.
    #[serde(flatten)]
    pub sampling: Sampling,
    /// How many steps; for [`Sampling::Shuffle`], how many epochs.
    pub steps: u64,
}

/// Bounds the privacy loss of a sequence of steps.
pub trait Accountant: fmt::Debug + Send + Sync {
    /// The name on the command line and in certificates.
    fn name(&self) -> &'static str;

    /// Whether its answers are upper bounds. Only then may a certificate rest on them.
    fn is_bound(&self) -> bool {
        true
    }

    /// A faster accountant whose answers are near, for searches to start from.
    fn nearby(&self) -> Option<&'static dyn Accountant> {
        Some(&Gdp)
    }

    /// Whether it has an answer for `sampling` under `adjacency`.
    fn supports(&self, sampling: Sampling, adjacency: Adjacency) -> bool;

    /// An upper bound on the ε for which the composition of `history` is (ε, δ)-private under
    /// `adjacency`; infinite where there is none, 0 for no steps.
    ///
    /// # Errors
    /// Every number in `history` that is out of its range, every kind of sampling that the accountant
    /// has no bound for under `adjacency`, and δ outside (0, 1).
    fn epsilon(&self, history: &[Mechanism], adjacency: Adjacency, delta: f64) -> Result<f64, InvalidInput>;

    /// An upper bound in `[0, 1]` on the δ for which the composition of `history` is (ε, δ)-private
    /// under `adjacency`.
    ///
    /// # Errors
    /// As [`Accountant::epsilon`], and a negative or non-finite ε.
    fn delta(&self, history: &[Mechanism], adjacency: Adjacency, epsilon: f64) -> Result<f64, InvalidInput>;
}

/// Every accountant there is. The first is the default.
pub static ACCOUNTANTS: &[&dyn Accountant] = &[&Pld, &Rdp, &Prv, &Gdp];

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
    #[error("the sampling is {sampling}")]
    #[diagnostic(
        code(dpc::privacy::accounting::sampling),
        help("give a rate between 0 and 1, and a batch of at least 1 and at most all units")
    )]
    Sampling { sampling: Sampling },
    #[error("the {accountant} accountant has no answer for {} sampling under {adjacency} adjacency", sampling.name())]
    #[diagnostic(code(dpc::privacy::accounting::unsupported), help("{}", alternatives(*sampling, *adjacency)))]
    Unsupported { accountant: &'static str, sampling: Sampling, adjacency: Adjacency },
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
    #[error("the numbers of trials are not distributed by any distribution that there is")]
    #[diagnostic(
        code(dpc::privacy::accounting::trials),
        help("it was changed after it was written; restore it from a copy")
    )]
    Trials,
    #[error("a selection is among no candidates at all")]
    #[diagnostic(
        code(dpc::privacy::accounting::candidates),
        help("it was changed after it was written; restore it from a copy")
    )]
    NoCandidate,
}

impl InvalidInput {
    /// All of `problems` as one error, if there are any.
    pub(super) fn check(problems: Vec<InputProblem>) -> Result<(), InvalidInput> {
        if problems.is_empty() { Ok(()) } else { Err(InvalidInput { problems }) }
    }
}

/// Which accountants have a bound for `sampling`.
fn alternatives(sampling: Sampling, adjacency: Adjacency) -> String {
    let bounds = |adjacency| {
        let able = ACCOUNTANTS.iter().filter(|a| a.is_bound() && a.supports(sampling, adjacency));
        able.map(|a| a.name()).collect::<Vec<_>>().join(", ")
    };
    match (bounds(adjacency), bounds(Adjacency::ReplaceOne)) {
        (here, _) if !here.is_empty() => format!("accountants with a bound for it: {here}"),
        (_, replaced) if !replaced.is_empty() => format!(
            "adding a unit changes more than one batch, and nothing bounds that; under replace-one adjacency \
             there are bounds by: {replaced}"
        ),
        _ => "no accountant has a bound for it; sample with poisson".to_owned(),
    }
}

/// Checks what `accountant` is asked: the history, and the ε or δ by its problem, if it has one.
fn check(
    accountant: &dyn Accountant,
    history: &[Mechanism],
    adjacency: Adjacency,
    problem: impl IntoIterator<Item = InputProblem>,
) -> Result<(), InvalidInput> {
    let mut problems = Vec::new();
    for entry in history {
        let sigma = entry.noise_multiplier;
        if !(sigma.is_finite() && sigma >= 0.0) {
            problems.push(InputProblem::NoiseMultiplier { value: sigma });
        }
        match entry.sampling {
            sampling if sampling.is_valid() => {}
            Sampling::Poisson { rate } => problems.push(InputProblem::SampleRate { value: rate }),
            sampling => problems.push(InputProblem::Sampling { sampling }),
        }
        if !accountant.supports(entry.sampling, adjacency) {
            let unsupported =
                InputProblem::Unsupported { accountant: accountant.name(), sampling: entry.sampling, adjacency };
            if !problems.contains(&unsupported) {
                problems.push(unsupported);
            }
        }
    }
    problems.extend(problem);
    InvalidInput::check(problems)
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

    const ADDED: Adjacency = Adjacency::AddRemove;

    #[test]
    fn finds_accountants_by_name() {
        assert_eq!(by_name("rdp").unwrap().name(), "rdp");
        let error = by_name("magic").unwrap_err();
        assert!(error.help().unwrap().to_string().contains("rdp"));
    }

    #[test]
    fn reports_every_bad_number() {
        let entry =
            |noise_multiplier, rate| Mechanism { noise_multiplier, sampling: Sampling::Poisson { rate }, steps: 1 };
        let history = [entry(-1.0, 0.5), entry(1.0, 1.5), entry(f64::NAN, f64::NAN), entry(f64::INFINITY, -0.1)];
        for accountant in ACCOUNTANTS {
            let error = accountant.epsilon(&history, ADDED, 0.0).unwrap_err();
            assert_eq!(error.problems.len(), 7);
            let error = accountant.delta(&history, ADDED, -1.0).unwrap_err();
            assert_eq!(error.problems.len(), 7);
            for delta in [-1.0, 0.0, 1.0, f64::NAN] {
                assert!(accountant.epsilon(&[], ADDED, delta).is_err());
            }
            for epsilon in [-1.0, f64::NAN, f64::INFINITY] {
                assert!(accountant.delta(&[], ADDED, epsilon).is_err());
            }
        }
    }
}
