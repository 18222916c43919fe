//! `dpc train`: a private training run, from an artifact to a directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use miette::{Diagnostic, IntoDiagnostic, Report, Result};
use thiserror::Error;

use super::data::ReadingArgs;
use super::plan_args::PlanArgs;
use super::{evaluations, output, ranks, values};
use crate::artifact::Artifact;
use crate::device::{self, Device};
use crate::options::DeviceChoice;
use crate::privacy::accountant::Accountant;
use crate::privacy::adjacency::Unit;
use crate::privacy::ledger::{Contents, LedgerError};
use crate::privacy::plan::PrivacyPlan;
use crate::privacy::request::PlanRequest;
use crate::ranks::{Alone, Ranks};
use crate::schema::Schema;
use crate::train::augment::Augment;
use crate::train::data::Dataset;
use crate::train::every::Every;
use crate::train::lr_for::LrFor;
use crate::train::lr_schedule::LrSchedule;
use crate::train::physical;
use crate::train::run_dir::RunDir;
use crate::train::shards;
use crate::train::trainer::{Summary, Training, plan_of, train};
use crate::train::units::Units;

/// Train a compiled model with differential privacy
#[derive(clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// The artifact
    #[arg(value_name = "M.dpc")]
    artifact: PathBuf,

    /// A TOML file with flags of this command by their names without dashes, and `artifact`; those on the command line win.
    /// A run leaves the file that repeats it as config.toml
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,

    /// FILE.npz, FILE.safetensors, IMAGES,LABELS as two IDX files, a table (CSV, TSV, Parquet, Arrow, Feather), or a
    /// folder with a subfolder of PNG and JPEG images for each class
    #[arg(long, value_name = "DATA")]
    data: String,

    /// Each rank under MPI holds records of its own, and the union is what is trained on: --data is then what this rank reads, with its
    /// number in place of {rank}
    #[arg(long)]
    data_shard: bool,

    /// Each rank under MPI makes the noise of a part of the parameters, where otherwise all make all of it; it is added once
    /// either way, and the result is the same
    #[arg(long)]
    shard_noise: bool,

    /// Data to evaluate the trained model on, which are taken to be public: if they are not, no guarantee covers them, as
    /// figures on them are shown and written without noise
    #[arg(long, value_name = "DATA")]
    valid: Option<String>,

    /// Evaluate on them while training too: every N steps, or 1epoch or 0.5epochs
    #[arg(long, value_name = "N|Nepochs", requires = "valid", value_parser = values::with_help::<Every>)]
    valid_every: Option<Every>,

    #[command(flatten)]
    reading: ReadingArgs,

    #[command(flatten)]
    plan: PlanArgs,

    /// What is sampled and clipped as one: record, or group where the data have an array `group` (then the default)
    #[arg(long, value_name = "UNIT", value_parser = ["record", "group"])]
    unit: Option<String>,

    /// Learning rate
    #[arg(long, value_name = "R", value_parser = values::positive)]
    lr: f64,

    /// How the learning rate changes: constant, step:every=N,factor=F, exponential:factor=F, table:0=F,STEP=F,…,
    /// cosine[:to=F] or linear[:to=F] over all steps; each also with warmup=STEPS, as in cosine:warmup=100
    #[arg(long, value_name = "SCHEDULE", default_value = "constant", value_parser = values::with_help::<LrSchedule>)]
    lr_schedule: LrSchedule,

    /// The learning rate, in place of --lr, of parameters whose names match, as in 'encoder.*=0.1' (may be repeated; the last that
    /// matches counts). The schedule multiplies it too
    #[arg(long, value_name = "GLOB=R", value_parser = values::with_help::<LrFor>)]
    lr_for: Vec<LrFor>,

    /// Make the exponential moving average of the parameters over the steps, with this decay, the trained model, which
    /// costs no privacy
    #[arg(long, value_name = "DECAY", value_parser = values::between_0_and_1)]
    ema: Option<f64>,

    /// Train each record on the mean gradient over K random views of it, clipped once, which costs no more privacy:
    /// K:WAY,… with flip, crop=PIXELS, shift=PIXELS, rotate=DEGREES and noise=DEVIATION, as in 8:flip,crop=4
    #[arg(long, value_name = "K:WAYS")]
    augment: Option<Augment>,

    /// Rows of a physical batch, by default as many as fit; it does not change the result
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u64).range(1..=65_535))]
    physical_batch: Option<u64>,

    /// auto, cpu, gpu or gpu:NAME
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,

    /// The directory to write; by default the artifact's name with the ending .run
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// The ledger to count the steps in, to be shared by all runs on the same data; by default one in the directory
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,

    /// Go on from the last checkpoint in the directory
    #[arg(long)]
    resume: bool,

    /// Write training loss and clipped fraction into metrics.jsonl, which the guarantee does not cover
    #[arg(long)]
    record_private_metrics: bool,

    /// Write event files for TensorBoard into a directory: ε, noise, clip bounds, learning rate, throughput and validation;
    /// training loss, clipped fraction and histograms of gradient norms only with --record-private-metrics
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,

    /// Seconds between checkpoints; 0 writes one after every step
    #[arg(long, value_name = "S", default_value = "10", value_parser = values::duration)]
    checkpoint_interval: Duration,

    /// Print one JSON object at the end, and no progress
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Error, Diagnostic)]
enum TrainArgsError {
    #[error("{} has no loss", path.display())]
    #[diagnostic(code(dpc::train::loss), help("compile the model with --loss"))]
    NoLoss { path: PathBuf },

    #[error("{data} has no array `group`")]
    #[diagnostic(
        code(dpc::train::group),
        help("add an integer array `group` with the group (user) of each record, or leave out --unit group")
    )]
    NoGroups { data: String },
}

/// Trains by `args`, and leaves `config`, the file that repeats it.
pub fn run(args: &Args, config: Option<&str>) -> Result<()> {
    let summary = run_quietly(args, config)?;
    if args.json { output::json(&summary) } else { conclude(&summary) }
}

/// As [`run`], without saying how it ended.
pub fn run_quietly(args: &Args, config: Option<&str>) -> Result<Summary> {
    ranks::among(|ranks| run_among(args, config, ranks))
}

fn run_among(args: &Args, config: Option<&str>, ranks: &Arc<dyn Ranks>) -> Result<Summary> {
    if !ranks.is_first() {
        output::leave_to_another();
    }
    ranks::same_flags(&**ranks, config.unwrap_or_default())?;
    let opened = args.open_among(&**ranks)?;
    let (artifact, units) = (&opened.artifact, &opened.units);
    let accountant = args.plan.accountant();
    let directory = RunDir::new(&args.out.clone().unwrap_or_else(|| default_out(&args.artifact)));
    let ledger = match &args.ledger {
        Some(ledger) => ledger.clone(),
        None if args.resume && ranks.is_first() => directory.ledger_used()?,
        None => directory.ledger(),
    };
    let plan = plan_among(&**ranks, || plan(args, artifact, (opened.unit, units.all()), (&directory, &ledger)))?;
    for warning in plan.warnings(units.all() as u64).into_iter().filter(|_| ranks.is_first()) {
        output::report(&Report::new(warning));
    }
    let device = device::open(&args.device)?;
    let physical_batch = args.physical_batch(&opened, &plan, &*device, ranks.size());
    if !args.json {
        announce(args, &plan, units.all(), &device.name(), (physical_batch, ranks.size()));
    }
    Ok(train(&Training {
        accountant,
        ledger,
        resume: args.resume,
        progress: !args.json,
        record_private_metrics: args.record_private_metrics,
        tensorboard: args.tensorboard.clone(),
        config,
        ranks: ranks.clone(),
        ..args.training(&opened, &plan, &*device, physical_batch, directory)
    })?)
}

/// What a run is made from, as its flags name it.
pub struct Opened {
    pub artifact: Artifact,
    pub data: Dataset,
    pub valid: Option<Dataset>,
    pub unit: Unit,
    pub units: Units,
}

impl Args {
    /// Reads the artifact and the data.
    pub fn open(&self) -> Result<Opened> {
        self.open_among(&Alone)
    }

    /// Reads the artifact and what a rank has of the data.
    fn open_among(&self, ranks: &dyn Ranks) -> Result<Opened> {
        let artifact = Artifact::load(&self.artifact)?;
        if artifact.manifest.loss.is_none() {
            return Err(TrainArgsError::NoLoss { path: self.artifact.clone() }.into());
        }
        let (data, valid) = load(self, &artifact.manifest.schema, ranks)?;
        let (unit, mut units) = units(self, &data)?;
        if self.data_shard {
            let groups = data.groups().filter(|_| unit == Unit::Group);
            units = shards::place(ranks, &data, units, groups)?;
        }
        Ok(Opened { artifact, data, valid, unit, units })
    }

    /// What tells apart what is opened by the flags of several runs.
    pub fn opens(&self) -> String {
        format!("{:?} {:?} {:?} {:?}", self.artifact, self.data, self.valid, self.reading)
    }

    /// What is asked of the run's privacy.
    pub fn request(&self, artifact: &Artifact) -> Result<PlanRequest> {
        let mut request = self.plan.request();
        if let Some(augment) = &self.augment {
            augment.check(&artifact.manifest.schema)?;
            request.views = augment.views as u64;
        }
        Ok(request)
    }

    /// Rows of a physical batch of `plan` on each of so many ranks.
    pub fn physical_batch(&self, opened: &Opened, plan: &PrivacyPlan, device: &dyn Device, ranks: usize) -> usize {
        let rows = self.physical_batch.map(|rows| rows as usize);
        let rows = rows.unwrap_or_else(|| physical::suited(device, &opened.artifact, plan, &opened.units, ranks));
        let most = if plan.non_private { None } else { opened.artifact.program.most_rows() };
        most.map_or(rows, |most| rows.min(most))
    }

    /// A run by these flags into `directory`, from its beginning, with a ledger of its own, unseen.
    pub fn training<'a>(
        &'a self,
        opened: &'a Opened,
        plan: &'a PrivacyPlan,
        device: &'a dyn Device,
        physical_batch: usize,
        directory: RunDir,
    ) -> Training<'a> {
        Training {
            artifact: &opened.artifact,
            device,
            data: &opened.data,
            units: &opened.units,
            augment: self.augment,
            valid: opened.valid.as_ref(),
            valid_every: self.valid_every,
            plan,
            accountant: self.plan.accountant(),
            learning_rate: self.lr,
            lr_for: self.lr_for.clone(),
            lr_schedule: self.lr_schedule.clone(),
            ema: self.ema,
            physical_batch,
            ledger: directory.ledger(),
            directory,
            resume: false,
            checkpoint_interval: self.checkpoint_interval,
            progress: false,
            record_private_metrics: false,
            tensorboard: None,
            trial_of: None,
            ranks: Arc::new(Alone),
            shard_noise: self.shard_noise,
            config: None,
        }
    }

    /// Which device it is to run on.
    pub fn device(&self) -> &DeviceChoice {
        &self.device
    }

    /// Whether there is something to evaluate on.
    pub fn is_validated(&self) -> bool {
        self.valid.is_some()
    }

    /// The accountant, where one is named.
    pub fn named_accountant(&self) -> Option<&'static dyn Accountant> {
        self.plan.named_accountant()
    }

    /// The same run, into `directory`; with `resume` what was begun there goes on.
    #[must_use]
    pub fn into_directory(self, directory: &Path, resume: bool) -> Args {
        Args { out: Some(directory.to_owned()), resume, ..self }
    }
}

/// The data to train on and to validate on. Rank 0 reads them first, as it may prepare a file for all.
fn load(args: &Args, schema: &Schema, ranks: &dyn Ranks) -> Result<(Dataset, Option<Dataset>)> {
    if !ranks.is_first() {
        ranks.wait()?;
    }
    let spec = match args.data_shard {
        true => args.data.replace("{rank}", &ranks.rank().to_string()),
        false => args.data.clone(),
    };
    let data = args.reading.load(&spec, schema, None)?;
    let valid = args.valid.as_ref().filter(|_| ranks.is_first());
    let valid = valid.map(|spec| args.reading.load(spec, schema, Some(&data))).transpose()?;
    if ranks.is_first() {
        ranks.wait()?;
    }
    Ok((data, valid))
}

/// What rank 0 plans, which all follow.
fn plan_among(ranks: &dyn Ranks, own: impl FnOnce() -> Result<PrivacyPlan>) -> Result<PrivacyPlan> {
    if ranks.is_first() {
        let plan = own()?;
        ranks.broadcast(&mut serde_json::to_vec(&plan).into_diagnostic()?)?;
        return Ok(plan);
    }
    let mut text = Vec::new();
    ranks.broadcast(&mut text)?;
    serde_json::from_slice(&text).into_diagnostic()
}

/// The plan that `args` ask for on so many units, by what `ledger` holds, or the run in `directory` that is to go on.
fn plan(
    args: &Args,
    artifact: &Artifact,
    units: (Unit, usize),
    (directory, ledger): (&RunDir, &Path),
) -> Result<PrivacyPlan> {
    let begun = if args.resume { plan_of(directory)? } else { None };
    let spent = if args.resume { Contents::default() } else { Contents::read_if_any(ledger)? };
    if spent.selection().is_some() {
        return Err(LedgerError::Selection { path: ledger.to_owned() }.into());
    }
    let request = args.request(artifact)?;
    Ok(request.plan(artifact.manifest.clipped(), units, &spent.recorded(), begun.as_ref())?)
}

fn default_out(artifact: &Path) -> PathBuf {
    artifact.with_extension("run")
}

/// What the run samples and clips as one.
fn units(args: &Args, data: &Dataset) -> Result<(Unit, Units)> {
    let wanted = args.unit.as_deref();
    match data.groups().filter(|_| wanted != Some("record") && args.plan.is_private()) {
        Some(groups) => Ok((Unit::Group, Units::grouped(groups))),
        None if wanted == Some("group") && args.plan.is_private() => {
            Err(TrainArgsError::NoGroups { data: args.data.clone() }.into())
        }
        None => Ok((Unit::Record, Units::single(data.records()))),
    }
}

/// Says what is about to be done.
fn announce(args: &Args, plan: &PrivacyPlan, units: usize, device: &str, (physical_batch, ranks): (usize, usize)) {
    let noise = match plan.non_private {
        true => "not private".to_owned(),
        false => format!("clip {}, noise multiplier {:.4}", plan.clip, plan.noise_multiplier),
    };
    let noise = match &plan.correlation {
        Some(strategy) => format!("{noise}, correlated by {} with {}", strategy.correlation(), plan.sampling),
        None => noise,
    };
    let mut lr = format!("learning rate {}", args.lr);
    if args.lr_schedule != LrSchedule::CONSTANT {
        lr += &format!(" ({})", args.lr_schedule);
    }
    for own in &args.lr_for {
        lr += &format!(", {own}");
    }
    if let Some(augment) = &args.augment {
        lr += &format!(", {} random views a record", augment.views);
    }
    if let Some(decay) = args.ema {
        lr += &format!(", moving average of decay {decay}");
    }
    let ranks = if ranks == 1 { ",".to_owned() } else { format!(", by {ranks} ranks, each") };
    output::note(format_args!(
        "{} steps of {}, {noise}, {lr}{ranks} on {device} in physical batches of {physical_batch}",
        plan.planned_steps,
        batches(plan, units),
    ));
}

/// How many units a step has: what the sample rate makes of them, which need not be what sums are divided by.
fn batches(plan: &PrivacyPlan, units: usize) -> String {
    let (divisor, rate, unit) = (plan.divisor(), plan.rate(), plan.unit);
    let expected = rate * units as f64;
    match (expected - divisor).abs() <= 1e-6 * divisor {
        true => format!("{divisor} {unit}s expected (sample rate {rate:.6})"),
        false => format!("{expected:.1} {unit}s expected (sample rate {rate:.6}), their sum divided by {divisor}"),
    }
}

/// Says how the run ended.
pub fn conclude(summary: &Summary) -> Result<()> {
    if summary.steps < summary.planned_steps {
        output::warning(format_args!(
            "{} of {} steps were taken: more would have cost more than the ε asked for, since steps were repeated after \
             an interruption, or other runs share the ledger",
            summary.steps, summary.planned_steps
        ));
    }
    match (summary.epsilon, summary.delta) {
        (Some(epsilon), Some(delta)) => {
            output::line(format!("{} steps, ({epsilon:.4}, {delta:e})-differentially private", summary.steps))?;
        }
        _ => output::line(format!("{} steps, nothing is guaranteed", summary.steps))?,
    }
    if let Some(valid) = &summary.valid {
        valid.warnings().iter().for_each(output::warning);
        if summary.evaluated.len() > 1 {
            output::line(evaluations::table(&summary.evaluated).trim_end())?;
        }
        output::line(format!("validation {}", valid.text(4)))?;
    }
    output::line(format!("wrote {}", summary.out.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::plan::PlanSpec;
    use crate::privacy::sampling::Sampling;

    #[test]
    fn batches_are_of_what_is_sampled() {
        let said = |rate: f64, batch: f64, unit: Unit| {
            let spec = PlanSpec::new(Sampling::Poisson { rate }, batch, "flat:1".parse().unwrap());
            let spec = PlanSpec { unit, noise_multiplier: 1.0, delta: Some(1e-5), ..spec };
            batches(&PrivacyPlan::new(spec).unwrap(), 200)
        };
        assert_eq!(said(0.1, 20.0, Unit::Group), "20 groups expected (sample rate 0.100000)");
        let said = said(0.9, 20.0, Unit::Record);
        assert_eq!(said, "180.0 records expected (sample rate 0.900000), their sum divided by 20");
    }
}
