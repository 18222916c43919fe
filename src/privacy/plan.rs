//! The privacy plan: the one object that sampler, noise, divisor, accountant and certificate share.

use std::ops::{Deref, Range};

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::accountant::Mechanism;
use super::adjacency::{Adjacency, Unit};
use super::clipping::ClipRule;
use super::correlation::Strategy;
use super::correlation::participation::participations;
use super::grid::Grid;
use super::release::{Estimates, Multipliers};
use super::sampling::Sampling;
use super::schedule::Schedule;

/// What a user asks for; [`PrivacyPlan::new`] checks it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanSpec {
    /// How logical batches are drawn.
    #[serde(flatten)]
    pub sampling: Sampling,
    /// The number n of units in the dataset, if anything above was worked out from it. It is then public.
    pub public_units: Option<u64>,
    /// The expected batch size L in units, by which every noisy sum is divided.
    pub expected_batch: f64,
    /// The noise multiplier σ of a whole step: the standard deviation of its noise as a multiple of the
    /// sensitivity.
    pub noise_multiplier: f64,
    /// The ε that σ was worked out for, if it was. No step is taken that would exceed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_epsilon: Option<f64>,
    /// How σ changes over the steps.
    pub noise_schedule: Schedule,
    /// How the noise of steps is correlated; independent if there is none. σ is then the noise over what one participation
    /// moves what the noise is added to.
    #[serde(default, rename = "noise_correlation", skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Strategy>,
    /// The clip rule, which gives the sensitivity.
    pub clip: ClipRule,
    /// The number K of clip groups that the rule makes of the model's parameters.
    pub clip_groups: usize,
    /// The grid of the integers that are summed; none where sums and noise are of floats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<Grid>,
    /// How the clip bounds change over the steps.
    pub clip_schedule: Schedule,
    /// Estimates of batch size and loss that each step releases too.
    pub estimates: Option<Estimates>,
    /// The δ of the guarantee; none for non-private training.
    pub delta: Option<f64>,
    /// How many logical steps are to be taken.
    pub planned_steps: u64,
    /// Which datasets count as neighbours.
    pub adjacency: Adjacency,
    /// What one change to a dataset is.
    pub unit: Unit,
    /// How many random views of a record there are, whose mean gradient is clipped once.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub views: u64,
    /// A seed that fixes sampling and noise for tests. Nothing is then guaranteed.
    pub insecure_seed: Option<u64>,
    /// Training without noise and without any guarantee.
    pub non_private: bool,
}

fn one() -> u64 {
    1
}

fn is_one(views: &u64) -> bool {
    *views == 1
}

impl PlanSpec {
    /// One step without noise, for records under add-or-remove-one adjacency; the other numbers are for
    /// the caller to set.
    pub fn new(sampling: Sampling, expected_batch: f64, clip: ClipRule) -> PlanSpec {
        PlanSpec {
            sampling,
            public_units: sampling.units(),
            expected_batch,
            noise_multiplier: 0.0,
            target_epsilon: None,
            noise_schedule: Schedule::Constant,
            correlation: None,
            clip,
            clip_groups: 1,
            grid: None,
            clip_schedule: Schedule::Constant,
            estimates: None,
            delta: None,
            planned_steps: 1,
            adjacency: Adjacency::AddRemove,
            unit: Unit::Record,
            views: 1,
            insecure_seed: None,
            non_private: false,
        }
    }
}

/// A checked plan. Its numbers can be read ([`Deref`] to [`PlanSpec`]) and never changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "PlanSpec", into = "PlanSpec")]
pub struct PrivacyPlan(PlanSpec);

impl PrivacyPlan {
    /// Checks `spec`.
    ///
    /// # Errors
    /// Every number that is out of its range, at once.
    pub fn new(spec: PlanSpec) -> Result<PrivacyPlan, InvalidPlan> {
        let problems = problems(&spec);
        if problems.is_empty() { Ok(PrivacyPlan(spec)) } else { Err(InvalidPlan { problems }) }
    }

    /// The constant by which every noisy sum is divided: the expected batch size L.
    pub fn divisor(&self) -> f64 {
        self.expected_batch
    }

    /// Whether what is clipped as one is the mean gradient of several rows: of a unit's records, or of a record's views.
    pub fn clips_means(&self) -> bool {
        !self.non_private && (self.unit == Unit::Group || self.views > 1)
    }

    /// The probability with which a unit enters a logical batch.
    pub fn rate(&self) -> f64 {
        self.sampling.rate()
    }

    /// σ of step number `step`, counted from 0.
    pub fn noise_multiplier_at(&self, step: u64) -> f64 {
        self.noise_multiplier * self.noise_schedule.at(step)
    }

    /// How the noise of `step` is divided between the gradient and what else the step releases.
    pub fn multipliers(&self, step: u64) -> Multipliers {
        let divided = divide(self, self.noise_multiplier_at(step));
        divided.expect("a plan is checked to leave a share for the gradient in every step")
    }

    /// The integers that a step releases: sums, the counts of adaptive bounds, and estimates; none where sums are of floats.
    pub fn released_numbers(&self) -> Option<u64> {
        let beside = (self.clip_groups + Estimates::COUNT) as u64;
        self.grid.as_ref().map(|grid| grid.elements + beside)
    }

    /// What step number `step` is to an accountant.
    pub fn mechanism(&self, step: u64) -> Mechanism {
        let sampling = self.sampling.participation();
        Mechanism { noise_multiplier: self.noise_multiplier_at(step), sampling, steps: 1 }
    }

    /// What the planned steps from number `step` on, up to and without `end`, are to an accountant.
    pub fn planned(&self, steps: Range<u64>) -> Vec<Mechanism> {
        match &self.correlation {
            Some(strategy) => correlated(self.noise_multiplier, strategy, self.sampling, &[steps]),
            None => planned(self.noise_multiplier, &self.noise_schedule, self.sampling, steps),
        }
    }

    /// What should be said about this plan before it is run on `units` units. Their number is private
    /// unless the plan states it, so the answer is for the screen and not for files.
    pub fn warnings(&self, units: u64) -> Vec<PlanWarning> {
        let mut warnings = Vec::new();
        if let Some(delta) = self.delta
            && units > 0
            && delta * units as f64 > 1.0
        {
            warnings.push(PlanWarning::LargeDelta { delta });
        }
        if let Some(stated) = self.public_units
            && stated != units
        {
            warnings.push(PlanWarning::UnitCount { stated, units });
        }
        warnings
    }
}

impl Deref for PrivacyPlan {
    type Target = PlanSpec;

    fn deref(&self) -> &PlanSpec {
        &self.0
    }
}

impl TryFrom<PlanSpec> for PrivacyPlan {
    type Error = InvalidPlan;

    fn try_from(spec: PlanSpec) -> Result<PrivacyPlan, InvalidPlan> {
        PrivacyPlan::new(spec)
    }
}

impl From<PrivacyPlan> for PlanSpec {
    fn from(plan: PrivacyPlan) -> PlanSpec {
        plan.0
    }
}

fn divide(spec: &PlanSpec, noise_multiplier: f64) -> Option<Multipliers> {
    let adaptive = spec.clip.adaptive();
    let counts = adaptive.map(|adaptive| adaptive.count_multiplier(spec.expected_batch, spec.clip_groups));
    Multipliers::divide(noise_multiplier, counts, spec.estimates.as_ref())
}

fn problems(spec: &PlanSpec) -> Vec<PlanProblem> {
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

/// What `sessions` of one stream of correlated noise, which each took a range of steps, are to an accountant.
pub fn correlated(
    noise_multiplier: f64,
    strategy: &Strategy,
    sampling: Sampling,
    sessions: &[Range<u64>],
) -> Vec<Mechanism> {
    let Sampling::Cyclic { rate, parts } = sampling else {
        // No plan is like that, and nothing is known of it.
        return vec![Mechanism { noise_multiplier: 0.0, sampling: Sampling::Poisson { rate: 1.0 }, steps: 1 }];
    };
    let all = participations(sessions, (rate, parts), strategy);
    all.iter().map(|found| found.mechanism(noise_multiplier, sampling)).collect()
}

/// What `steps` of noise `noise_multiplier` under `schedule` are to an accountant. Shuffled steps are charged by the
/// epoch, each at the least noise of its steps.
pub fn planned(noise_multiplier: f64, schedule: &Schedule, sampling: Sampling, steps: Range<u64>) -> Vec<Mechanism> {
    let of = |factor: f64, steps| Mechanism { noise_multiplier: noise_multiplier * factor, sampling, steps };
    let Some(epoch) = sampling.epoch() else {
        return schedule.runs(steps).into_iter().map(|(factor, steps)| of(factor, steps)).collect();
    };
    let mut planned: Vec<Mechanism> = Vec::new();
    if steps.is_empty() {
        return planned;
    }
    for number in steps.start / epoch..steps.end.div_ceil(epoch) {
        let first = number * epoch;
        let in_epoch = steps.start.max(first)..steps.end.min(first.saturating_add(epoch));
        let factors = in_epoch.map(|step| schedule.at(step));
        let charge = of(factors.fold(f64::INFINITY, f64::min), 1);
        match planned.last_mut() {
            Some(last) if last.noise_multiplier == charge.noise_multiplier => last.steps += 1,
            _ => planned.push(charge),
        }
    }
    planned
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

/// A valid plan for tests of other modules.
#[cfg(test)]
pub(crate) fn example() -> PlanSpec {
    PlanSpec {
        noise_multiplier: 1.5,
        delta: Some(1e-5),
        planned_steps: 100,
        insecure_seed: Some(1),
        ..PlanSpec::new(Sampling::Poisson { rate: 0.25 }, 64.0, ClipRule::flat(2.0).expect("2 is a bound"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDED: Sampling = Sampling::Poisson { rate: 0.25 };
    const FIXED: Sampling = Sampling::FixedSize { units: 256, batch: 64 };

    #[test]
    fn keeps_every_number_through_json() {
        let spec = PlanSpec {
            sampling: Sampling::Poisson { rate: 93.0 / 60000.0 },
            public_units: Some(60000),
            expected_batch: 93.0,
            noise_multiplier: 1.0 / 3.0,
            noise_schedule: "exponential:factor=0.999".parse().unwrap(),
            ..example()
        };
        let plan = PrivacyPlan::new(spec.clone()).unwrap();
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<PrivacyPlan>(&text).unwrap(), plan);
        assert_eq!(*plan, spec);
        assert_eq!(plan.divisor(), 93.0);
        assert_eq!(plan.multipliers(0).gradient, 1.0 / 3.0);
        assert_eq!(plan.multipliers(1).gradient, 1.0 / 3.0 * 0.999);
    }

    #[test]
    fn reports_every_problem_at_once() {
        let error = PrivacyPlan::new(PlanSpec {
            sampling: Sampling::Poisson { rate: 1.5 },
            expected_batch: 0.0,
            noise_multiplier: f64::NAN,
            delta: None,
            ..example()
        })
        .unwrap_err();
        assert_eq!(error.problems.len(), 4, "{error}");
    }

    #[test]
    fn refuses_each_number_out_of_range() {
        let rate = |rate| PlanSpec { sampling: Sampling::Poisson { rate }, ..example() };
        let fixed =
            PlanSpec { public_units: Some(256), adjacency: Adjacency::ReplaceOne, sampling: FIXED, ..example() };
        let rejected = [
            rate(0.0),
            rate(-0.1),
            rate(f64::NAN),
            PlanSpec { expected_batch: f64::INFINITY, ..example() },
            PlanSpec { noise_multiplier: -1.0, ..example() },
            PlanSpec { noise_multiplier: f64::INFINITY, ..example() },
            PlanSpec { delta: Some(0.0), ..example() },
            PlanSpec { delta: Some(1.0), ..example() },
            PlanSpec { delta: Some(f64::NAN), ..example() },
            PlanSpec { public_units: Some(255), ..example() },
            PlanSpec { public_units: Some(0), ..example() },
            PlanSpec { views: 0, ..example() },
            PlanSpec { non_private: true, ..example() },
            PlanSpec { non_private: true, delta: None, ..example() },
            PlanSpec { public_units: None, ..fixed.clone() },
            PlanSpec { adjacency: Adjacency::AddRemove, ..fixed.clone() },
            PlanSpec { sampling: Sampling::Shuffle { units: 256, batch: 257 }, ..fixed.clone() },
            PlanSpec { sampling: Sampling::TruncatedPoisson { rate: 0.25, units: 256, max_batch: 0 }, ..fixed.clone() },
        ];
        for spec in rejected {
            assert!(PrivacyPlan::new(spec.clone()).is_err(), "{spec:?}");
            let text = serde_json::to_string(&spec).unwrap();
            assert!(serde_json::from_str::<PrivacyPlan>(&text).is_err());
        }
        let accepted = [
            rate(1.0),
            PlanSpec { noise_multiplier: 0.0, ..example() },
            PlanSpec { public_units: Some(256), ..example() },
            PlanSpec { non_private: true, delta: None, noise_multiplier: 0.0, ..example() },
            PlanSpec { sampling: ADDED, ..fixed.clone() },
            fixed,
        ];
        for spec in accepted {
            assert!(PrivacyPlan::new(spec.clone()).is_ok(), "{spec:?}");
        }
    }

    #[test]
    fn loud_counts_leave_nothing_for_the_gradient() {
        let with = |clip: &str, clip_groups| {
            let plan = PrivacyPlan::new(PlanSpec { clip: clip.parse().unwrap(), clip_groups, ..example() });
            plan.map(|plan| plan.multipliers(0).gradient)
        };
        // σ = 1.5; by default s = L/(10√K) = 6.4.
        let expected = (f64::powi(1.5, -2) - f64::powi(6.4, -2)).powf(-0.5);
        assert!((with("flat:1,adaptive", 1).unwrap() - expected).abs() < 1e-12);
        assert!(with("per-layer:1,adaptive", 4).unwrap() > expected);
        assert!(with("flat:1,adaptive,count-noise=1.5", 1).is_err());
        assert_eq!(with("flat:1", 1).unwrap(), 1.5);
    }

    #[test]
    fn planned_steps_follow_the_schedule() {
        let schedule: Schedule = "table:0=2,2=1,4=3".parse().unwrap();
        let multipliers = |sampling, steps| -> Vec<(f64, u64)> {
            planned(0.5, &schedule, sampling, 0..steps).iter().map(|m| (m.noise_multiplier, m.steps)).collect()
        };
        assert_eq!(multipliers(ADDED, 7), [(1.0, 2), (0.5, 2), (1.5, 3)]);
        assert_eq!(multipliers(FIXED, 3), [(1.0, 2), (0.5, 1)]);
        let shuffle = Sampling::Shuffle { units: 10, batch: 3 };
        assert_eq!(multipliers(shuffle, 9), [(0.5, 2), (1.5, 1)]);
        assert_eq!(multipliers(shuffle, 10), [(0.5, 2), (1.5, 2)]);
        let rest = planned(0.5, &schedule, shuffle, 3..9);
        assert_eq!(rest.iter().map(|m| (m.noise_multiplier, m.steps)).collect::<Vec<_>>(), [(0.5, 1), (1.5, 1)]);
        assert_eq!(planned(0.5, &schedule, ADDED, 1..5).iter().map(|m| m.steps).collect::<Vec<_>>(), [1, 2, 1]);
        assert_eq!(planned(0.5, &schedule, ADDED, 5..5), []);
        assert_eq!(planned(0.5, &schedule, shuffle, 4..4), []);
    }

    #[test]
    fn warns_of_a_delta_that_allows_publishing_a_record() {
        let plan = PrivacyPlan::new(example()).unwrap();
        assert_eq!(plan.warnings(1000), []);
        assert_eq!(plan.warnings(200_000), [PlanWarning::LargeDelta { delta: 1e-5 }]);
    }
}
