//! The training loop: logical steps, and what a run leaves on disk.
//!
//! Each step is paid for in the ledger between its two halves (see [`super::step`]), so that nothing of
//! it is observable before its line is on the disk.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::checkpoint::{Checkpoint, CheckpointError, Checkpoints};
use super::data::Dataset;
use super::engine::{Engine, EngineError, Shown};
use super::evaluate::{Evaluation, Scored, evaluate};
use super::metrics::{Estimated, MetricsLog, Observed, StepMetrics};
use super::progress::Progress;
use super::run_dir::RunDir;
use super::step::{Released, Setting, StepError, Stepper};
use super::units::Units;
use crate::artifact::{Artifact, ArtifactError};
use crate::device::Device;
use crate::files::{self, FileError};
use crate::lower::program::Phase;
use crate::privacy::accountant::{Accountant, InvalidInput};
use crate::privacy::certificate::{Certificate, CertificateError, NoCertificate, Provenance};
use crate::privacy::clipping::ClipState;
use crate::privacy::keys::{EntropyError, RunKey, run_id};
use crate::privacy::ledger::{Contents, Head, Ledger, LedgerError};
use crate::privacy::plan::PrivacyPlan;
use crate::privacy::release::Estimates;

/// The least time between lines of metrics.
const LOG_INTERVAL: Duration = Duration::from_secs(1);
/// How many times as long as working out its ε the time between lines is.
const LOG_COST: u32 = 20;

/// All that a run is made from.
pub struct Training<'a> {
    pub artifact: &'a Artifact,
    pub device: &'a dyn Device,
    pub data: &'a Dataset,
    /// Which records of `data` are one unit of the plan.
    pub units: &'a Units,
    /// Evaluated after the last step.
    pub valid: Option<&'a Dataset>,
    pub plan: &'a PrivacyPlan,
    pub accountant: &'static dyn Accountant,
    pub learning_rate: f64,
    /// Rows of a physical batch; it does not change the result.
    pub physical_batch: usize,
    pub directory: RunDir,
    /// The ledger, which other runs on the same data may share.
    pub ledger: PathBuf,
    /// Go on from the directory's last checkpoint.
    pub resume: bool,
    /// The time between checkpoints; there is always one after the last step.
    pub checkpoint_interval: Duration,
    /// Show progress on standard error.
    pub progress: bool,
    /// Write what the guarantee does not cover into the metrics too.
    pub record_private_metrics: bool,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Logical steps of the trained parameters.
    pub steps: u64,
    /// How many were planned. Where there are fewer, more would have exceeded the plan's ε.
    pub planned_steps: u64,
    /// ε of all steps in the ledger; `None` where nothing is guaranteed.
    pub epsilon: Option<f64>,
    pub delta: Option<f64>,
    pub valid: Option<Evaluation>,
    /// The run's directory.
    pub out: PathBuf,
}

#[derive(Debug, Error, Diagnostic)]
pub enum TrainError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    NoCertificate(#[from] NoCertificate),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Accounting(#[from] InvalidInput),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Entropy(#[from] EntropyError),

    #[error("{} holds a run already", path.display())]
    #[diagnostic(code(dpc::train::exists), help("go on with it by --resume, or give another directory by --out"))]
    Exists { path: PathBuf },

    #[error("{} holds no run to go on with", path.display())]
    #[diagnostic(
        code(dpc::train::no_run),
        help("begin one by leaving out --resume, or give the directory of the run by --out")
    )]
    NoRun { path: PathBuf },

    #[error("the run in {} is in use by another process", path.display())]
    #[diagnostic(code(dpc::train::in_use), help("wait for it to end, or give another directory by --out"))]
    InUse { path: PathBuf },

    #[error("the ledger {} leaves nothing of ε = {target}: its steps and one more would cost {reached:.4}", path.display())]
    #[diagnostic(
        code(dpc::train::spent),
        help("give a larger --epsilon, or more noise; a ledger counts all runs on the same data")
    )]
    Spent { path: PathBuf, target: f64, reached: f64 },

    #[error("the run in {} was started with another {}", path.display(), what.join(", another "))]
    #[diagnostic(
        code(dpc::train::resume),
        help("resume with what it was started with, or give another directory by --out")
    )]
    OtherRun { path: PathBuf, what: Vec<&'static str> },
}

/// What a checkpoint says of its run, to be found unchanged on resuming.
#[derive(Debug, Serialize, Deserialize)]
struct Context {
    plan: PrivacyPlan,
    provenance: Provenance,
    learning_rate: f64,
    clip: ClipState,
    ledger: Head,
}

/// Trains, and writes the run's directory.
///
/// # Errors
/// Everything that can go wrong while training. The ledger and the last checkpoint are then whole,
/// and the run can be resumed.
pub fn train(training: &Training<'_>) -> Result<Summary, TrainError> {
    let mut run = Run::start(training)?;
    while run.step < run.end {
        run.logical_step()?;
        run.log(run.step == run.end)?;
        run.checkpoint(run.step == run.end)?;
    }
    run.finish()
}

/// The plan of the run in `directory` at its last checkpoint, which it can be resumed with.
///
/// # Errors
/// When there is no run, or its checkpoint cannot be read.
pub fn plan_of(directory: &RunDir) -> Result<Option<PrivacyPlan>, TrainError> {
    if !directory.artifact().exists() {
        return Err(TrainError::NoRun { path: directory.path().to_owned() });
    }
    let checkpoint = Checkpoints::at(&directory.checkpoints()).latest()?;
    let context = checkpoint.and_then(|checkpoint| serde_json::from_value::<Context>(checkpoint.context).ok());
    Ok(context.map(|context| context.plan))
}

struct Run<'a> {
    training: &'a Training<'a>,
    id: String,
    provenance: Provenance,
    /// Logical steps taken.
    step: u64,
    /// The last step that may be taken, and one.
    end: u64,
    stepper: Stepper<'a>,
    ledger: Ledger,
    checkpoints: Checkpoints,
    metrics: MetricsLog,
    progress: Progress,
    since_log: SinceLog,
    /// Between lines of metrics.
    log_interval: Duration,
    checkpointed: Instant,
    _lock: File,
}

impl<'a> Run<'a> {
    fn start(training: &'a Training<'a>) -> Result<Self, TrainError> {
        let (plan, directory) = (training.plan, &training.directory);
        let path = || directory.path().to_owned();
        match (training.resume, directory.artifact().exists()) {
            (false, true) => return Err(TrainError::Exists { path: path() }),
            (true, false) => return Err(TrainError::NoRun { path: path() }),
            _ => {}
        }
        let checkpoints = Checkpoints::at(&directory.checkpoints());
        let artifact = training.artifact;
        let provenance = artifact.provenance()?;
        let program = Arc::new(artifact.program.clone());
        let phases = [&[Phase::Forward], Stepper::phases(plan)].concat();
        let mut engine = Engine::new(training.device, program, &artifact.weights, training.physical_batch, &phases)?;
        let mut clip = ClipState::new(&plan.clip, &artifact.manifest.clip_groups);

        let checkpoint = if training.resume { checkpoints.latest()? } else { None };
        let mut step = 0;
        if let Some(checkpoint) = &checkpoint {
            clip = check_resumable(training, &provenance, checkpoint)?;
            engine.set_parameters(&checkpoint.parameters)?;
            engine.set_states(&checkpoint.states)?;
            step = checkpoint.step;
        }
        let key = RunKey::for_plan(plan)?;
        let setting = Setting {
            plan,
            data: training.data,
            units: training.units,
            optimizer: artifact.manifest.optimizer,
            learning_rate: training.learning_rate,
        };
        let stepper = Stepper::new(setting, engine, clip, &key, step)?;

        // Nothing is on the disk yet. A plan that no certificate could be had for ends here.
        affordable(training, &Contents::read_if_any(&training.ledger)?, step)?;
        files::create_directory(directory.path())?;
        let lock = files::lock(&directory.lock())?.ok_or_else(|| TrainError::InUse { path: path() })?;
        let id = run_id()?;
        let ledger = Ledger::open(&training.ledger, &id, plan)?;
        let end = affordable(training, ledger.contents(), step)?;
        directory.remove_temporaries()?;
        // More is spent than an earlier certificate says, as soon as there is another step.
        files::remove(&directory.certificate())?;
        files::remove(&directory.certificate_page())?;
        let mut run = Self {
            training,
            id,
            provenance,
            step,
            end,
            stepper,
            ledger,
            checkpoints,
            metrics: MetricsLog::open(&directory.metrics(), step)?,
            progress: match training.progress {
                true => Progress::new(end, step),
                false => Progress::silent(),
            },
            since_log: SinceLog::new(step),
            log_interval: LOG_INTERVAL,
            checkpointed: Instant::now(),
            _lock: lock,
        };
        if !training.resume {
            // From here on it is a run, with a checkpoint that it can be resumed from.
            run.checkpoint(true)?;
            artifact.save(&directory.artifact())?;
        }
        Ok(run)
    }

    fn logical_step(&mut self) -> Result<(), TrainError> {
        let Self { stepper, since_log, .. } = self;
        stepper.accumulate(self.step, |shown, clip, scale| since_log.add(shown, clip, scale))?;
        let receipt = self.ledger.record(self.step)?;
        let released = stepper.release(self.step, receipt)?;
        since_log.release(&released);
        self.step += 1;
        Ok(())
    }

    fn log(&mut self, last: bool) -> Result<(), TrainError> {
        if !last && self.since_log.started.elapsed() < self.log_interval {
            return Ok(());
        }
        let plan = self.training.plan;
        let metrics = StepMetrics {
            step: self.step,
            epoch: self.step as f64 * plan.rate(),
            epsilon: self.epsilon()?,
            samples_per_second: (self.step - self.since_log.step) as f64 * plan.expected_batch
                / self.since_log.started.elapsed().as_secs_f64(),
            estimates: plan.estimates.map(|_| self.since_log.estimated(self.step)),
            not_private: Some(self.since_log.observed()),
        };
        let recorded = match self.training.record_private_metrics || plan.non_private {
            true => metrics.clone(),
            false => StepMetrics { not_private: None, ..metrics.clone() },
        };
        self.metrics.write(&recorded)?;
        // Where nobody looks on, what is shown ends up in a file.
        self.progress.update(if self.progress.is_watched() { &metrics } else { &recorded });
        self.since_log = SinceLog::new(self.step);
        Ok(())
    }

    /// ε of everything in the ledger.
    fn epsilon(&mut self) -> Result<Option<f64>, TrainError> {
        let Training { plan, accountant, .. } = self.training;
        let Some(delta) = plan.delta.filter(|_| plan.insecure_seed.is_none()) else {
            return Ok(None);
        };
        let started = Instant::now();
        let history = self.ledger.contents().history(plan);
        let epsilon = accountant.epsilon(&history, plan.adjacency, delta)?;
        self.log_interval = LOG_INTERVAL.max(started.elapsed() * LOG_COST);
        Ok(epsilon.is_finite().then_some(epsilon))
    }

    fn checkpoint(&mut self, last: bool) -> Result<(), TrainError> {
        if !last && self.checkpointed.elapsed() < self.training.checkpoint_interval {
            return Ok(());
        }
        let context = Context {
            plan: self.training.plan.clone(),
            provenance: self.provenance.clone(),
            learning_rate: self.training.learning_rate,
            clip: self.stepper.clip().clone(),
            ledger: self.ledger.contents().head(),
        };
        let directory = self.training.directory.checkpoints();
        let context = serde_json::to_value(&context).map_err(|error| FileError::write(&directory, error.into()))?;
        self.checkpoints.save(&Checkpoint {
            step: self.step,
            run: self.id.clone(),
            context,
            parameters: self.stepper.engine().parameters()?,
            states: self.stepper.engine().states()?,
        })?;
        self.checkpointed = Instant::now();
        Ok(())
    }

    fn finish(mut self) -> Result<Summary, TrainError> {
        self.progress.finish();
        let training = self.training;
        let certificate =
            Certificate::new(training.plan, self.ledger.contents(), training.accountant, self.provenance)?;
        certificate.write(&training.directory.certificate())?;
        certificate.write_page(&training.directory.certificate_page())?;
        let valid = match training.valid.zip(Scored::of(&training.artifact.manifest)) {
            Some((data, scored)) => Some(evaluate(self.stepper.engine(), data, &scored)?),
            None => None,
        };
        Ok(Summary {
            steps: self.step,
            planned_steps: training.plan.planned_steps,
            epsilon: certificate.epsilon.filter(|_| certificate.guarantee),
            delta: training.plan.delta,
            valid,
            out: training.directory.path().to_owned(),
        })
    }
}

/// The end of the steps from number `step` on that the plan's ε allows after those in `ledger`: fewer than planned where
/// steps were repeated after a crash, or other runs share the ledger. None at all is an error for a run that begins.
fn affordable(training: &Training<'_>, ledger: &Contents, step: u64) -> Result<u64, TrainError> {
    let Training { plan, accountant, .. } = training;
    let planned = plan.planned_steps;
    let Some(delta) = plan.delta else {
        return Ok(planned);
    };
    let history = ledger.history(plan);
    let after = |end: u64| {
        let all = [history.clone(), plan.planned(step..end)].concat();
        accountant.epsilon(&all, plan.adjacency, delta)
    };
    let target = plan.target_epsilon.map_or(f64::INFINITY, |target| target * (1.0 + 1e-9));
    // Steps below `low` are allowed, and those from `high` on are not.
    let (mut low, mut high) = (step, planned + 1);
    let mut next = planned;
    while low + 1 < high {
        if after(next)? <= target {
            low = next
        } else {
            high = next
        }
        next = low.midpoint(high);
    }
    match plan.target_epsilon {
        Some(target) if low == 0 && planned > 0 => {
            let (path, reached) = (training.ledger.clone(), after(1)?);
            Err(TrainError::Spent { path, target, reached })
        }
        _ => Ok(low),
    }
}

/// The clip bounds of a checkpoint that `training` can go on from.
fn check_resumable(
    training: &Training<'_>,
    provenance: &Provenance,
    checkpoint: &Checkpoint,
) -> Result<ClipState, TrainError> {
    let path = training.directory.path().to_owned();
    let Ok(context) = serde_json::from_value::<Context>(checkpoint.context.clone()) else {
        let what = vec!["version of dpc"];
        return Err(TrainError::OtherRun { path, what });
    };
    let ledger = &training.ledger;
    let contents = if ledger.exists() { Contents::read(ledger)? } else { Contents::default() };
    contents.check_continues(ledger, &context.ledger)?;
    let mut what = Vec::new();
    let mut same = |name, same: bool| {
        if !same {
            what.push(name);
        }
    };
    same("privacy plan", context.plan == *training.plan);
    same("model or program", context.provenance == *provenance);
    same("learning rate", context.learning_rate == training.learning_rate);
    match what.is_empty() {
        true => Ok(context.clip),
        false => Err(TrainError::OtherRun { path, what }),
    }
}

/// What has been observed since the last line of metrics.
struct SinceLog {
    started: Instant,
    step: u64,
    /// Units whose norms were seen.
    units: u64,
    finite_losses: u64,
    loss: f64,
    clipped: u64,
    nonfinite: u64,
    estimates: [f64; Estimates::COUNT],
}

impl SinceLog {
    fn new(step: u64) -> Self {
        Self {
            started: Instant::now(),
            step,
            units: 0,
            finite_losses: 0,
            loss: 0.0,
            clipped: 0,
            nonfinite: 0,
            estimates: [0.0; Estimates::COUNT],
        }
    }

    fn release(&mut self, released: &Released) {
        let estimates = released.estimates.unwrap_or_default();
        self.estimates.iter_mut().zip(estimates).for_each(|(sum, value)| *sum += value);
    }

    /// What the noisy sums since the last line say at `step`.
    fn estimated(&self, step: u64) -> Estimated {
        let [units, loss] = self.estimates;
        Estimated {
            batch_size: units / step.saturating_sub(self.step).max(1) as f64,
            loss: (units > 0.0).then(|| loss / units),
        }
    }

    fn add(&mut self, shown: &Shown, clip: &ClipState, scale: f64) {
        for loss in shown.loss.iter().filter(|loss| loss.is_finite()) {
            self.loss += f64::from(*loss);
            self.finite_losses += 1;
        }
        self.units += shown.norm.len() as u64;
        for (norm, norms) in shown.norm.iter().zip(shown.group_norms.chunks_exact(clip.groups().max(1))) {
            if !norm.is_finite() {
                self.nonfinite += 1;
            } else if clip.clips(norms, scale) {
                self.clipped += 1;
            }
        }
    }

    fn observed(&self) -> Observed {
        let fraction = |part: f64, whole: u64| (whole > 0).then(|| part / whole as f64);
        Observed {
            loss: fraction(self.loss, self.finite_losses),
            clipped_fraction: fraction(self.clipped as f64, self.units),
            nonfinite_units: self.nonfinite,
        }
    }
}

#[cfg(test)]
mod tests;
