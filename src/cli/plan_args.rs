//! The privacy plan on the command line: how much noise, for how long, over which batches.

use miette::{Diagnostic, Result};
use thiserror::Error;

use super::values;
use crate::artifact::Manifest;
use crate::privacy::accountant::{ACCOUNTANTS, Accountant, Mechanism};
use crate::privacy::adjacency::{Adjacency, Unit};
use crate::privacy::calibrate::{self, Target};
use crate::privacy::plan::{PlanSpec, PrivacyPlan, planned};
use crate::privacy::release::Estimates;
use crate::privacy::sampling::Sampling;
use crate::privacy::schedule::Schedule;

/// Flags that make up the plan of a run.
#[derive(clap::Args, Clone, Debug)]
pub struct PlanArgs {
    #[command(flatten)]
    privacy: Privacy,

    /// The δ of the guarantee
    #[arg(long, value_name = "D", value_parser = values::between_0_and_1, required_unless_present = "non_private")]
    delta: Option<f64>,

    /// Expected number of units (records or groups) in a logical batch
    #[arg(long, value_name = "L", value_parser = values::positive)]
    batch: f64,

    #[command(flatten)]
    length: Length,

    /// Probability of each unit entering a logical batch; by default L over the number of units, which is then public
    #[arg(long, value_name = "Q", value_parser = values::rate)]
    sample_rate: Option<f64>,

    /// poisson, truncated-poisson[:MOST] (by default 3 L), fixed-size or shuffle
    #[arg(long, value_name = "KIND", default_value = "poisson")]
    sampling: Kind,

    /// Which data sets count as neighbours: add-remove or replace-one
    #[arg(long, value_name = "WHICH", default_value = "add-remove")]
    adjacency: Adjacency,

    /// How the privacy loss is bounded: pld, rdp or prv
    #[arg(long, value_name = "NAME", value_parser = values::bound)]
    accountant: Option<&'static dyn Accountant>,

    /// How the noise multiplier changes: constant, step:every=N,factor=F, exponential:factor=F or table:0=F,STEP=F,…
    #[arg(long, value_name = "SCHEDULE", default_value = "constant", value_parser = values::with_help::<Schedule>)]
    noise_schedule: Schedule,

    /// How the clip bounds change, in the same words
    #[arg(long, value_name = "SCHEDULE", default_value = "constant", value_parser = values::with_help::<Schedule>)]
    clip_schedule: Schedule,

    /// Also release noisy estimates of batch size and loss, paid for within ε: share=0.02,loss-bound=10
    #[arg(long, value_name = "OPTIONS", num_args = 0..=1, default_missing_value = "")]
    #[arg(value_parser = values::with_help::<Estimates>)]
    dp_metrics: Option<Estimates>,

    /// Fix sampling and noise for tests: nothing is guaranteed then
    #[arg(long, value_name = "S")]
    insecure_seed: Option<u64>,
}

/// How much noise.
#[derive(clap::Args, Clone, Debug)]
#[group(required = true, multiple = false)]
struct Privacy {
    /// The ε to reach, and not to exceed: with all steps that the ledger holds, of other runs too
    #[arg(long, value_name = "E", value_parser = values::epsilon)]
    epsilon: Option<f64>,

    /// Standard deviation of the noise as a multiple of the clip bound
    #[arg(long, value_name = "S", value_parser = values::non_negative)]
    noise_multiplier: Option<f64>,

    /// No clipping, no noise and no guarantee
    #[arg(long, conflicts_with = "delta")]
    non_private: bool,
}

/// How long.
#[derive(clap::Args, Clone, Debug)]
#[group(required = true, multiple = false)]
struct Length {
    /// Expected passes over the data
    #[arg(long, value_name = "N", value_parser = values::positive)]
    epochs: Option<f64>,

    /// Logical steps
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
}

/// A kind of sampling, before the data are known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Poisson,
    Truncated { most: Option<u64> },
    FixedSize,
    Shuffle,
}

impl Kind {
    /// The name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Poisson => "poisson",
            Kind::Truncated { .. } => "truncated-poisson",
            Kind::FixedSize => "fixed-size",
            Kind::Shuffle => "shuffle",
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        let unknown =
            || format!("`{text}` is no sampling; give poisson, truncated-poisson[:MOST], fixed-size or shuffle");
        match text.split_once(':').unwrap_or((text, "")) {
            ("poisson", "") => Ok(Kind::Poisson),
            ("truncated-poisson", "") => Ok(Kind::Truncated { most: None }),
            ("truncated-poisson", most) => match most.parse() {
                Ok(most @ 1..) => Ok(Kind::Truncated { most: Some(most) }),
                _ => Err(unknown()),
            },
            ("fixed-size", "") => Ok(Kind::FixedSize),
            ("shuffle", "") => Ok(Kind::Shuffle),
            _ => Err(unknown()),
        }
    }
}

#[derive(Debug, Error, Diagnostic)]
enum PlanArgsError {
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
}

impl PlanArgs {
    /// How the run's privacy loss is bounded.
    pub fn accountant(&self) -> &'static dyn Accountant {
        self.accountant.unwrap_or(ACCOUNTANTS[0])
    }

    /// Whether the run is to guarantee anything.
    pub fn is_private(&self) -> bool {
        !self.privacy.non_private
    }

    /// The plan for the model of `manifest` on `units` units of kind `unit`, its noise calibrated where the flags give ε:
    /// for all steps, those included that were `spent` before. A run that began with the same ε, by the plan `begun`, has
    /// its noise already.
    pub fn plan(
        &self,
        manifest: &Manifest,
        (unit, units): (Unit, usize),
        spent: &[Mechanism],
        begun: Option<&PrivacyPlan>,
    ) -> Result<PrivacyPlan> {
        let sampling = self.sampling(unit, units)?;
        let steps = match (self.length.steps, self.length.epochs) {
            (Some(steps), _) => steps,
            (None, epochs) => (epochs.unwrap_or(1.0) / sampling.rate()).round().max(1.0) as u64,
        };
        let begun = begun.filter(|plan| plan.target_epsilon.is_some() && plan.target_epsilon == self.privacy.epsilon);
        let noise_multiplier = match (self.privacy.epsilon, self.delta) {
            (Some(_), _) if let Some(begun) = begun => begun.noise_multiplier,
            (Some(epsilon), Some(delta)) => {
                let target = Target { epsilon, delta, adjacency: self.adjacency };
                let cost = self.accountant().epsilon(spent, self.adjacency, delta)?;
                if cost >= epsilon {
                    return Err(PlanArgsError::Spent { epsilon, cost }.into());
                }
                let planned = |sigma| planned(sigma, &self.noise_schedule, sampling, 0..steps);
                calibrate::noise_multiplier(self.accountant(), target, |sigma| [spent, &planned(sigma)].concat())?
            }
            _ => self.privacy.noise_multiplier.unwrap_or(0.0),
        };
        let stated = self.sample_rate.is_none() || sampling.units().is_some();
        Ok(PrivacyPlan::new(PlanSpec {
            clip_groups: manifest.clip_groups.len(),
            public_units: stated.then_some(units as u64),
            noise_multiplier,
            target_epsilon: self.privacy.epsilon,
            noise_schedule: self.noise_schedule.clone(),
            clip_schedule: self.clip_schedule.clone(),
            estimates: self.dp_metrics,
            delta: self.delta,
            planned_steps: steps,
            adjacency: self.adjacency,
            unit,
            insecure_seed: self.insecure_seed,
            non_private: self.privacy.non_private,
            ..PlanSpec::new(sampling, self.batch, manifest.clip.clone())
        })?)
    }

    fn sampling(&self, unit: Unit, units: usize) -> Result<Sampling> {
        let batch = self.batch;
        if self.sample_rate.is_none() && batch > units as f64 {
            return Err(PlanArgsError::Batch { batch, units, unit }.into());
        }
        let rate = self.sample_rate.unwrap_or(batch / units as f64);
        let fixed = || match (self.sample_rate, batch.fract() == 0.0) {
            (Some(_), _) => Err(PlanArgsError::FixedRate),
            (None, false) => Err(PlanArgsError::WholeBatch { batch }),
            (None, true) => Ok(batch as u64),
        };
        let all = units as u64;
        Ok(match self.sampling {
            Kind::Poisson => Sampling::Poisson { rate },
            Kind::Truncated { most } => Sampling::truncated(rate, all, most),
            Kind::FixedSize => Sampling::FixedSize { units: all, batch: fixed()? },
            Kind::Shuffle => Sampling::Shuffle { units: all, batch: fixed()? },
        })
    }
}
