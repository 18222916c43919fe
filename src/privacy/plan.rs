//! The privacy plan: the one object that sampler, noise, divisor, accountant and certificate share.

mod problems;

use std::ops::{Deref, Range};

use serde::{Deserialize, Serialize};

use problems::problems;
pub use problems::{InvalidPlan, PlanProblem, PlanWarning};

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
mod tests;
