//! The privacy plan on the command line: how much noise, for how long, over which batches.

use super::values;
use crate::privacy::accountant::{ACCOUNTANTS, Accountant};
use crate::privacy::adjacency::Adjacency;
use crate::privacy::correlation::Correlation;
use crate::privacy::release::Estimates;
use crate::privacy::request::{self, Amount, Kind, PlanRequest};
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

    /// poisson, truncated-poisson[:MOST] (by default 3 L), fixed-size or shuffle; with --noise-correlation poisson, or
    /// cyclic[:PARTS] for parts of the data in turn, by default as many as batches make a pass
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

    /// Correlate the noise of steps, so that it cancels in part: banded:B for B bands, or tree. Poisson sampling is then of the parts of
    /// a cycle in turn, as many as bands
    #[arg(long, value_name = "HOW")]
    noise_correlation: Option<Correlation>,

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

impl PlanArgs {
    /// How the run's privacy loss is bounded.
    pub fn accountant(&self) -> &'static dyn Accountant {
        self.accountant.unwrap_or(ACCOUNTANTS[0])
    }

    /// The accountant, where one is named.
    pub fn named_accountant(&self) -> Option<&'static dyn Accountant> {
        self.accountant
    }

    /// Whether the run is to guarantee anything.
    pub fn is_private(&self) -> bool {
        !self.privacy.non_private
    }

    /// What the flags ask for.
    pub fn request(&self) -> PlanRequest {
        let amount = match (self.privacy.epsilon, self.privacy.noise_multiplier) {
            (Some(epsilon), _) => Amount::Epsilon(epsilon),
            (None, Some(sigma)) => Amount::NoiseMultiplier(sigma),
            (None, None) => Amount::NonPrivate,
        };
        let length = match (self.length.steps, self.length.epochs) {
            (Some(steps), _) => request::Length::Steps(steps),
            (None, epochs) => request::Length::Epochs(epochs.unwrap_or(1.0)),
        };
        PlanRequest {
            length,
            sample_rate: self.sample_rate,
            sampling: self.sampling,
            adjacency: self.adjacency,
            accountant: self.accountant(),
            noise_schedule: self.noise_schedule.clone(),
            correlation: self.noise_correlation,
            clip_schedule: self.clip_schedule.clone(),
            estimates: self.dp_metrics,
            insecure_seed: self.insecure_seed,
            ..PlanRequest::new(amount, self.delta, self.batch)
        }
    }
}
