//! The training loop: logical steps, and what a run leaves on disk.
//!
//! Each step is paid for in the ledger between its two halves (see [`super::step`]), so that nothing of
//! it is observable before its line is on the disk. Several [`Ranks`] may train together: all run this loop, and rank 0 alone writes.

mod error;
mod log;
mod resume;
mod since_log;
mod validation;

use std::borrow::Cow;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

pub use self::error::TrainError;
use self::resume::check_resumable;
pub use self::resume::plan_of;
use self::since_log::SinceLog;
use super::agreement::Agreement;
use super::augment::Augment;
use super::average::Average;
use super::checkpoint::{Checkpoint, Checkpoints};
use super::data::{Dataset, LoadAhead};
use super::evaluate::Evaluation;
use super::every::Every;
use super::finite;
use super::load::{self, Loaded};
use super::lr_for::{self, LrFor};
use super::lr_schedule::LrSchedule;
use super::metrics::{MetricsLog, StepMetrics};
use super::paid::{Affordable, Outcome, PaidSteps, affordable};
use super::progress::Progress;
use super::released::NoiseState;
use super::run_dir::RunDir;
use super::step::{Setting, Stepper};
use super::tensorboard::EventFile;
use super::terms::{Context, StreamContext, Terms};
use super::units::Units;
use crate::artifact::{Artifact, NoViews};
use crate::device::Device;
use crate::files;
use crate::privacy::accountant::Accountant;
use crate::privacy::certificate::{Certificate, Provenance};
use crate::privacy::clipping::ClipState;
use crate::privacy::keys::{RunKey, SystemEntropy, run_id};
use crate::privacy::ledger::{Contents, Ledger};
use crate::privacy::plan::PrivacyPlan;
use crate::privacy::shared::SharedEntropy;
use crate::ranks::{Common, Ranks};
use crate::tensors::Tensors;

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
    /// How the views of records are made, of which the plan has the number.
    pub augment: Option<Augment>,
    /// What is trained is evaluated on it after the last step. It is taken to be public.
    pub valid: Option<&'a Dataset>,
    /// When it is evaluated before that too.
    pub valid_every: Option<Every>,
    pub plan: &'a PrivacyPlan,
    pub accountant: &'static dyn Accountant,
    pub learning_rate: f64,
    /// The learning rates of parameters that have their own.
    pub lr_for: Vec<LrFor>,
    /// How they change over the plan's steps.
    pub lr_schedule: LrSchedule,
    /// The decay of the moving average that is the trained model; by default that is what the last step left.
    pub ema: Option<f64>,
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
    /// Where to write an event file for TensorBoard, with what goes into the metrics.
    pub tensorboard: Option<PathBuf>,
    /// The text of the file that repeats the run, which goes into its directory.
    pub config: Option<&'a str>,
    /// The selection that the run is a trial of. It has no certificate then, and nothing of it may be shown before the best is chosen.
    pub trial_of: Option<&'a str>,
    /// Those that train together, each from a training of its own. Rank 0 writes what is written.
    pub ranks: Arc<dyn Ranks>,
    /// Whether each of them makes a part of the noise, and not all of it; it does not change the result.
    pub shard_noise: bool,
}

impl Training<'_> {
    /// What all ranks must have the same of.
    fn agreement(&self) -> Agreement<'_> {
        Agreement {
            artifact: self.artifact,
            data: self.data,
            units: self.units,
            plan: self.plan,
            accountant: self.accountant,
            augment: self.augment,
            learning_rate: self.learning_rate,
            lr_for: &self.lr_for,
            lr_schedule: &self.lr_schedule,
            ema: self.ema,
        }
    }

    /// What its checkpoints say that it is trained by.
    fn terms(&self, provenance: &Provenance) -> Terms {
        Terms {
            plan: self.plan.clone(),
            provenance: provenance.clone(),
            learning_rate: self.learning_rate,
            lr_for: self.lr_for.clone(),
            augment: self.augment,
            lr_schedule: self.lr_schedule.clone(),
            ema: self.ema,
        }
    }

    /// What they must have the same of beside it, so that they make the same calls.
    fn common(&self) -> Vec<Common> {
        vec![
            Common::new("choice to resume", self.resume),
            Common::new("choice to write events", self.tensorboard.is_some()),
            Common::new("choice to make parts of the noise", self.shard_noise),
        ]
    }
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
    /// The lines of metrics with an evaluation, over all of the run. These and `valid` are of rank 0 alone.
    #[serde(skip)]
    pub evaluated: Vec<StepMetrics>,
    /// The run's directory.
    pub out: PathBuf,
}

/// Trains, and writes the run's directory.
///
/// # Errors
/// Everything that can go wrong while training, on all ranks where it does on one. The ledger and the last checkpoint are then
/// whole, and the run can be resumed.
pub fn train(training: &Training<'_>) -> Result<Summary, TrainError> {
    train_while(training, &mut |_| true)
}

/// As [`train`], as long as `goes_on` says so, which is asked before the first step and after each, and answers the same on all
/// ranks. What it ends can be resumed.
///
/// # Errors
/// As [`train`].
pub fn train_while(
    training: &Training<'_>,
    goes_on: &mut dyn FnMut(&mut Run<'_>) -> bool,
) -> Result<Summary, TrainError> {
    let ended = run(training, goes_on);
    if let Err(error) = &ended {
        training.ranks.leave(&error.to_string());
    }
    ended
}

fn run(training: &Training<'_>, goes_on: &mut dyn FnMut(&mut Run<'_>) -> bool) -> Result<Summary, TrainError> {
    let mut run = Run::start(training)?;
    let mut last = !goes_on(&mut run) || run.steps.ended();
    while !last {
        run.logical_step()?;
        last = !goes_on(&mut run) || run.steps.ended();
        if last {
            run.checkpoint(true)?;
        }
        let valid = run.validate_if_due()?;
        run.log(last, valid)?;
        if !last {
            run.checkpoint(false)?;
        }
    }
    run.finish()
}

/// The end of the steps from number `step` on that the plan's ε allows after those in `ledger`. None at all is an error
/// for a run that begins.
fn last_step(training: &Training<'_>, ledger: &Contents, step: u64, stream: Option<&str>) -> Result<u64, TrainError> {
    match affordable(training.plan, training.accountant, ledger, step, stream)? {
        Affordable::Until(end) => Ok(end),
        Affordable::Nothing { target, reached } => {
            Err(TrainError::Spent { path: training.ledger.clone(), target, reached })
        }
    }
}

/// A run between two of its steps.
pub struct Run<'a> {
    training: &'a Training<'a>,
    id: String,
    provenance: Provenance,
    steps: PaidSteps<'a>,
    checkpoints: Checkpoints,
    /// Of rank 0 alone.
    metrics: Option<MetricsLog>,
    events: Option<EventFile>,
    progress: Progress,
    views_apart: Option<NoViews>,
    average: Option<Average>,
    /// The last evaluation, and after how many steps it was.
    valid: Option<(u64, Evaluation)>,
    since_log: SinceLog,
    /// Between lines of metrics.
    log_interval: Duration,
    checkpointed: Instant,
    /// The step of the last checkpoint.
    saved: u64,
    /// Files of data that the system reads meanwhile.
    _loading: Option<LoadAhead>,
    /// Of rank 0 alone.
    _lock: Option<File>,
}

impl<'a> Run<'a> {
    fn start(training: &'a Training<'a>) -> Result<Self, TrainError> {
        let (plan, directory, ranks) = (training.plan, &training.directory, &training.ranks);
        let (path, first) = (|| directory.path().to_owned(), ranks.is_first());
        match (training.resume, directory.artifact().exists()) {
            _ if !first => {}
            (false, true) => return Err(TrainError::Exists { path: path() }),
            (true, false) => return Err(TrainError::NoRun { path: path() }),
            _ => {}
        }
        let checkpoints = Checkpoints::at(&directory.checkpoints());
        let artifact = training.artifact;
        let provenance = artifact.provenance()?;
        training.agreement().check(&**ranks, training.common())?;
        let own = lr_for::resolve(&training.lr_for, &artifact.program)?;
        let Loaded { mut engine, views_apart } =
            load::engine(training.device, artifact, plan, training.physical_batch, &own)?;
        let mut clip = ClipState::new(&plan.clip, &artifact.manifest.clip_groups);

        let checkpoint = if training.resume { checkpoints.latest_among(&**ranks)? } else { None };
        let mut step = 0;
        let mut begun = None;
        if let Some(checkpoint) = &checkpoint {
            (clip, begun) = check_resumable(training, &provenance, checkpoint)?;
            engine.set_parameters(&checkpoint.parameters)?;
            engine.set_states(&checkpoint.states)?;
            step = checkpoint.step;
        }
        let from = match &checkpoint {
            Some(_) => format!("the checkpoint of step {step}"),
            None => "the model, before any training,".to_owned(),
        };
        let parameters = engine.parameters()?;
        let what = finite::nonfinite(&engine.trained(), &parameters, &engine.states()?);
        if !what.is_empty() {
            return Err(TrainError::NotFiniteAtStart { from, what });
        }
        let average = training.ema.map(|decay| match checkpoint {
            Some(checkpoint) => Average::new(decay, checkpoint.averages),
            None => Average::of(decay, &engine.trained(), &parameters),
        });
        // Whoever could not load it is not waited for later.
        ranks.wait()?;
        let entropy = SharedEntropy::new(&**ranks, &SystemEntropy);
        let key = RunKey::for_plan(plan, &entropy)?;
        let setting = Setting {
            plan,
            data: training.data,
            units: Cow::Borrowed(training.units),
            augment: training.augment,
            optimizer: artifact.manifest.optimizer,
            learning_rate: training.learning_rate,
            lr_schedule: Cow::Borrowed(&training.lr_schedule),
        };
        let mut stepper = Stepper::new(setting, engine, clip, &key, step)?.among(ranks.clone());
        if training.shard_noise {
            stepper = stepper.sharing_noise()?;
        }
        if let Some(StreamContext { sha256, .. }) = &begun {
            stepper.set_noise_state(NoiseState::load_among(&**ranks, &directory.checkpoints(), step, sha256)?)?;
        }
        let stream = begun.as_ref().map(|begun| &*begun.id);

        // Nothing is on the disk yet. A plan that no certificate could be had for ends here.
        let mut lock = None;
        if first {
            last_step(training, &Contents::read_if_any(&training.ledger)?, step, stream)?;
            files::create_directory(directory.path())?;
            lock = Some(files::lock(&directory.lock())?.ok_or_else(|| TrainError::InUse { path: path() })?);
        }
        ranks.wait()?;
        let id = run_id(&entropy)?;
        let ledger = Ledger::open_among(ranks, &training.ledger, &id, plan)?.in_trial_of(training.trial_of);
        let ledger = match stream {
            Some(stream) => ledger.in_stream(stream),
            None => ledger,
        };
        // What rank 0 works out, should another machine round otherwise.
        let mut end = last_step(training, ledger.contents(), step, stream)?.to_le_bytes().to_vec();
        ranks.broadcast(&mut end)?;
        let end = end.first_chunk().map_or(step, |end| u64::from_le_bytes(*end));
        if first {
            directory.use_ledger(&training.ledger)?;
            directory.remove_temporaries()?;
            if let Some(config) = training.config {
                files::write_atomic(&directory.config(), |file| file.write_all(config.as_bytes()))?;
            }
            // More is spent than an earlier certificate says, as soon as there is another step.
            files::remove(&directory.certificate())?;
            files::remove(&directory.certificate_page())?;
        }
        // A run that draws as many records as there are comes by most of what is in files.
        let drawn = end.saturating_sub(step) as f64 * plan.expected_batch;
        let loading = (drawn >= training.units.all() as f64).then(|| LoadAhead::of(training.data)).flatten();
        let events = training.tensorboard.as_ref().filter(|_| first);
        let mut run = Self {
            training,
            id,
            provenance,
            steps: PaidSteps::new(stepper, ledger, step, end),
            checkpoints,
            metrics: first.then(|| MetricsLog::open(&directory.metrics(), step)).transpose()?,
            events: events.map(|path| EventFile::create(path, step)).transpose()?,
            progress: match training.progress && first {
                true => Progress::new(end, step, plan.unit),
                false => Progress::silent(),
            },
            views_apart,
            average,
            valid: None,
            since_log: SinceLog::new(step),
            log_interval: LOG_INTERVAL,
            checkpointed: Instant::now(),
            saved: step,
            _loading: loading,
            _lock: lock,
        };
        if let Some(why) = &run.views_apart {
            run.progress.say(&why.note(plan.views));
        }
        if !training.resume {
            // From here on it is a run, with a checkpoint that it can be resumed from.
            run.checkpoint(true)?;
            if first {
                artifact.save(&directory.artifact())?;
            }
        }
        Ok(run)
    }

    /// Steps taken.
    pub fn step(&self) -> u64 {
        self.steps.step()
    }

    /// Why a record's views are computed one record after the other, and not with those of others in one physical batch; `None` where they
    /// are, or where there are none.
    pub fn views_apart(&self) -> Option<&NoViews> {
        self.views_apart.as_ref()
    }

    /// The records that the next step draws; `None` where there is none. The guarantee rests on it that nobody else is told.
    pub fn drawn(&self) -> Option<Vec<usize>> {
        self.steps.drawn()
    }

    /// The parameters' values as they would be exported.
    ///
    /// # Errors
    /// When the device fails, or a value of what is trained is not finite.
    pub fn parameters(&mut self) -> Result<Tensors, TrainError> {
        let engine = self.steps.stepper().engine();
        let (trained, mut parameters) = (engine.trained(), engine.parameters()?);
        parameters.extend(self.average.iter().flat_map(|average| average.values().clone()));
        let what = finite::nonfinite(&trained, &parameters, &Tensors::new());
        if what.is_empty() { Ok(parameters) } else { Err(self.not_finite(what)?) }
    }

    /// What is guaranteed of all steps in the ledger.
    ///
    /// # Errors
    /// When the accountant gives no bounds, or cannot work with the ledger.
    pub fn certificate(&self) -> Result<Certificate, TrainError> {
        let (training, provenance) = (self.training, self.provenance.clone());
        let mut certificate = Certificate::new(training.plan, self.steps.ledger(), training.accountant, provenance)?;
        certificate.post_processing.extend(training.ema.map(Average::statement));
        Ok(certificate)
    }

    fn logical_step(&mut self) -> Result<(), TrainError> {
        let Self { steps, since_log, average, training, .. } = self;
        let mut of_step = SinceLog::new(steps.step());
        match steps.take(|shown, clip, scale| of_step.add(shown, clip, scale))? {
            Outcome::Taken(released) => of_step.release(&released),
            Outcome::NotFinite(what) => return Err(self.not_finite(what)?),
        }
        of_step.reduce(&*training.ranks, training.tensorboard.is_some())?;
        since_log.merge(&of_step);
        if let Some(average) = average {
            average.update(steps.step(), &steps.stepper().engine().parameters()?);
        }
        Ok(())
    }

    /// The end of a run whose parameters are not finite after its last step: with a line of metrics, and without a
    /// checkpoint.
    fn not_finite(&mut self, what: Vec<String>) -> Result<TrainError, TrainError> {
        if self.since_log.step < self.steps.step() {
            self.log(true, None)?;
        }
        self.progress.finish();
        let path = self.training.directory.path().to_owned();
        Ok(TrainError::NotFinite { path, step: self.steps.step(), saved: self.saved, what })
    }

    fn checkpoint(&mut self, last: bool) -> Result<(), TrainError> {
        let due = last || self.checkpointed.elapsed() >= self.training.checkpoint_interval;
        if !due || !self.training.ranks.is_first() {
            return Ok(());
        }
        let (directory, step) = (self.training.directory.checkpoints(), self.steps.step());
        let goes_on = !self.steps.ended();
        let context = Context {
            terms: self.training.terms(&self.provenance),
            clip: self.steps.stepper().clip().clone(),
            ledger: self.steps.ledger().head(),
            stream: None,
        };
        let engine = self.steps.stepper().engine();
        let (parameters, states) = (engine.parameters()?, engine.states()?);
        let what = finite::nonfinite(&engine.trained(), &parameters, &states);
        if !what.is_empty() {
            return Err(self.not_finite(what)?);
        }
        let mut context = context;
        let id = self.steps.stream().map(str::to_owned);
        // What has taken all its steps has no more to go on with.
        if let (Some(id), Some((parts, stream)), true) = (id, self.steps.stepper().noise_state(), goes_on) {
            context.stream = Some(StreamContext { id, sha256: NoiseState::save(parts, stream, &directory, step)? });
        }
        self.checkpoints.save(&Checkpoint {
            step: self.steps.step(),
            run: self.id.clone(),
            context: context.to_value()?,
            parameters,
            averages: self.average.as_ref().map(|average| average.values().clone()).unwrap_or_default(),
            states,
        })?;
        if self.training.plan.correlation.is_some() {
            let kept = if goes_on { self.checkpoints.steps()? } else { Vec::new() };
            NoiseState::remove_others(&directory, &kept)?;
        }
        self.checkpointed = Instant::now();
        self.saved = self.steps.step();
        Ok(())
    }

    fn finish(mut self) -> Result<Summary, TrainError> {
        self.progress.finish();
        let training = self.training;
        let (mut epsilon, mut valid, mut log) = (None, None, Vec::new());
        if training.trial_of.is_none() {
            let certificate = self.certificate()?;
            if training.ranks.is_first() {
                certificate.write(&training.directory.certificate())?;
                certificate.write_page(&training.directory.certificate_page())?;
            }
            epsilon = certificate.epsilon.filter(|_| certificate.guarantee);
        }
        if training.ranks.is_first() {
            valid = self.validate()?;
            log = MetricsLog::read(&training.directory.metrics())?;
        }
        // None has ended before all that is to be written is.
        training.ranks.wait()?;
        Ok(Summary {
            steps: self.steps.step(),
            planned_steps: training.plan.planned_steps,
            epsilon,
            delta: training.plan.delta,
            valid,
            evaluated: log.into_iter().filter(|line| line.valid.is_some()).collect(),
            out: training.directory.path().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
