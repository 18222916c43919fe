//! The privacy plan: the one object that sampler, noise, divisor, accountant and certificate share.

use std::fmt;
use std::ops::Deref;

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::accountant::SubsampledGaussian;
use super::clipping::ClipRule;

/// What a user asks for; [`PrivacyPlan::new`] checks it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanSpec {
    /// The probability q with which each record enters a logical batch.
    pub sample_rate: f64,
    /// The size n of the dataset, if q was worked out as L/n. It is then public.
    pub public_records: Option<u64>,
    /// The expected batch size L, by which every noisy sum is divided.
    pub expected_batch: f64,
    /// The noise's standard deviation as a multiple σ of the sensitivity.
    pub noise_multiplier: f64,
    /// The clip rule, which gives the sensitivity C.
    pub clip: ClipRule,
    /// The δ of the guarantee; none for non-private training.
    pub delta: Option<f64>,
    /// How many logical steps are to be taken.
    pub planned_steps: u64,
    /// Which datasets count as neighbours.
    pub adjacency: Adjacency,
    /// What one change to a dataset is.
    pub unit: Unit,
    /// How logical batches are drawn.
    pub sampling: Sampling,
    /// A seed that fixes sampling and noise for tests. Nothing is then guaranteed.
    pub insecure_seed: Option<u64>,
    /// Training without noise and without any guarantee.
    pub non_private: bool,
}

/// Which datasets count as neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adjacency {
    /// One unit is added or removed.
    AddRemove,
}

/// What one change to a dataset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// One record (row) of the data.
    Record,
}

/// How logical batches are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    /// Each unit independently with probability q.
    Poisson,
}

impl fmt::Display for Adjacency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Adjacency::AddRemove => "add-remove",
        })
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Record => "record",
        })
    }
}

impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Sampling::Poisson => "poisson",
        })
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

    /// The standard deviation σ·C of the noise on each element of the sum.
    pub fn noise_std(&self) -> f64 {
        self.noise_multiplier * self.clip.sensitivity()
    }

    /// What `steps` steps of this plan are to an accountant.
    pub fn mechanism(&self, steps: u64) -> SubsampledGaussian {
        SubsampledGaussian { noise_multiplier: self.noise_multiplier, sample_rate: self.sample_rate, steps }
    }

    /// What should be said about this plan before it is run on `records` records. The record count
    /// is private unless the plan states it, so the answer is for the screen and not for files.
    pub fn warnings(&self, records: u64) -> Vec<PlanWarning> {
        let mut warnings = Vec::new();
        if let Some(delta) = self.delta
            && records > 0
            && delta * records as f64 > 1.0
        {
            warnings.push(PlanWarning::LargeDelta { delta });
        }
        if let Some(stated) = self.public_records
            && stated != records
        {
            warnings.push(PlanWarning::RecordCount { stated, records });
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

fn problems(spec: &PlanSpec) -> Vec<PlanProblem> {
    let mut problems = Vec::new();
    if !(spec.sample_rate > 0.0 && spec.sample_rate <= 1.0) {
        problems.push(PlanProblem::SampleRate { value: spec.sample_rate });
    }
    if !(spec.expected_batch > 0.0 && spec.expected_batch.is_finite()) {
        problems.push(PlanProblem::ExpectedBatch { value: spec.expected_batch });
    }
    if let Some(records) = spec.public_records
        && spec.sample_rate != spec.expected_batch / records as f64
    {
        problems.push(PlanProblem::PublicRate {
            sample_rate: spec.sample_rate,
            expected_batch: spec.expected_batch,
            records,
        });
    }
    if !(spec.noise_multiplier >= 0.0 && spec.noise_multiplier.is_finite()) {
        problems.push(PlanProblem::NoiseMultiplier { value: spec.noise_multiplier });
    }
    match (spec.non_private, spec.delta) {
        (false, Some(delta)) if delta > 0.0 && delta < 1.0 => {}
        (false, delta) => problems.push(PlanProblem::Delta { value: delta }),
        (true, None) if spec.noise_multiplier == 0.0 => {}
        (true, _) => problems.push(PlanProblem::NonPrivate),
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
    #[error("the sample rate is {value}, outside (0, 1]")]
    #[diagnostic(
        code(dpc::privacy::sample_rate),
        help(
            "give the probability of a record entering a batch, or an expected batch size no larger than the dataset"
        )
    )]
    SampleRate { value: f64 },
    #[error("the expected batch size is {value}, not a finite number above 0")]
    #[diagnostic(code(dpc::privacy::expected_batch), help("give the number of records that a batch has on average"))]
    ExpectedBatch { value: f64 },
    #[error("the sample rate {sample_rate} is not {expected_batch}/{records}")]
    #[diagnostic(
        code(dpc::privacy::public_rate),
        help("state the dataset's size only where the sample rate was worked out from it")
    )]
    PublicRate { sample_rate: f64, expected_batch: f64, records: u64 },
    #[error("the noise multiplier is {value}, not a finite number of at least 0")]
    #[diagnostic(
        code(dpc::privacy::noise_multiplier),
        help("give the noise's standard deviation as a multiple of the clip bound")
    )]
    NoiseMultiplier { value: f64 },
    #[error("delta is {}, outside (0, 1)", .value.map_or("missing".to_owned(), |v| v.to_string()))]
    #[diagnostic(
        code(dpc::privacy::delta),
        help("give a delta well below one over the number of records, for example 1e-5")
    )]
    Delta { value: Option<f64> },
    #[error("non-private training has no noise and no delta")]
    #[diagnostic(
        code(dpc::privacy::non_private),
        help("leave out the noise multiplier, epsilon and delta, or leave out the non-private switch")
    )]
    NonPrivate,
}

/// Something that a plan's user should know before a run.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum PlanWarning {
    #[error("delta is {delta}, more than one over the number of records")]
    #[diagnostic(
        code(dpc::privacy::large_delta),
        severity(warning),
        help("a mechanism that publishes one record at random would be allowed; take a smaller delta")
    )]
    LargeDelta { delta: f64 },
    #[error("the plan states {stated} records, the data has {records}")]
    #[diagnostic(
        code(dpc::privacy::record_count),
        severity(warning),
        help("the sample rate stays as planned; batches will be larger or smaller than expected")
    )]
    RecordCount { stated: u64, records: u64 },
}

/// A valid plan for tests of other modules.
#[cfg(test)]
pub(super) fn example() -> PlanSpec {
    PlanSpec {
        sample_rate: 0.25,
        public_records: None,
        expected_batch: 64.0,
        noise_multiplier: 1.5,
        clip: ClipRule::Flat { c: 2.0 },
        delta: Some(1e-5),
        planned_steps: 100,
        adjacency: Adjacency::AddRemove,
        unit: Unit::Record,
        sampling: Sampling::Poisson,
        insecure_seed: Some(1),
        non_private: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_every_number_through_json() {
        let spec = PlanSpec {
            sample_rate: 93.0 / 60000.0,
            public_records: Some(60000),
            expected_batch: 93.0,
            noise_multiplier: 1.0 / 3.0,
            ..example()
        };
        let plan = PrivacyPlan::new(spec.clone()).unwrap();
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<PrivacyPlan>(&text).unwrap(), plan);
        assert_eq!(*plan, spec);
        assert_eq!(plan.divisor(), 93.0);
        assert_eq!(plan.noise_std(), 2.0 / 3.0);
    }

    #[test]
    fn reports_every_problem_at_once() {
        let error = PrivacyPlan::new(PlanSpec {
            sample_rate: 1.5,
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
        let rejected = [
            PlanSpec { sample_rate: 0.0, ..example() },
            PlanSpec { sample_rate: -0.1, ..example() },
            PlanSpec { sample_rate: f64::NAN, ..example() },
            PlanSpec { expected_batch: f64::INFINITY, ..example() },
            PlanSpec { noise_multiplier: -1.0, ..example() },
            PlanSpec { noise_multiplier: f64::INFINITY, ..example() },
            PlanSpec { delta: Some(0.0), ..example() },
            PlanSpec { delta: Some(1.0), ..example() },
            PlanSpec { delta: Some(f64::NAN), ..example() },
            PlanSpec { public_records: Some(255), ..example() },
            PlanSpec { public_records: Some(0), ..example() },
            PlanSpec { non_private: true, ..example() },
            PlanSpec { non_private: true, delta: None, ..example() },
        ];
        for spec in rejected {
            assert!(PrivacyPlan::new(spec.clone()).is_err(), "{spec:?}");
            let text = serde_json::to_string(&spec).unwrap();
            assert!(serde_json::from_str::<PrivacyPlan>(&text).is_err());
        }
        let accepted = [
            PlanSpec { sample_rate: 1.0, ..example() },
            PlanSpec { noise_multiplier: 0.0, ..example() },
            PlanSpec { public_records: Some(256), ..example() },
            PlanSpec { non_private: true, delta: None, noise_multiplier: 0.0, ..example() },
        ];
        for spec in accepted {
            assert!(PrivacyPlan::new(spec.clone()).is_ok(), "{spec:?}");
        }
    }

    #[test]
    fn warns_of_a_delta_that_allows_publishing_a_record() {
        let plan = PrivacyPlan::new(example()).unwrap();
        assert_eq!(plan.warnings(1000), []);
        assert_eq!(plan.warnings(200_000), [PlanWarning::LargeDelta { delta: 1e-5 }]);
    }
}
