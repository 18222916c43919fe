//! What a privacy plan must not be, and how that is said.

use miette::Diagnostic;
use thiserror::Error;

use super::{PlanSpec, divide};
use crate::privacy::adjacency::Adjacency;
use crate::privacy::correlation::Strategy;
use crate::privacy::sampling::Sampling;
use crate::privacy::schedule::Schedule;

/// Everything that is wrong with a plan.
pub(super) fn problems(spec: &PlanSpec) -> Vec<PlanProblem> {
    let mut problems = Vec::new();
    if !(spec.sampling.is_valid() && spec.sampling.rate() > 0.0) {
        problems.push(PlanProblem::Sampling { sampling: spec.sampling });
    }
    if !(spec.expected_batch > 0.0 && spec.expected_batch.is_finite()) {
        problems.push(PlanProblem::ExpectedBatch { value: spec.expected_batch });
    }
    let rate = spec.sampling.rate();
    // That of a cycle is a quotient of a product.
    let off = if matches!(spec.sampling, Sampling::Cyclic { .. }) { 1e-12 * rate } else { 0.0 };
    let stated = |units: u64| (rate - spec.expected_batch / units as f64).abs() <= off;
    if let Some(units) = spec.public_units
        && !stated(units)
    {
        problems.push(PlanProblem::PublicRate { rate, expected_batch: spec.expected_batch, units });
    }
    problems.extend(correlation_problems(spec));
    if spec.views == 0 {
        problems.push(PlanProblem::Views);
    }
    if spec.sampling.units().is_some() && spec.public_units != spec.sampling.units() {
        problems.push(PlanProblem::PublicUnits { sampling: spec.sampling.name() });
    }
    let whole_dataset = matches!(spec.sampling, Sampling::FixedSize { .. } | Sampling::Shuffle { .. });
    if whole_dataset && spec.adjacency == Adjacency::AddRemove && !spec.non_private {
        problems.push(PlanProblem::Adjacency { sampling: spec.sampling.name() });
    }
    if !(spec.noise_multiplier >= 0.0 && spec.noise_multiplier.is_finite()) {
        problems.push(PlanProblem::NoiseMultiplier { value: spec.noise_multiplier });
    }
    let loudest = spec.noise_schedule.runs(0..spec.planned_steps).into_iter().map(|(factor, _)| factor);
    let loudest = spec.noise_multiplier * loudest.fold(0.0, f64::max);
    if divide(spec, loudest).is_none() {
        problems.push(PlanProblem::NothingLeft { noise_multiplier: loudest });
    }
    match (spec.non_private, spec.delta) {
        (false, Some(delta)) if delta > 0.0 && delta < 1.0 => {}
        (false, delta) => problems.push(PlanProblem::Delta { value: delta }),
        (true, None) if spec.noise_multiplier == 0.0 && spec.estimates.is_none() => {}
        (true, _) => problems.push(PlanProblem::NonPrivate),
    }
    problems
}

/// Why noise cannot be correlated, or sampling cyclic, with the rest of `spec`: what there is no proof for.
fn correlation_problems(spec: &PlanSpec) -> Vec<PlanProblem> {
    let problem = |why: String| PlanProblem::Correlation { why };
    let Some(strategy) = &spec.correlation else {
        let cyclic = matches!(spec.sampling, Sampling::Cyclic { .. });
        return if cyclic {
            vec![problem("cyclic sampling is accounted for with it only".to_owned())]
        } else {
            Vec::new()
        };
    };
    let mut problems = Vec::new();
    let mut refuse = |refused: bool, why: &str| {
        if refused {
            problems.push(problem(why.to_owned()));
        }
    };
    let correlation = strategy.correlation();
    refuse(spec.non_private, "training without privacy has no noise");
    refuse(!strategy.is_valid(), "its matrix has numbers out of their range");
    refuse(spec.grid.is_none() && !spec.non_private, "it takes sums and noise of integers, which --noise float is not");
    refuse(spec.noise_schedule != Schedule::Constant, "the noise multiplier must not change over the steps");
    refuse(spec.clip_schedule != Schedule::Constant, "the clip bounds must not change over the steps");
    refuse(spec.clip.adaptive().is_some(), "adaptive clip bounds change over the steps");
    refuse(spec.estimates.is_some(), "estimates of metrics (--dp-metrics) are not accounted for with it");
    match (spec.sampling, strategy) {
        (Sampling::Cyclic { parts, .. }, Strategy::Tree { leaves }) => {
            refuse(parts != *leaves, "the tree is not over the parts of a cycle");
        }
        (Sampling::Cyclic { parts, .. }, Strategy::Banded { .. }) => {
            let least = correlation.least_parts();
            let why = format!("{correlation} takes a cycle of at least {least} parts, and there are {parts}");
            refuse(parts < least, &why);
        }
        (sampling, _) => refuse(true, &format!("it takes cyclic sampling, and not {}", sampling.name())),
    }
    problems
}

/// A plan that cannot be run.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
#[error("the privacy plan is not valid ({})", list(problems))]
#[diagnostic(code(dpc::privacy::plan))]
pub struct InvalidPlan {
    /// Everything that is wrong with it.
    #[related]
    pub problems: Vec<PlanProblem>,
}

fn list(problems: &[PlanProblem]) -> String {
    let texts: Vec<String> = problems.iter().map(PlanProblem::to_string).collect();
    texts.join("; ")
}

/// One thing wrong with a plan.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum PlanProblem {
    #[error("the sampling is {sampling}")]
    #[diagnostic(
        code(dpc::privacy::sampling),
        help(
            "give a probability above 0 of a unit entering a batch, or an expected batch size no larger than the dataset"
        )
    )]
    Sampling { sampling: Sampling },
    #[error("noise cannot be correlated: {why}")]
    #[diagnostic(
        code(dpc::privacy::correlation),
        help(
            "correlated noise goes with exact noise, one noise multiplier and fixed clip bounds, and with poisson or cyclic \
             sampling; leave the other out, or --noise-correlation"
        )
    )]
    Correlation { why: String },
    #[error("a record has no view")]
    #[diagnostic(code(dpc::privacy::views), help("give at least one view of each record"))]
    Views,
    #[error("{sampling} sampling needs the number of units to be public")]
    #[diagnostic(code(dpc::privacy::public_units), help("state the dataset's size that the sampling is for"))]
    PublicUnits { sampling: &'static str },
    #[error("{sampling} sampling has no guarantee under add-remove adjacency")]
    #[diagnostic(
        code(dpc::privacy::adjacency),
        help("give --adjacency replace-one, which keeps the number of units, or sample with poisson")
    )]
    Adjacency { sampling: &'static str },
    #[error("the expected batch size is {value}, not a finite number above 0")]
    #[diagnostic(code(dpc::privacy::expected_batch), help("give the number of records that a batch has on average"))]
    ExpectedBatch { value: f64 },
    #[error("the sample rate {rate} is not {expected_batch}/{units}")]
    #[diagnostic(
        code(dpc::privacy::public_rate),
        help("state the dataset's size only where the sample rate was worked out from it")
    )]
    PublicRate { rate: f64, expected_batch: f64, units: u64 },
    #[error("the noise multiplier is {value}, not a finite number of at least 0")]
    #[diagnostic(
        code(dpc::privacy::noise_multiplier),
        help("give the noise's standard deviation as a multiple of the clip bound")
    )]
    NoiseMultiplier { value: f64 },
    #[error("a step of noise multiplier {noise_multiplier} has nothing left for the gradient")]
    #[diagnostic(
        code(dpc::privacy::nothing_left),
        help(
            "the noisy counts of adaptive clipping and the estimates use it up: raise count-noise or lower their share"
        )
    )]
    NothingLeft { noise_multiplier: f64 },
    #[error("delta is {}, outside (0, 1)", .value.map_or("missing".to_owned(), |v| v.to_string()))]
    #[diagnostic(
        code(dpc::privacy::delta),
        help("give a delta well below one over the number of records, for example 1e-5")
    )]
    Delta { value: Option<f64> },
    #[error("non-private training has no noise, no delta and no estimates")]
    #[diagnostic(
        code(dpc::privacy::non_private),
        help("leave out noise multiplier, epsilon, delta and estimates, or leave out the non-private switch")
    )]
    NonPrivate,
}

/// Something that a plan's user should know before a run.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum PlanWarning {
    #[error("delta is {delta}, more than one over the number of units")]
    #[diagnostic(
        code(dpc::privacy::large_delta),
        severity(warning),
        help("a mechanism that publishes one unit at random would be allowed; take a smaller delta")
    )]
    LargeDelta { delta: f64 },
    #[error("the plan states {stated} units, the data has {units}")]
    #[diagnostic(
        code(dpc::privacy::unit_count),
        severity(warning),
        help("the sample rate stays as planned; batches will be larger or smaller than expected")
    )]
    UnitCount { stated: u64, units: u64 },
}
