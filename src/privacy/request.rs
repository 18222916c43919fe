//! What is asked of a run's privacy, and the plan that follows: ε becomes a noise multiplier.

use miette::Diagnostic;
use thiserror::Error;

use super::accountant::{ACCOUNTANTS, Accountant, InvalidInput, Mechanism};
use super::adjacency::{Adjacency, Unit};
use super::calibrate::{self, CalibrationError, Target};
use super::clipping::ClipRule;
use super::correlation::Correlation;
use super::grid::Grid;
use super::plan::{InvalidPlan, PlanSpec, PrivacyPlan, correlated, planned};
use super::release::Estimates;
use super::sampling::Sampling;
use super::schedule::Schedule;

/// A kind of sampling, before the data are known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Every unit by itself.
    Poisson,
    /// Every unit by itself, up to `most`; by default three expected batches.
    Truncated {
        /// The most units of a batch.
        most: Option<u64>,
    },
    /// Batches of one size, drawn anew for every step.
    FixedSize,
    /// Batches of one size that go through the data in a random order.
    Shuffle,
    /// Parts of the data in turn, for correlated noise; by default as many as batches make a pass.
    Cyclic {
        /// The parts of a cycle.
        parts: Option<u64>,
    },
}

impl Kind {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Poisson => "poisson",
            Kind::Truncated { .. } => "truncated-poisson",
            Kind::FixedSize => "fixed-size",
            Kind::Shuffle => "shuffle",
            Kind::Cyclic { .. } => "cyclic",
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        let unknown = || {
            format!(
                "`{text}` is no sampling; give poisson, truncated-poisson[:MOST], fixed-size, shuffle or cyclic[:PARTS]"
            )
        };
        match text.split_once(':').unwrap_or((text, "")) {
            ("poisson", "") => Ok(Kind::Poisson),
            ("truncated-poisson", "") => Ok(Kind::Truncated { most: None }),
            ("truncated-poisson", most) => match most.parse() {
                Ok(most @ 1..) => Ok(Kind::Truncated { most: Some(most) }),
                _ => Err(unknown()),
            },
            ("fixed-size", "") => Ok(Kind::FixedSize),
            ("shuffle", "") => Ok(Kind::Shuffle),
            ("cyclic", "") => Ok(Kind::Cyclic { parts: None }),
            ("cyclic", parts) => match parts.parse() {
                Ok(parts @ 1..=MOST_PARTS) => Ok(Kind::Cyclic { parts: Some(parts) }),
                _ => Err(unknown()),
            },
            _ => Err(unknown()),
        }
    }
}

/// The most parts of a cycle.
const MOST_PARTS: u64 = 1 << 24;

/// How much noise there is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// As little as keeps to this ε, with all steps that the ledger holds.
    Epsilon(f64),
    /// This multiple of the clip bound as standard deviation.
    NoiseMultiplier(f64),
    /// None, without clipping and without any guarantee.
    NonPrivate,
}

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// Expected passes over the data.
    Epochs(f64),
    /// Logical steps.
    Steps(u64),
}

/// What is asked of a run's privacy.
#[derive(Clone, Debug)]
pub struct PlanRequest {
    /// How much noise.
    pub amount: Amount,
    /// The δ of the guarantee.
    pub delta: Option<f64>,
    /// Expected number of units in a logical batch.
    pub batch: f64,
    /// How long.
    pub length: Length,
    /// Probability of each unit to enter a batch; by default `batch` over the number of units, which is public then.
    pub sample_rate: Option<f64>,
    /// How batches are drawn.
    pub sampling: Kind,
    /// Which data sets count as neighbours.
    pub adjacency: Adjacency,
    /// How the privacy loss is bounded.
    pub accountant: &'static dyn Accountant,
    /// How the noise multiplier changes.
    pub noise_schedule: Schedule,
    /// How the noise of steps is correlated; independent if it is not. Poisson sampling then is that of each of a cycle's parts: as many
    /// as there are bands, or as batches make a pass for a tree.
    pub correlation: Option<Correlation>,
    /// How the clip bounds change.
    pub clip_schedule: Schedule,
    /// Noisy estimates of batch size and loss, paid for within ε.
    pub estimates: Option<Estimates>,
    /// How many random views of a record there are, whose mean gradient is clipped once.
    pub views: u64,
    /// Fixes sampling and noise, for tests: nothing is guaranteed then.
    pub insecure_seed: Option<u64>,
}

/// A request that no plan can be made for.
#[derive(Debug, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum RequestError {
    #[error("--batch {batch} is more than the {units} {unit}s of the data")]
    #[diagnostic(code(dpc::train::batch), help("give a smaller --batch, or --sample-rate"))]
    Batch { batch: f64, units: usize, unit: Unit },

    #[error("the steps in the ledger have cost ε = {cost:.4} already, of {epsilon} in all")]
    #[diagnostic(
        code(dpc::train::spent),
        help("give a larger --epsilon; a ledger counts all runs on the same data together")
    )]
    Spent { epsilon: f64, cost: f64 },

    #[error("--batch {batch} is not a whole number")]
    #[diagnostic(code(dpc::train::whole_batch), help("batches of a fixed size hold a whole number of units"))]
    WholeBatch { batch: f64 },

    #[error("--sample-rate has no meaning for batches of a fixed size")]
    #[diagnostic(code(dpc::train::fixed_rate), help("leave it out, or sample with poisson"))]
    FixedRate,

    #[error("batches of {share} of the data are more than one of {parts} parts holds")]
    #[diagnostic(
        code(dpc::train::parts),
        help("give fewer bands or parts, at most {}, or smaller batches", most_parts(*share))
    )]
    Parts { share: f64, parts: u64 },

    #[error(transparent)]
    #[diagnostic(transparent)]
    Accounting(#[from] InvalidInput),

    #[error(transparent)]
    #[diagnostic(transparent)]
    Calibration(#[from] CalibrationError),

    #[error(transparent)]
    #[diagnostic(transparent)]
    Plan(#[from] InvalidPlan),
}

/// How a compiled model bounds what a unit adds.
#[derive(Clone, Copy, Debug)]
pub struct Clipped<'a> {
    /// The clip rule.
    pub rule: &'a ClipRule,
    /// The number of groups that it makes of the model's parameters.
    pub groups: usize,
    /// The grid of the sums, if they are of integers.
    pub grid: Option<&'a Grid>,
}

impl PlanRequest {
    /// Poisson sampling of batches of about `batch` units for one pass over the data.
    pub fn new(amount: Amount, delta: Option<f64>, batch: f64) -> PlanRequest {
        PlanRequest {
            amount,
            delta,
            batch,
            length: Length::Epochs(1.0),
            sample_rate: None,
            sampling: Kind::Poisson,
            adjacency: Adjacency::AddRemove,
            accountant: ACCOUNTANTS[0],
            noise_schedule: Schedule::default(),
            correlation: None,
            clip_schedule: Schedule::default(),
            estimates: None,
            views: 1,
            insecure_seed: None,
        }
    }

    /// As little noise as keeps to (`epsilon`, `delta`).
    pub fn epsilon(epsilon: f64, delta: f64, batch: f64) -> PlanRequest {
        PlanRequest::new(Amount::Epsilon(epsilon), Some(delta), batch)
    }

    /// For `epochs` expected passes over the data.
    pub fn epochs(self, epochs: f64) -> PlanRequest {
        PlanRequest { length: Length::Epochs(epochs), ..self }
    }

    /// For `steps` logical steps.
    pub fn steps(self, steps: u64) -> PlanRequest {
        PlanRequest { length: Length::Steps(steps), ..self }
    }

    /// The plan for `model` on `units` units of kind `unit`, its noise
    /// calibrated where ε is asked for: for all steps, those included that were `spent` before. A run that began with the
    /// same ε, by the plan `begun`, has its noise already.
    ///
    /// # Errors
    /// What no plan can be made for, see [`RequestError`].
    pub fn plan(
        &self,
        model: Clipped<'_>,
        (unit, units): (Unit, usize),
        spent: &[Mechanism],
        begun: Option<&PrivacyPlan>,
    ) -> Result<PrivacyPlan, RequestError> {
        let sampling = self.sampling(unit, units)?;
        let parts = if let Sampling::Cyclic { parts, .. } = sampling { parts } else { 1 };
        let steps = match self.length {
            Length::Steps(steps) => steps,
            Length::Epochs(epochs) => {
                let steps = (epochs / sampling.rate()).round().max(1.0) as u64;
                // A part of a cycle costs as much as a whole one.
                if steps < parts { steps } else { (steps as f64 / parts as f64).round() as u64 * parts }
            }
        };
        let strategy = self.correlation.map(|correlation| correlation.strategy(parts, steps));
        let target_epsilon = if let Amount::Epsilon(epsilon) = self.amount { Some(epsilon) } else { None };
        let begun = begun.filter(|plan| plan.target_epsilon.is_some() && plan.target_epsilon == target_epsilon);
        let noise_multiplier = match (self.amount, self.delta) {
            (Amount::Epsilon(_), _) if let Some(begun) = begun => begun.noise_multiplier,
            (Amount::Epsilon(epsilon), Some(delta)) => {
                let target = Target { epsilon, delta, adjacency: self.adjacency };
                let cost = self.accountant.epsilon(spent, self.adjacency, delta)?;
                if cost >= epsilon {
                    return Err(RequestError::Spent { epsilon, cost });
                }
                let planned = |sigma| match &strategy {
                    Some(strategy) => correlated(sigma, strategy, sampling, std::slice::from_ref(&(0..steps))),
                    None => planned(sigma, &self.noise_schedule, sampling, 0..steps),
                };
                calibrate::noise_multiplier(self.accountant, target, |sigma| [spent, &planned(sigma)].concat())?
            }
            (Amount::NoiseMultiplier(sigma), _) => sigma,
            (Amount::Epsilon(_) | Amount::NonPrivate, _) => 0.0,
        };
        let stated = self.sample_rate.is_none() || sampling.units().is_some();
        Ok(PrivacyPlan::new(PlanSpec {
            clip_groups: model.groups,
            grid: if self.amount == Amount::NonPrivate { None } else { model.grid.cloned() },
            public_units: stated.then_some(units as u64),
            noise_multiplier,
            target_epsilon,
            noise_schedule: self.noise_schedule.clone(),
            correlation: strategy,
            clip_schedule: self.clip_schedule.clone(),
            estimates: self.estimates,
            delta: self.delta,
            planned_steps: steps,
            adjacency: self.adjacency,
            unit,
            views: self.views,
            insecure_seed: self.insecure_seed,
            non_private: self.amount == Amount::NonPrivate,
            ..PlanSpec::new(sampling, self.batch, model.rule.clone())
        })?)
    }

    fn sampling(&self, unit: Unit, units: usize) -> Result<Sampling, RequestError> {
        let batch = self.batch;
        if self.sample_rate.is_none() && batch > units as f64 {
            return Err(RequestError::Batch { batch, units, unit });
        }
        let rate = self.sample_rate.unwrap_or(batch / units as f64);
        let fixed = || match (self.sample_rate, batch.fract() == 0.0) {
            (Some(_), _) => Err(RequestError::FixedRate),
            (None, false) => Err(RequestError::WholeBatch { batch }),
            (None, true) => Ok(batch as u64),
        };
        let all = units as u64;
        if let Some(parts) = cycle(self.sampling, self.correlation, rate) {
            let sampling = Sampling::cyclic(rate, parts);
            return if sampling.is_valid() { Ok(sampling) } else { Err(RequestError::Parts { share: rate, parts }) };
        }
        Ok(match self.sampling {
            Kind::Poisson | Kind::Cyclic { .. } => Sampling::Poisson { rate },
            Kind::Truncated { most } => Sampling::truncated(rate, all, most),
            Kind::FixedSize => Sampling::FixedSize { units: all, batch: fixed()? },
            Kind::Shuffle => Sampling::Shuffle { units: all, batch: fixed()? },
        })
    }
}

/// The parts of the cycle by which batches of the share `share` of the data are drawn; `None` where there is none.
pub fn cycle(sampling: Kind, correlation: Option<Correlation>, share: f64) -> Option<u64> {
    match (sampling, correlation) {
        (Kind::Poisson, Some(Correlation::Banded { bands })) => Some(bands),
        (Kind::Cyclic { parts: Some(parts) }, _) => Some(parts),
        (Kind::Poisson, Some(Correlation::Tree)) | (Kind::Cyclic { parts: None }, _) => Some(most_parts(share)),
        _ => None,
    }
}

/// The most parts that batches of the share `share` of the data can be drawn from.
fn most_parts(share: f64) -> u64 {
    ((1.0 / share) * (1.0 + 1e-12)).floor().clamp(1.0, MOST_PARTS as f64) as u64
}
