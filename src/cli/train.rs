//! `dpc train`: a private training run, from an artifact to a directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use miette::{Diagnostic, Report, Result};
use thiserror::Error;

use super::data::NormalizeArgs;
use super::{output, values};
use crate::artifact::Artifact;
use crate::device;
use crate::options::DeviceChoice;
use crate::privacy::accountant::{ACCOUNTANTS, Accountant};
use crate::privacy::adjacency::Adjacency;
use crate::privacy::calibrate::{self, Target};
use crate::privacy::plan::{PlanSpec, PrivacyPlan};
use crate::privacy::sampling::Sampling;
use crate::train::physical;
use crate::train::run_dir::RunDir;
use crate::train::trainer::{Summary, Training, train};
use crate::train::units::Units;

/// Train a compiled model with differential privacy
#[derive(clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// The artifact
    #[arg(value_name = "M.dpc")]
    artifact: PathBuf,

    /// FILE.npz, FILE.safetensors, or IMAGES,LABELS as two IDX files
    #[arg(long, value_name = "DATA")]
    data: String,

    /// Data to evaluate the trained model on; not covered by the guarantee
    #[arg(long, value_name = "DATA")]
    valid: Option<String>,

    #[command(flatten)]
    normalize: NormalizeArgs,

    #[command(flatten)]
    privacy: Privacy,

    /// The δ of the guarantee
    #[arg(long, value_name = "D", value_parser = values::between_0_and_1, required_unless_present = "non_private")]
    delta: Option<f64>,

    /// Expected number of records in a logical batch
    #[arg(long, value_name = "L", value_parser = values::positive)]
    batch: f64,

    #[command(flatten)]
    length: Length,

    /// Learning rate
    #[arg(long, value_name = "R", value_parser = values::positive)]
    lr: f64,

    /// Probability of each record entering a logical batch; by default L over the number of records, which is then public
    #[arg(long, value_name = "Q", value_parser = values::rate)]
    sample_rate: Option<f64>,

    /// Rows of a physical batch; it does not change the result
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u64).range(1..=65_535))]
    physical_batch: Option<u64>,

    /// auto, cpu, gpu or gpu:NAME
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,

    /// The directory to write; by default the artifact's name with the ending .run
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Go on from the last checkpoint in the directory
    #[arg(long)]
    resume: bool,

    /// Write training loss and clipped fraction into metrics.jsonl, which the guarantee does not cover
    #[arg(long)]
    record_private_metrics: bool,

    /// Print one JSON object at the end, and no progress
    #[arg(long)]
    json: bool,

    /// Fix sampling and noise for tests: nothing is guaranteed then
    #[arg(long, value_name = "S")]
    insecure_seed: Option<u64>,
}

/// How much noise.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Privacy {
    /// The ε to reach
    #[arg(long, value_name = "E", value_parser = values::positive)]
    epsilon: Option<f64>,

    /// Standard deviation of the noise as a multiple of the clip bound
    #[arg(long, value_name = "S", value_parser = values::non_negative)]
    noise_multiplier: Option<f64>,

    /// No clipping, no noise and no guarantee
    #[arg(long, conflicts_with = "delta")]
    non_private: bool,
}

/// How long.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Length {
    /// Expected passes over the data
    #[arg(long, value_name = "N", value_parser = values::positive)]
    epochs: Option<f64>,

    /// Logical steps
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
}

#[derive(Debug, Error, Diagnostic)]
enum TrainArgsError {
    #[error("{} has no loss", path.display())]
    #[diagnostic(code(dpc::train::loss), help("compile the model with --loss"))]
    NoLoss { path: PathBuf },

    #[error("--batch {batch} is more than the {records} records of the data")]
    #[diagnostic(code(dpc::train::batch), help("give a smaller --batch, or --sample-rate"))]
    Batch { batch: f64, records: usize },
}

pub fn run(args: &Args) -> Result<()> {
    let artifact = Artifact::load(&args.artifact)?;
    if artifact.manifest.loss.is_none() {
        return Err(TrainArgsError::NoLoss { path: args.artifact.clone() }.into());
    }
    let schema = &artifact.manifest.schema;
    let data = args.normalize.load(&args.data, schema)?;
    let valid = args.valid.as_ref().map(|spec| args.normalize.load(spec, schema)).transpose()?;
    if data.nonfinite() > 0 {
        output::warning(format_args!("the data hold {} values that are NaN or infinite", data.nonfinite()));
    }
    let accountant = ACCOUNTANTS[0];
    let plan = plan(args, &artifact, data.records(), accountant)?;
    for warning in plan.warnings(data.records() as u64) {
        output::report(&Report::new(warning));
    }
    let units = Units::single(data.records());
    let device = device::open(&args.device)?;
    let rows = args.physical_batch.map(|rows| rows as usize);
    let physical_batch = rows.unwrap_or_else(|| physical::rows(plan.expected_batch, artifact.manifest.max_batch));
    if !args.json {
        announce(&plan, &device.name(), physical_batch);
    }
    let summary = train(&Training {
        artifact: &artifact,
        device: &*device,
        data: &data,
        units: &units,
        valid: valid.as_ref(),
        plan: &plan,
        accountant,
        learning_rate: args.lr,
        physical_batch,
        directory: RunDir::new(&args.out.clone().unwrap_or_else(|| default_out(&args.artifact))),
        resume: args.resume,
        checkpoint_interval: Duration::from_secs(10),
        progress: !args.json,
        record_private_metrics: args.record_private_metrics,
    })?;
    if args.json { output::json(&summary) } else { conclude(&summary) }
}

fn default_out(artifact: &Path) -> PathBuf {
    artifact.with_extension("run")
}

/// The plan that the flags ask for, its noise calibrated where they give ε.
fn plan(args: &Args, artifact: &Artifact, records: usize, accountant: &dyn Accountant) -> Result<PrivacyPlan> {
    if args.sample_rate.is_none() && args.batch > records as f64 {
        return Err(TrainArgsError::Batch { batch: args.batch, records }.into());
    }
    let rate = args.sample_rate.unwrap_or(args.batch / records as f64);
    let sampling = Sampling::Poisson { rate };
    let steps = match (args.length.steps, args.length.epochs) {
        (Some(steps), _) => steps,
        (None, epochs) => (epochs.unwrap_or(1.0) / rate).round().max(1.0) as u64,
    };
    let noise_multiplier = match (args.privacy.epsilon, args.delta) {
        (Some(epsilon), Some(delta)) => {
            let target = Target { epsilon, delta, sampling, adjacency: Adjacency::AddRemove, steps };
            calibrate::noise_multiplier(accountant, target)?
        }
        _ => args.privacy.noise_multiplier.unwrap_or(0.0),
    };
    Ok(PrivacyPlan::new(PlanSpec {
        public_units: args.sample_rate.is_none().then_some(records as u64),
        noise_multiplier,
        delta: args.delta,
        planned_steps: steps,
        insecure_seed: args.insecure_seed,
        non_private: args.privacy.non_private,
        ..PlanSpec::new(sampling, args.batch, artifact.manifest.clip)
    })?)
}

fn announce(plan: &PrivacyPlan, device: &str, physical_batch: usize) {
    let noise = match plan.non_private {
        true => "not private".to_owned(),
        false => format!("clip {}, noise multiplier {:.4}", plan.clip, plan.noise_multiplier),
    };
    output::note(format_args!(
        "{} steps of {} records expected (sample rate {:.6}), {noise}, on {device} in physical batches of {physical_batch}",
        plan.planned_steps,
        plan.expected_batch,
        plan.rate()
    ));
}

/// Says how the run ended.
pub fn conclude(summary: &Summary) -> Result<()> {
    match (summary.epsilon, summary.delta) {
        (Some(epsilon), Some(delta)) => {
            output::line(format!("{} steps, ({epsilon:.4}, {delta:e})-differentially private", summary.steps))?;
        }
        _ => output::line(format!("{} steps, nothing is guaranteed", summary.steps))?,
    }
    if let Some(valid) = &summary.valid {
        let accuracy = valid.accuracy.map(|accuracy| format!(", accuracy {:.2} %", 100.0 * accuracy));
        output::line(format!("validation loss {:.4}{}", valid.loss, accuracy.unwrap_or_default()))?;
    }
    output::line(format!("wrote {}", summary.out.display()))
}
