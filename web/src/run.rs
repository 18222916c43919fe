//! A training, step by step.

use std::cell::RefCell;
use std::rc::Rc;

use dpc::device::Device;
use dpc::device::cpu::Cpu;
use dpc::device::gpu::Gpu;
use dpc::privacy::ledger::Contents;
use dpc::privacy::plan::PrivacyPlan;
use dpc::privacy::request::PlanRequest;
use dpc::train::checkpoint::{Checkpoint, CheckpointError};
use dpc::train::data::Dataset;
use dpc::train::terms::plan_at;
use dpc::train::units::Units;
use dpc::{Compiled, Setup, Trainer};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::entropy::BrowserEntropy;
use crate::ledger::{BrowserStore, SyncFile};
use crate::model::{Data, Opened};
use crate::problem::{Problem, choice, result, thrown};
use crate::work::{self, Answer, SUSPENSION};

/// What the page asks for.
#[derive(Deserialize)]
struct Settings {
    epsilon: f64,
    delta: f64,
    batch: f64,
    epochs: f64,
    learning_rate: f64,
    on: On,
    /// For tests: nothing is guaranteed then.
    seed: Option<u64>,
}

impl Settings {
    fn request(&self) -> PlanRequest {
        let request = PlanRequest::epsilon(self.epsilon, self.delta, self.batch).epochs(self.epochs);
        PlanRequest { insecure_seed: self.seed, ..request }
    }
}

/// What computes.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum On {
    /// The browser's GPU, or the processor where it does not open.
    Gpu,
    Processor,
}

impl On {
    /// The device, and what kept the GPU from being it.
    fn open(self) -> (Box<dyn Device>, Option<Problem>) {
        match self {
            On::Processor => (Box::new(Cpu), None),
            On::Gpu => match Gpu::open_in_browser(SUSPENSION) {
                Ok(gpu) => (Box::new(gpu), None),
                Err(error) => (Box::new(Cpu), Some(Problem::of(&error))),
            },
        }
    }
}

/// What is to be known of a run before its next step.
#[derive(Serialize)]
struct Facts<'a> {
    /// Steps taken.
    steps: u64,
    /// The last that ε allows.
    last: u64,
    planned: u64,
    noise_multiplier: f64,
    sampling: String,
    unit: String,
    insecure: bool,
    /// What computes.
    device: &'a str,
    /// What kept the GPU from it, where that was asked for.
    instead: Option<&'a Problem>,
    warnings: Vec<Problem>,
    plan: &'a PrivacyPlan,
}

/// A step that was taken.
#[derive(Serialize)]
struct Taken {
    step: u64,
    /// The mean loss of its records, which is not private; none where it was not asked for or there were none.
    loss: Option<f64>,
}

/// A run in this worker. What it is asked for is noted down, and done by [`work`].
#[wasm_bindgen]
pub struct Run {
    training: Rc<RefCell<Training>>,
}

#[wasm_bindgen]
impl Run {
    /// Begins a run, or goes on with that of the newest whole one of `checkpoints`. Every step is paid for in `ledger`, which may
    /// hold those of earlier runs on the same data. The answer is a [`Run`].
    ///
    /// # Errors
    /// When there is no such plan, ε is spent, or the checkpoint is of another run.
    pub fn begin(
        model: &Opened,
        data: &Data,
        settings: String,
        ledger: SyncFile,
        checkpoints: Vec<js_sys::Uint8Array>,
    ) {
        let (compiled, data) = (model.compiled, data.dataset);
        work::ask(move || {
            let training = Training::begin(compiled, data, &settings, ledger, &checkpoints)?;
            Ok(Run { training: Rc::new(RefCell::new(training)) }.into())
        });
    }

    /// Validates on `data`, which are taken to be public.
    pub fn validate_on(&self, data: &Data) {
        let dataset = data.dataset;
        self.ask(move |training| {
            training.valid = Some(dataset);
            Ok(JsValue::UNDEFINED)
        });
    }

    /// What is to be known of it, as JSON.
    ///
    /// # Errors
    /// None that is expected.
    pub fn facts(&self) {
        self.ask(|training| Ok(training.facts()?.into()));
    }

    /// Takes the next step, and says it as JSON; nothing where there is none. With `losses` also the mean loss of its records, which no
    /// guarantee covers.
    ///
    /// # Errors
    /// When the step could not be paid for or taken.
    pub fn step(&self, losses: bool) {
        self.ask(move |training| Ok(training.step(losses)?.into()));
    }

    /// ε of all steps in the ledger; nothing where nothing is guaranteed.
    ///
    /// # Errors
    /// When the accountant gives no bound.
    pub fn epsilon(&self) {
        self.ask(|training| {
            let certificate = training.trainer.certificate().map_err(thrown)?;
            Ok(certificate.epsilon.filter(|_| certificate.guarantee).into())
        });
    }

    /// Loss, accuracy and other measures on the validation data, as JSON; nothing where there are none.
    ///
    /// # Errors
    /// When the device fails.
    pub fn validate(&self) {
        self.ask(|training| {
            let Some(valid) = training.valid else { return Ok(JsValue::UNDEFINED) };
            let evaluation = training.trainer.evaluate(valid).map_err(thrown)?;
            Ok(result(&evaluation)?.into())
        });
    }

    /// What the run goes on from, as the bytes of a file.
    ///
    /// # Errors
    /// When a parameter is not finite.
    pub fn checkpoint(&self) {
        self.ask(|training| {
            let checkpoint = training.trainer.checkpoint().map_err(thrown)?;
            let bytes = checkpoint.to_bytes().map_err(|error| Problem::says(error).thrown())?;
            Ok(js_sys::Uint8Array::from(&bytes[..]).into())
        });
    }

    /// The trained model, as the bytes of an ONNX file.
    ///
    /// # Errors
    /// When a parameter is not finite.
    pub fn export(&self) {
        self.ask(|training| {
            let model = training.trainer.export().map_err(thrown)?;
            Ok(js_sys::Uint8Array::from(&model[..]).into())
        });
    }

    /// The certificate of all steps in the ledger, as `dpc train` writes it.
    ///
    /// # Errors
    /// When the accountant gives no bound.
    pub fn certificate(&self) {
        self.ask(|training| {
            let certificate = training.trainer.certificate().map_err(thrown)?;
            let text = serde_json::to_string_pretty(&certificate).map_err(|error| Problem::says(error).thrown())?;
            Ok((text + "\n").into())
        });
    }

    /// What it says in one sentence.
    ///
    /// # Errors
    /// As [`Run::certificate`].
    pub fn statement(&self) {
        self.ask(|training| Ok(training.trainer.certificate().map_err(thrown)?.statement.into()));
    }
}

impl Run {
    fn ask(&self, ask: impl FnOnce(&mut Training) -> Answer + 'static) {
        let training = self.training.clone();
        work::ask(move || ask(&mut training.borrow_mut()));
    }
}

/// A training, and where it is.
struct Training {
    trainer: Trainer<'static>,
    plan: &'static PrivacyPlan,
    data: &'static Dataset,
    valid: Option<&'static Dataset>,
    /// The name of its device.
    device: String,
    /// Why that is not what was asked for.
    instead: Option<Problem>,
}

impl Training {
    fn begin(
        compiled: &'static Compiled,
        data: &'static Dataset,
        settings: &str,
        ledger: SyncFile,
        checkpoints: &[js_sys::Uint8Array],
    ) -> Result<Training, JsValue> {
        let settings: Settings =
            serde_json::from_str(settings).map_err(|error| choice("settings")(error.to_string()))?;
        let mut store = BrowserStore::new(ledger);
        let resume = newest(checkpoints).map_err(thrown)?;
        let plan = match resume.as_ref().and_then(plan_at) {
            Some(plan) => plan,
            None => {
                let spent = Contents::held(&mut store).map_err(thrown)?.unwrap_or_default();
                compiled.plan_after(&settings.request(), data, &spent).map_err(thrown)?
            }
        };
        let plan: &'static PrivacyPlan = Box::leak(Box::new(plan));
        let entropy = Box::new(BrowserEntropy);
        let setup = Setup { ledger: Box::new(store), resume, ..Setup::with(settings.learning_rate, entropy) };
        let (device, instead) = settings.on.open();
        let trainer = Trainer::new(compiled, data, plan, &*device, setup).map_err(thrown)?;
        Ok(Training { trainer, plan, data, valid: None, device: device.name(), instead })
    }

    fn facts(&self) -> Result<String, JsValue> {
        let units = self.data.groups().map_or(self.data.records(), |groups| Units::grouped(groups).len());
        result(&Facts {
            steps: self.trainer.steps(),
            last: self.trainer.last_step(),
            planned: self.plan.planned_steps,
            noise_multiplier: self.plan.noise_multiplier,
            sampling: self.plan.sampling.to_string(),
            unit: self.plan.unit.to_string(),
            insecure: self.plan.insecure_seed.is_some(),
            device: &self.device,
            instead: self.instead.as_ref(),
            warnings: self.plan.warnings(units as u64).iter().map(|warning| Problem::of(warning)).collect(),
            plan: self.plan,
        })
    }

    fn step(&mut self, losses: bool) -> Result<Option<String>, JsValue> {
        let (mut sum, mut count) = (0.0, 0usize);
        let step = self.trainer.step_showing(|shown| {
            sum += shown.loss.iter().map(|&loss| f64::from(loss)).sum::<f64>();
            count += shown.loss.len();
        });
        let Some(step) = step.map_err(thrown)? else { return Ok(None) };
        let loss = Some(sum / count as f64).filter(|_| losses && count > 0);
        result(&Taken { step: step.number, loss }).map(Some)
    }
}

/// The one of the highest step. One that was being written when the browser was closed is passed over, as the one before it is whole;
/// where none is, that is an error.
fn newest(files: &[js_sys::Uint8Array]) -> Result<Option<Checkpoint>, CheckpointError> {
    let read = files.iter().map(|file| Checkpoint::from_bytes("the checkpoint in this browser", &file.to_vec()));
    let (whole, damaged): (Vec<_>, Vec<_>) = read.partition(Result::is_ok);
    match whole.into_iter().flatten().max_by_key(|checkpoint| checkpoint.step) {
        Some(newest) => Ok(Some(newest)),
        None => damaged.into_iter().next().transpose(),
    }
}
