//! `dpc account`: ε of a plan, or the noise multiplier for an ε.

use miette::Result;
use serde::Serialize;

use super::{output, values};
use crate::privacy::accountant::{ACCOUNTANTS, Accountant, Mechanism};
use crate::privacy::adjacency::Adjacency;
use crate::privacy::calibrate::{self, Target};
use crate::privacy::sampling::Sampling;

/// Work out the privacy loss of a training, or the noise for a privacy loss
#[derive(clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// Standard deviation of the noise as a multiple of the clip bound
    #[arg(long, value_name = "S", value_parser = values::non_negative)]
    #[arg(required_unless_present = "epsilon", conflicts_with = "epsilon")]
    noise_multiplier: Option<f64>,

    /// The ε to find the noise multiplier for
    #[arg(long, value_name = "E", value_parser = values::positive)]
    epsilon: Option<f64>,

    /// Probability of each record entering a step
    #[arg(long, value_name = "Q", value_parser = values::rate)]
    sample_rate: f64,

    /// Number of logical steps
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,

    /// The δ of the guarantee
    #[arg(long, value_name = "D", value_parser = values::between_0_and_1)]
    delta: f64,

    /// How the privacy loss is bounded
    #[arg(long, value_name = "NAME", value_parser = values::accountant)]
    accountant: Option<&'static dyn Accountant>,

    /// Which data sets count as neighbours
    #[arg(long, default_value = "add-remove")]
    adjacency: Adjacency,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// `null` where the loss is unbounded.
    Epsilon(Option<f64>),
    NoiseMultiplier(f64),
}

pub fn run(args: &Args) -> Result<()> {
    let accountant = args.accountant.unwrap_or(ACCOUNTANTS[0]);
    let sampling = Sampling::Poisson { rate: args.sample_rate };
    let answer = match (args.noise_multiplier, args.epsilon) {
        (_, Some(epsilon)) => Answer::NoiseMultiplier(calibrate::noise_multiplier(
            accountant,
            Target { epsilon, delta: args.delta, sampling, adjacency: args.adjacency, steps: args.steps },
        )?),
        (noise_multiplier, None) => {
            let noise_multiplier = noise_multiplier.unwrap_or(0.0);
            let mechanism = Mechanism { noise_multiplier, sampling, steps: args.steps };
            let epsilon = accountant.epsilon(&[mechanism], args.adjacency, args.delta)?;
            Answer::Epsilon(epsilon.is_finite().then_some(epsilon))
        }
    };
    if args.json {
        return output::json(&answer);
    }
    let setting = format!("{} accountant, {} adjacency, δ = {}", accountant.name(), args.adjacency, args.delta);
    output::line(match answer {
        Answer::Epsilon(Some(epsilon)) => format!("epsilon {epsilon:.6} ({setting})"),
        Answer::Epsilon(None) => format!("epsilon is unbounded ({setting})"),
        Answer::NoiseMultiplier(sigma) => format!("noise multiplier {sigma:.6} ({setting})"),
    })
}
