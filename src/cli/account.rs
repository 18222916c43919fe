//! `dpc account`: of ε, δ, the noise, the sample rate and the steps, the one that is left out.

use std::fmt;
use std::str::FromStr;

use miette::{Diagnostic, Result};
use serde::Serialize;
use thiserror::Error;

use super::{output, values};
use crate::privacy::accountant::selection::BestOf;
use crate::privacy::accountant::{ACCOUNTANTS, Accountant, Mechanism, Rdp};
use crate::privacy::adjacency::Adjacency;
use crate::privacy::calibrate::{self, Target};
use crate::privacy::correlation::Correlation;
use crate::privacy::correlation::participation::Participations;
use crate::privacy::request::{Kind, cycle};
use crate::privacy::sampling::Sampling;
use crate::privacy::trials::Trials;

const ALL_BUT_ONE: &str = "Of --noise-multiplier, --sample-rate, --steps, --delta and --epsilon give all but one: \
     that one is worked out, and rounded to the safe side.";

/// Work out the privacy loss of a training, or what a privacy loss allows
#[derive(clap::Args)]
#[command(allow_negative_numbers = true, after_help = ALL_BUT_ONE)]
pub struct Args {
    /// Standard deviation of the noise as a multiple of the clip bound
    #[arg(long, value_name = "S", value_parser = values::non_negative)]
    noise_multiplier: Option<f64>,

    /// Probability of each unit (record or group) entering a step
    #[arg(long, value_name = "Q", value_parser = values::rate, conflicts_with = "batch")]
    sample_rate: Option<f64>,

    /// Number of logical steps
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,

    /// The δ of the guarantee
    #[arg(long, value_name = "D", value_parser = values::between_0_and_1)]
    delta: Option<f64>,

    /// The ε of the guarantee
    #[arg(long, value_name = "E", value_parser = values::positive)]
    epsilon: Option<f64>,

    /// Further steps of noise multiplier S and sample rate Q, in the same training (may be repeated)
    #[arg(long, value_name = "S,Q,T")]
    then: Vec<Further>,

    /// poisson, truncated-poisson[:MOST] (by default three times the expected batch), fixed-size or shuffle; with --noise-correlation
    /// poisson or cyclic[:PARTS]
    #[arg(long, value_name = "KIND", default_value = "poisson")]
    sampling: Kind,

    /// How the noise of steps is correlated: banded:B or tree. Says besides how noisy sums over all steps are
    #[arg(long, value_name = "HOW", conflicts_with = "then")]
    noise_correlation: Option<Correlation>,

    /// Number of units in the data, which counts as public: for every sampling but poisson, or with --batch
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,

    /// Units in a batch, instead of a sample rate
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u64).range(1..), requires = "records")]
    batch: Option<u64>,

    /// Which data sets count as neighbours: add-remove or replace-one
    #[arg(long, value_name = "WHICH", default_value = "add-remove")]
    adjacency: Adjacency,

    /// How the privacy loss is worked out: pld, rdp or prv bound it, gdp only approximates it
    #[arg(long, value_name = "NAME", value_parser = values::accountant)]
    accountant: Option<&'static dyn Accountant>,

    /// Of the release of the best of this many such trainings, as `dpc tune` makes it: how many are expected, as in 20, geometric:20,
    /// logarithmic:20, poisson:20 or negative-binomial:20,shape=0.5
    #[arg(long, value_name = "TRIALS", value_parser = values::with_help::<Trials>)]
    trials: Option<Trials>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Steps after the first ones.
#[derive(Clone, Copy, Debug)]
struct Further {
    noise_multiplier: f64,
    rate: f64,
    steps: u64,
}

impl FromStr for Further {
    type Err = String;

    fn from_str(text: &str) -> Result<Further, String> {
        let parts: Vec<&str> = text.split(',').collect();
        let [noise_multiplier, rate, steps] = parts[..] else {
            return Err("expected a noise multiplier, a sample rate and a number of steps as in 1.1,0.01,500".into());
        };
        Ok(Further {
            noise_multiplier: values::non_negative(noise_multiplier)?,
            rate: values::rate(rate)?,
            steps: steps.parse().map_err(|_| "expected a number of steps".to_owned())?,
        })
    }
}

#[derive(Debug, Error, Diagnostic)]
enum AccountError {
    #[error("{} are missing", .names.join(" and "))]
    #[diagnostic(
        code(dpc::account::missing),
        help("give all but one of --noise-multiplier, --sample-rate, --steps, --delta and --epsilon")
    )]
    Missing { names: Vec<&'static str> },

    #[error("nothing is left to work out")]
    #[diagnostic(
        code(dpc::account::complete),
        help("leave out one of --noise-multiplier, --sample-rate, --steps, --delta and --epsilon")
    )]
    Complete,

    #[error("{sampling} sampling needs {name}")]
    #[diagnostic(
        code(dpc::account::units),
        help("its privacy loss depends on the number of units, which is then public")
    )]
    Needed { sampling: &'static str, name: &'static str },

    #[error("cyclic sampling is accounted for with --noise-correlation only, which takes poisson or cyclic sampling")]
    #[diagnostic(code(dpc::account::correlation), help("give both, or neither"))]
    Cyclic,

    #[error("batches of {share} of the data are more than one of {parts} parts holds, or parts are fewer than bands")]
    #[diagnostic(code(dpc::account::parts), help("give fewer bands, more parts, or smaller batches"))]
    Parts { share: f64, parts: u64 },

    #[error("the sample rate is not worked out for correlated noise")]
    #[diagnostic(code(dpc::account::correlated_rate), help("give --sample-rate, or --batch and --records"))]
    CorrelatedRate,

    #[error("the {name} accountant has no bound for the best of several trials")]
    #[diagnostic(code(dpc::account::trials), help("leave --accountant out: it is accounted for by rdp"))]
    Trials { name: &'static str },

    #[error("{name} does not go with {sampling} sampling")]
    #[diagnostic(code(dpc::account::rate), help("give --records and --batch, or sample with poisson"))]
    Misplaced { sampling: &'static str, name: &'static str },
}

/// What was worked out.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// `null` where the loss is unbounded.
    Epsilon(Option<f64>),
    Delta(f64),
    NoiseMultiplier(f64),
    Steps(u64),
    SampleRate(f64),
}

/// The one JSON object.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    answer: Answer,
    /// Only present where the answer is no bound.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    approximation: bool,
    /// Only where noise is correlated.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    correlated: Option<Correlated>,
}

/// What correlated noise does.
#[derive(Clone, Copy, Serialize)]
struct Correlated {
    /// The parts of a cycle, and the rate at which units of a part are drawn in its turn.
    parts: u64,
    part_rate: f64,
    /// How often a unit takes part at most.
    participations: u64,
    /// The root of the mean square, over the sums of the first, the first two and so on, of the noise of an element, in clip bounds.
    prefix_rmse: f64,
    /// The same for independent noise of the same participations, `σ√((T+1)/2)`.
    independent_prefix_rmse: f64,
}

pub fn run(args: &Args) -> Result<()> {
    let best = args.trials.map(|trials| BestOf { trials, steps: args.steps.unwrap_or(1), numbers: None });
    let accountant: &dyn Accountant = match (&best, args.accountant) {
        (Some(_), Some(other)) if other.name() != Rdp.name() => {
            return Err(AccountError::Trials { name: other.name() }.into());
        }
        (Some(best), _) => best,
        (None, accountant) => accountant.unwrap_or(ACCOUNTANTS[0]),
    };
    let answer = args.answer(accountant)?;
    if args.json {
        let correlated = args.correlated(&answer)?;
        return output::json(&Report { answer, approximation: !accountant.is_bound(), correlated });
    }
    let mut setting = vec![match accountant.is_bound() {
        true => format!("{} accountant", accountant.name()),
        false => format!("{} accountant: an approximation, not a bound", accountant.name()),
    }];
    setting.extend(args.trials.map(|trials| format!("best of {trials} trials")));
    setting.push(format!("{} adjacency", args.adjacency));
    let of = |name: &str, value: f64| format!("{name} = {value}");
    setting.extend(args.epsilon.map(|epsilon| of("ε", epsilon)));
    setting.extend(args.delta.map(|delta| of("δ", delta)));
    output::line(format!("{answer} ({})", setting.join(", ")))?;
    let Some(found) = args.correlated(&answer)? else { return Ok(()) };
    let Correlated { parts, part_rate, participations, prefix_rmse, independent_prefix_rmse } = found;
    output::line(format!(
        "noise of prefix sums {prefix_rmse:.4} clip bounds (root mean square), {independent_prefix_rmse:.4} if it were \
         independent; at most {participations} participations, each with probability {part_rate:.6} when its part of {parts} has its turn"
    ))
}

impl Args {
    fn answer(&self, accountant: &dyn Accountant) -> Result<Answer> {
        let adjacency = self.adjacency;
        let target = |epsilon, delta| Target { epsilon, delta, adjacency };
        let rate = self.rate()?;
        Ok(match (self.noise_multiplier, rate, self.steps, self.delta, self.epsilon) {
            (Some(noise), Some(rate), Some(steps), Some(delta), None) => {
                let epsilon =
                    accountant.epsilon(&self.history(noise, self.sampling(rate)?, steps), adjacency, delta)?;
                Answer::Epsilon(epsilon.is_finite().then_some(epsilon))
            }
            (Some(noise), Some(rate), Some(steps), None, Some(epsilon)) => Answer::Delta(accountant.delta(
                &self.history(noise, self.sampling(rate)?, steps),
                adjacency,
                epsilon,
            )?),
            (None, Some(rate), Some(steps), Some(delta), Some(epsilon)) => {
                let sampling = self.sampling(rate)?;
                let history = |noise| self.history(noise, sampling, steps);
                let found = calibrate::noise_multiplier(accountant, target(epsilon, delta), history)?;
                // What is printed meets the target too: ε falls with the noise only as far as it is exact.
                let mut printed = up(found);
                while accountant.epsilon(&history(printed), adjacency, delta)? > epsilon {
                    printed = up(printed * (1.0 + NUDGE));
                }
                Answer::NoiseMultiplier(printed)
            }
            (Some(noise), Some(rate), None, Some(delta), Some(epsilon)) => {
                let sampling = self.sampling(rate)?;
                let history = |steps| self.history(noise, sampling, steps);
                Answer::Steps(calibrate::steps(accountant, target(epsilon, delta), history)?)
            }
            (Some(noise), None, Some(steps), Some(delta), Some(epsilon)) => {
                let kind = self.sampling_by_rate()?;
                let history = |rate| self.history(noise, kind(rate), steps);
                Answer::SampleRate(calibrate::sample_rate(accountant, target(epsilon, delta), history)?)
            }
            (Some(_), Some(_), Some(_), Some(_), Some(_)) => return Err(AccountError::Complete.into()),
            _ => return Err(self.missing(rate).into()),
        })
    }

    /// What correlated noise does, where all numbers are known by now.
    fn correlated(&self, answer: &Answer) -> Result<Option<Correlated>> {
        let steps = if let Answer::Steps(steps) = answer { Some(*steps) } else { self.steps };
        let sigma = if let Answer::NoiseMultiplier(sigma) = answer { Some(*sigma) } else { self.noise_multiplier };
        let (Some(correlation), Some(steps), Some(sigma), Some(rate)) =
            (self.noise_correlation, steps, sigma, self.rate()?)
        else {
            return Ok(None);
        };
        let sampling = self.sampling(rate)?;
        let Sampling::Cyclic { rate: part_rate, parts } = sampling else { return Ok(None) };
        let rmse =
            |correlation: Correlation| sigma * correlation.strategy(parts, steps).prefix_mean_square(steps).sqrt();
        Ok(Some(Correlated {
            parts,
            part_rate,
            participations: Participations::of_run(steps, parts).count,
            prefix_rmse: rmse(correlation),
            independent_prefix_rmse: rmse(Correlation::Banded { bands: 1 }),
        }))
    }

    fn missing(&self, rate: Option<f64>) -> AccountError {
        let numbers = [
            ("--noise-multiplier", self.noise_multiplier.is_none()),
            ("--sample-rate", rate.is_none()),
            ("--steps", self.steps.is_none()),
            ("--delta", self.delta.is_none()),
            ("--epsilon", self.epsilon.is_none()),
        ];
        AccountError::Missing {
            names: numbers.into_iter().filter_map(|(name, missing)| missing.then_some(name)).collect(),
        }
    }

    /// The sample rate, however it is given.
    fn rate(&self) -> Result<Option<f64>, AccountError> {
        let sampling = self.sampling.name();
        if let Kind::FixedSize | Kind::Shuffle = self.sampling {
            let given = [("--sample-rate", self.sample_rate.is_some()), ("--then", !self.then.is_empty())];
            if let Some((name, _)) = given.into_iter().find(|(_, given)| *given) {
                return Err(AccountError::Misplaced { sampling, name });
            }
            if self.batch.is_none() {
                return Err(AccountError::Needed { sampling, name: "--batch and --records" });
            }
        }
        Ok(self.sample_rate.or(self.batch.zip(self.records).map(|(batch, records)| batch as f64 / records as f64)))
    }

    fn sampling(&self, rate: f64) -> Result<Sampling, AccountError> {
        if self.noise_correlation.is_some() || matches!(self.sampling, Kind::Cyclic { .. }) {
            let parts = self.noise_correlation.and_then(|_| cycle(self.sampling, self.noise_correlation, rate));
            let parts = parts.ok_or(AccountError::Cyclic)?;
            let sampling = Sampling::cyclic(rate, parts);
            let least = self.noise_correlation.map_or(1, Correlation::least_parts);
            let fits = sampling.is_valid() && parts >= least;
            return if fits { Ok(sampling) } else { Err(AccountError::Parts { share: rate, parts }) };
        }
        match (self.sampling, self.batch, self.records) {
            (Kind::FixedSize, Some(batch), Some(units)) => Ok(Sampling::FixedSize { units, batch }),
            (Kind::Shuffle, Some(batch), Some(units)) => Ok(Sampling::Shuffle { units, batch }),
            _ => Ok(self.sampling_by_rate()?(rate)),
        }
    }

    /// The sampling at each sample rate.
    fn sampling_by_rate(&self) -> Result<impl Fn(f64) -> Sampling + use<>, AccountError> {
        if self.noise_correlation.is_some() {
            return Err(AccountError::CorrelatedRate);
        }
        let (sampling, records) = (self.sampling.name(), self.records);
        let most = match self.sampling {
            Kind::Truncated { most } => {
                Some((most, records.ok_or(AccountError::Needed { sampling, name: "--records" })?))
            }
            _ => None,
        };
        Ok(move |rate| match most {
            Some((most, units)) => Sampling::truncated(rate, units, most),
            None => Sampling::Poisson { rate },
        })
    }

    /// The whole training.
    fn history(&self, noise_multiplier: f64, sampling: Sampling, steps: u64) -> Vec<Mechanism> {
        if let Sampling::Cyclic { parts, .. } = sampling {
            return vec![Participations::of_run(steps, parts).mechanism(noise_multiplier, sampling)];
        }
        let charged = steps.div_ceil(sampling.epoch().unwrap_or(1));
        let further = self.then.iter().map(|further| Mechanism {
            noise_multiplier: further.noise_multiplier,
            sampling: match sampling {
                Sampling::TruncatedPoisson { units, max_batch, .. } => {
                    Sampling::TruncatedPoisson { rate: further.rate, units, max_batch }
                }
                _ => Sampling::Poisson { rate: further.rate },
            },
            steps: further.steps,
        });
        [Mechanism { noise_multiplier, sampling, steps: charged }].into_iter().chain(further).collect()
    }
}

/// What the noise is raised by, relatively, where rounding it up is not enough.
const NUDGE: f64 = 1e-5;

/// Up to six digits.
fn up(value: f64) -> f64 {
    (value * 1e6).ceil() / 1e6
}

/// Rounded, if at all, to the safe side.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Answer::Epsilon(Some(epsilon)) => write!(f, "epsilon {:.6}", up(epsilon)),
            Answer::Epsilon(None) => f.write_str("epsilon is unbounded"),
            Answer::Delta(delta) => write!(f, "delta {delta:e}"),
            Answer::NoiseMultiplier(sigma) => write!(f, "noise multiplier {sigma:.6}"),
            Answer::Steps(steps) => write!(f, "{steps} steps"),
            Answer::SampleRate(rate) => write!(f, "sample rate {rate}"),
        }
    }
}
