//! What is trained how: the options of `Private.fit`, and a training in memory or in the directory of a run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dpc::artifact::{Artifact, NoViews};
use dpc::device::Device;
use dpc::library::{Setup, Trainer};
use dpc::privacy::accountant::ACCOUNTANTS;
use dpc::privacy::adjacency::Unit;
use dpc::privacy::certificate::Certificate;
use dpc::privacy::correlation::Correlation;
use dpc::privacy::ledger::{Contents, MemoryStore};
use dpc::privacy::plan::{PlanWarning, PrivacyPlan};
use dpc::privacy::request::{Amount, Length, PlanRequest};
use dpc::privacy::schedule::InvalidSchedule;
use dpc::ranks::Alone;
use dpc::train::augment::Augment;
use dpc::train::data::Dataset;
use dpc::train::lr_for::LrFor;
use dpc::train::lr_schedule::LrSchedule;
use dpc::train::physical;
use dpc::train::run_dir::RunDir;
use dpc::train::trained::TrainedRun;
use dpc::train::trainer::{Run, Training, plan_of, train_while};
use dpc::train::units::Units;
use miette::Diagnostic;
use pyo3::prelude::*;

use crate::errors::{self, Kind};
use crate::private::{Private, opened};
use crate::session::{Current, Desk, Plan, Session, State};

/// The options of `Private.fit`, checked by Python as far as their types go.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Fit {
    epsilon: Option<f64>,
    noise_multiplier: Option<f64>,
    delta: Option<f64>,
    batch_size: f64,
    epochs: Option<f64>,
    steps: Option<u64>,
    seed: Option<u64>,
    sampling: String,
    sample_rate: Option<f64>,
    adjacency: String,
    noise_correlation: Option<String>,
    noise_schedule: String,
    clip_schedule: String,
    lr: f64,
    lr_schedule: String,
    device: String,
    physical_batch: Option<usize>,
    augment: Option<String>,
    ema: Option<f64>,
    lr_for: Vec<String>,
    tensorboard: Option<PathBuf>,
    out: Option<PathBuf>,
    resume: bool,
    checkpoint_interval: f64,
}

impl Fit {
    /// Begins the training of `private` on `data`.
    pub fn begin(self, py: Python<'_>, private: &Private, data: Dataset) -> PyResult<Session> {
        if private.certificate.is_some() && private.ledger.is_none() && !self.resume {
            return Err(Kind::Plan.says(
                "what the model was trained for before is not known step by step, so no certificate would cover more",
                "dpc::python::trained",
                Some("make another by make_private, or go on with a directory of a run by out= and resume=True"),
            ));
        }
        let request = self.request(private)?;
        let augment = self.augment()?;
        let lr_schedule: LrSchedule = self.lr_schedule.parse().map_err(|error| Kind::Plan.of(&error))?;
        let lr_for = self.lr_for.iter().map(|text| text.parse().map_err(|error| Kind::Plan.of(&error)));
        let lr_for = lr_for.collect::<PyResult<Vec<LrFor>>>()?;
        let checkpoint_interval = Duration::try_from_secs_f64(self.checkpoint_interval)
            .map_err(|error| errors::option("checkpoint_interval", error, Kind::Plan))?;
        let device = opened(&self.device)?;
        let units = match data.groups() {
            Some(groups) => (Unit::Group, Units::grouped(groups)),
            None => (Unit::Record, Units::single(data.records())),
        };
        for (wanted, name) in [(self.resume, "resume"), (self.tensorboard.is_some(), "tensorboard")] {
            if wanted && self.out.is_none() {
                let help = Some("name the directory of the run");
                return Err(Kind::Plan.says(&format!("{name} needs out"), "dpc::python::option", help));
            }
        }
        let (artifact, ledger) = (private.artifact.clone(), private.ledger.clone().unwrap_or_default());
        let job = Job {
            fit: self,
            artifact,
            ledger,
            data,
            request,
            augment,
            lr_schedule,
            lr_for,
            checkpoint_interval,
            units,
            device,
        };
        Session::begin(py, move |desk| match job.fit.out.clone() {
            Some(out) => job.in_directory(&RunDir::new(&out), desk),
            None => job.in_memory(desk),
        })
    }

    fn request(&self, private: &Private) -> PyResult<PlanRequest> {
        let wrong = |message: &str| Kind::Plan.says(message, "dpc::python::option", None);
        let amount = match (self.epsilon, self.noise_multiplier) {
            (Some(epsilon), None) if epsilon > 0.0 => Amount::Epsilon(epsilon),
            (Some(_), None) => return Err(wrong("epsilon must be positive")),
            (None, Some(noise)) if noise >= 0.0 => Amount::NoiseMultiplier(noise),
            (None, Some(_)) => return Err(wrong("noise_multiplier must not be negative")),
            _ => return Err(wrong("give one of epsilon and noise_multiplier")),
        };
        match self.delta {
            Some(delta) if delta > 0.0 && delta < 1.0 => {}
            _ => return Err(wrong("delta must be between 0 and 1; well below one over the number of records")),
        }
        let length = match (self.epochs, self.steps) {
            (Some(epochs), None) if epochs > 0.0 => Length::Epochs(epochs),
            (None, Some(steps)) if steps > 0 => Length::Steps(steps),
            _ => return Err(wrong("give one of epochs and steps, above zero")),
        };
        if self.batch_size.is_nan() || self.batch_size <= 0.0 || self.lr.is_nan() || self.lr <= 0.0 {
            return Err(wrong("batch_size and lr must be positive"));
        }
        if self.ema.is_some_and(|decay| !(decay > 0.0 && decay < 1.0)) {
            return Err(wrong("ema must be between 0 and 1"));
        }
        if self.physical_batch == Some(0) {
            return Err(wrong("physical_batch must be positive"));
        }
        if self.sample_rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1.0)) {
            return Err(wrong("sample_rate must be above 0 and at most 1"));
        }
        let schedule = |text: &str| text.parse().map_err(|error: InvalidSchedule| Kind::Plan.of(&error));
        let mut request = PlanRequest {
            length,
            sample_rate: self.sample_rate,
            adjacency: self
                .adjacency
                .parse()
                .map_err(|error: String| errors::option("adjacency", error, Kind::Plan))?,
            correlation: self.correlation()?,
            noise_schedule: schedule(&self.noise_schedule)?,
            clip_schedule: schedule(&self.clip_schedule)?,
            sampling: self.sampling.parse().map_err(|error: String| errors::option("sampling", error, Kind::Plan))?,
            insecure_seed: self.seed,
            ..PlanRequest::new(amount, self.delta, self.batch_size)
        };
        if let Some(augment) = self.augment()? {
            augment.check(&private.artifact.manifest.schema).map_err(|error| Kind::Plan.of(&error))?;
            request.views = augment.views as u64;
        }
        Ok(request)
    }

    fn correlation(&self) -> PyResult<Option<Correlation>> {
        let read = |text: &String| text.parse().map_err(|error| errors::option("noise_correlation", error, Kind::Plan));
        self.noise_correlation.as_ref().map(read).transpose()
    }

    fn augment(&self) -> PyResult<Option<Augment>> {
        let read = |text: &String| text.parse().map_err(|error: String| errors::option("augment", error, Kind::Plan));
        self.augment.as_ref().map(read).transpose()
    }
}

/// One training.
struct Job {
    fit: Fit,
    artifact: Artifact,
    ledger: MemoryStore,
    data: Dataset,
    request: PlanRequest,
    augment: Option<Augment>,
    lr_schedule: LrSchedule,
    lr_for: Vec<LrFor>,
    checkpoint_interval: Duration,
    units: (Unit, Units),
    device: Box<dyn Device>,
}

/// How a training ended, and what it came to.
type Ended = (PyResult<()>, Option<State>);

impl Job {
    fn plan(&self, spent: &Contents, begun: Option<&PrivacyPlan>) -> PyResult<PrivacyPlan> {
        let units = (self.units.0, self.units.1.len());
        let plan = self.request.plan(self.artifact.manifest.clipped(), units, &spent.recorded(), begun);
        plan.map_err(|error| Kind::Plan.of(&error))
    }

    fn rows(&self, plan: &PrivacyPlan) -> usize {
        let suited = || physical::suited(&*self.device, &self.artifact, plan, &self.units.1, 1);
        let rows = self.fit.physical_batch.unwrap_or_else(suited);
        self.artifact.program.most_rows().map_or(rows, |most| rows.min(most))
    }

    fn announced(&self, plan: &PrivacyPlan, rows: usize, taken: u64, views_apart: Option<&NoViews>) -> Plan {
        let warnings = plan.warnings(self.units.1.len() as u64);
        let said = |warning: &PlanWarning| match warning.help() {
            Some(help) => format!("{warning}: {help}"),
            None => warning.to_string(),
        };
        Plan {
            steps: plan.planned_steps,
            taken,
            rate: plan.rate(),
            noise_multiplier: plan.noise_multiplier,
            rows,
            device: self.device.name(),
            warnings: warnings.iter().map(said).chain(views_apart.map(|why| why.note(plan.views))).collect(),
            bytes: self.data.bytes().to_vec(),
            in_directory: self.fit.out.is_some(),
        }
    }

    /// With a ledger that lives as long as the model.
    fn in_memory(mut self, desk: &mut Desk) -> Ended {
        let spent = Contents::held(&mut self.ledger).map_err(|error| Kind::Train.of(&error));
        let plan = match spent.and_then(|spent| self.plan(&spent.unwrap_or_default(), None)) {
            Ok(plan) => plan,
            Err(error) => return (Err(error), None),
        };
        let rows = self.rows(&plan);
        let setup = Setup {
            lr_for: self.lr_for.clone(),
            lr_schedule: self.lr_schedule.clone(),
            physical_batch: Some(rows),
            augment: self.augment,
            ema: self.fit.ema,
            ledger: Box::new(self.ledger.clone()),
            ..Setup::new(self.fit.lr)
        };
        let compiled = dpc::Compiled::from(self.artifact.clone());
        let trainer = Trainer::new(&compiled, &self.data, &plan, &*self.device, setup);
        let mut current = match trainer {
            Ok(trainer) => InMemory { trainer, step: 0 },
            Err(error) => return (Err(errors::library(&error)), None),
        };
        let mut result = Ok(());
        let announced = self.announced(&plan, rows, 0, current.trainer.views_apart());
        let mut goes_on = desk.begins(announced, &mut current);
        while goes_on {
            match current.trainer.step() {
                Ok(Some(step)) => {
                    current.step = step.number;
                    goes_on = desk.goes_on(&mut current);
                }
                Ok(None) => break,
                Err(error) => {
                    result = Err(errors::library(&error));
                    break;
                }
            }
        }
        if current.step == 0 {
            return (result, None);
        }
        match (current.state(), result) {
            (Ok(state), result) => (result, Some(state)),
            (Err(error), Ok(())) => (Err(error), None),
            (Err(_), result) => (result, None),
        }
    }

    /// With all that `dpc train` writes.
    fn in_directory(mut self, directory: &RunDir, desk: &mut Desk) -> Ended {
        let result = self.trained_in(directory, desk);
        // What the run left, also where it failed or was ended.
        let state = TrainedRun::open(directory.path()).ok().zip(Certificate::read(&directory.certificate()).ok());
        let state = state.map(|(run, certificate)| State { parameters: run.artifact.weights, certificate });
        (result, state)
    }

    fn trained_in(&mut self, directory: &RunDir, desk: &mut Desk) -> PyResult<()> {
        let failed = |error: &dyn miette::Diagnostic| Kind::Train.of(error);
        let resume = self.fit.resume;
        if resume {
            // What is trained on is what the run began with.
            let run = Artifact::load(&directory.artifact()).map_err(|error| failed(&error))?;
            if run.program != self.artifact.program {
                let help = "make the model as it was made when the run began";
                return Err(Kind::Plan.says("the run is of another model", "dpc::python::model", Some(help)));
            }
            self.artifact = run;
        }
        let ledger = match resume {
            true => directory.ledger_used().map_err(|error| failed(&error))?,
            false => directory.ledger(),
        };
        let begun = if resume { plan_of(directory).map_err(|error| failed(&error))? } else { None };
        let spent = match resume {
            true => Contents::default(),
            false => Contents::read_if_any(&ledger).map_err(|error| failed(&error))?,
        };
        let plan = self.plan(&spent, begun.as_ref())?;
        let rows = self.rows(&plan);
        let training = Training {
            artifact: &self.artifact,
            device: &*self.device,
            data: &self.data,
            units: &self.units.1,
            augment: self.augment,
            valid: None,
            valid_every: None,
            plan: &plan,
            accountant: ACCOUNTANTS[0],
            learning_rate: self.fit.lr,
            lr_for: self.lr_for.clone(),
            lr_schedule: self.lr_schedule.clone(),
            ema: self.fit.ema,
            physical_batch: rows,
            ledger,
            directory: directory.clone(),
            resume,
            checkpoint_interval: self.checkpoint_interval,
            progress: false,
            record_private_metrics: false,
            tensorboard: self.fit.tensorboard.clone(),
            trial_of: None,
            shard_noise: false,
            config: None,
            ranks: Arc::new(Alone),
        };
        let mut begun = false;
        let ended = train_while(&training, &mut |run| {
            let mut current = InDirectory(run);
            match std::mem::replace(&mut begun, true) {
                true => desk.goes_on(&mut current),
                false => {
                    let announced = self.announced(&plan, rows, current.step(), current.0.views_apart());
                    desk.begins(announced, &mut current)
                }
            }
        });
        ended.map(drop).map_err(|error| failed(&error))
    }
}

struct InMemory<'a> {
    trainer: Trainer<'a>,
    step: u64,
}

impl Current for InMemory<'_> {
    fn step(&self) -> u64 {
        self.step
    }

    fn state(&mut self) -> PyResult<State> {
        let parameters = self.trainer.parameters().map_err(|error| errors::library(&error))?;
        let certificate = self.trainer.certificate().map_err(|error| errors::library(&error))?;
        Ok(State { parameters, certificate })
    }

    fn drawn(&self) -> Option<Vec<usize>> {
        self.trainer.drawn()
    }
}

struct InDirectory<'r, 'a>(&'r mut Run<'a>);

impl Current for InDirectory<'_, '_> {
    fn step(&self) -> u64 {
        self.0.step()
    }

    fn state(&mut self) -> PyResult<State> {
        let parameters = self.0.parameters().map_err(|error| Kind::Train.of(&error))?;
        let certificate = self.0.certificate().map_err(|error| Kind::Train.of(&error))?;
        Ok(State { parameters, certificate })
    }
    fn drawn(&self) -> Option<Vec<usize>> {
        self.0.drawn()
    }
}
