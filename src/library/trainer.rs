//! Training from memory.

use std::borrow::Cow;
use std::sync::Arc;

use super::Error;
use super::model::{Compiled, units};
use crate::artifact::Artifact;
use crate::device::Device;
use crate::lower::program::Phase;
use crate::onnx::{self, Source};
use crate::privacy::accountant::{ACCOUNTANTS, Accountant};
use crate::privacy::adjacency::Unit;
use crate::privacy::certificate::Certificate;
use crate::privacy::clipping::ClipState;
use crate::privacy::keys::{Entropy, RunKey, run_id};
use crate::privacy::ledger::{Ledger, LedgerStore, MemoryStore};
use crate::privacy::plan::PrivacyPlan;
use crate::tensors::Tensors;
use crate::train::augment::Augment;
use crate::train::average::Average;
use crate::train::data::Dataset;
use crate::train::engine::Engine;
use crate::train::evaluate::{Evaluation, Scored, evaluate, evaluate_with};
use crate::train::finite;
use crate::train::lr_for::{self, LrFor};
use crate::train::lr_schedule::LrSchedule;
use crate::train::paid::{Affordable, Outcome, PaidSteps, affordable};
use crate::train::physical;
use crate::train::step::{Released, Setting, Stepper};

/// How a plan is trained, beyond privacy.
#[derive(Debug)]
pub struct Setup {
    /// The learning rate before its schedule.
    pub learning_rate: f64,
    /// The learning rates of parameters that have their own.
    pub lr_for: Vec<LrFor>,
    /// How they change over the plan's steps.
    pub lr_schedule: LrSchedule,
    /// Rows of a physical batch, which does not change the result; by default what fits the plan.
    pub physical_batch: Option<usize>,
    /// How the views of records are made, of which the plan has the number; records as they are by default.
    pub augment: Option<Augment>,
    /// The decay of the moving average that is the trained model; by default that is what the last step left.
    pub ema: Option<f64>,
    /// Where the ledger is kept, which other runs on the same data share; by default in memory.
    pub ledger: Box<dyn LedgerStore>,
    /// Where the randomness of sampling and noise comes from.
    pub entropy: Box<dyn Entropy>,
    /// How the privacy loss is bounded.
    pub accountant: &'static dyn Accountant,
}

impl Setup {
    /// A constant learning rate, a ledger in memory, and the system's randomness.
    #[cfg(feature = "host")]
    pub fn new(learning_rate: f64) -> Setup {
        Setup::with(learning_rate, Box::new(crate::privacy::keys::SystemEntropy))
    }

    /// A constant learning rate, and a ledger in memory.
    pub fn with(learning_rate: f64, entropy: Box<dyn Entropy>) -> Setup {
        Setup {
            entropy,
            learning_rate,
            lr_for: Vec::new(),
            lr_schedule: LrSchedule::CONSTANT,
            physical_batch: None,
            augment: None,
            ema: None,
            ledger: Box::new(MemoryStore::default()),
            accountant: ACCOUNTANTS[0],
        }
    }
}

/// A step that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its number; the first is 1.
    pub number: u64,
    /// What was released besides the update, noisy and paid for.
    pub released: Released,
}

/// Takes the steps of a plan.
pub struct Trainer<'a> {
    artifact: &'a Artifact,
    plan: &'a PrivacyPlan,
    accountant: &'static dyn Accountant,
    steps: PaidSteps<'a>,
    average: Option<(f64, Average)>,
}

impl<'a> Trainer<'a> {
    /// A trainer of `compiled` on `data` by `plan`.
    ///
    /// # Errors
    /// When the model has no loss, the plan is for other data or another model, the ledger leaves nothing, or the device
    /// fails.
    pub fn new(
        compiled: &'a Compiled,
        data: &'a Dataset,
        plan: &'a PrivacyPlan,
        device: &dyn Device,
        setup: Setup,
    ) -> Result<Trainer<'a>, Error> {
        let artifact = compiled.artifact();
        let manifest = &artifact.manifest;
        if manifest.loss.is_none() {
            return Err(Error::NoLoss);
        }
        if let Some(augment) = &setup.augment {
            augment.check(&manifest.schema)?;
        }
        let (_, units) = match plan.non_private {
            true => (Unit::Record, crate::train::units::Units::single(data.records())),
            false => units(data),
        };
        let phases = [&[Phase::Forward], Stepper::phases(plan)].concat();
        let rows = setup.physical_batch.unwrap_or_else(|| physical::suited(device, artifact, plan, &units));
        let own = lr_for::resolve(&setup.lr_for, &artifact.program)?;
        let program = Arc::new(artifact.program.clone());
        let mut engine = Engine::with_rates(device, program, &artifact.weights, rows, &phases, &own)?;
        let (trained, parameters) = (engine.trained(), engine.parameters()?);
        let what = finite::nonfinite(&trained, &parameters, &engine.states()?);
        if !what.is_empty() {
            return Err(Error::NotFinite { step: 0, what });
        }
        let average = setup.ema.map(|decay| (decay, Average::of(decay, &trained, &parameters)));
        let ledger = Ledger::on(setup.ledger, &run_id(&*setup.entropy)?, plan)?;
        let end = match affordable(plan, setup.accountant, ledger.contents(), 0, None)? {
            Affordable::Until(end) => end,
            Affordable::Nothing { target, reached } => return Err(Error::Spent { target, reached }),
        };
        let setting = Setting {
            plan,
            data,
            units: Cow::Owned(units),
            augment: setup.augment,
            optimizer: manifest.optimizer,
            learning_rate: setup.learning_rate,
            lr_schedule: Cow::Owned(setup.lr_schedule),
        };
        let key = RunKey::for_plan(plan, &*setup.entropy)?;
        let clip = ClipState::new(&plan.clip, &manifest.clip_groups);
        let stepper = Stepper::new(setting, engine, clip, &key, 0)?;
        let steps = PaidSteps::new(stepper, ledger, 0, end);
        Ok(Trainer { artifact, plan, accountant: setup.accountant, steps, average })
    }

    /// Takes the next step; `None` where the plan, or its ε, allows no more.
    ///
    /// # Errors
    /// When it could not be taken, or what is trained is not finite any more.
    pub fn step(&mut self) -> Result<Option<Step>, Error> {
        if self.steps.ended() {
            return Ok(None);
        }
        match self.steps.take(|_, _, _| {})? {
            Outcome::Taken(released) => {
                let number = self.steps.step();
                if let Some((_, average)) = &mut self.average {
                    average.update(number, &self.steps.stepper().engine().parameters()?);
                }
                Ok(Some(Step { number, released }))
            }
            Outcome::NotFinite(what) => Err(Error::NotFinite { step: self.steps.step(), what }),
        }
    }

    /// The records that the next step draws; `None` where there is none. The guarantee rests on it that nobody else is told.
    pub fn drawn(&self) -> Option<Vec<usize>> {
        self.steps.drawn()
    }

    /// Takes all steps that are left, and tells `seen` of each.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn train(&mut self, mut seen: impl FnMut(&Step)) -> Result<(), Error> {
        while let Some(step) = self.step()? {
            seen(&step);
        }
        Ok(())
    }

    /// Loss, accuracy and other measures over `data` with the [parameters](Trainer::parameters). They are not private if those
    /// are not public.
    ///
    /// # Errors
    /// When the device fails.
    pub fn evaluate(&mut self, data: &Dataset) -> Result<Evaluation, Error> {
        let scored = Scored::of(&self.artifact.manifest).ok_or(Error::NoLoss)?;
        let engine = self.steps.stepper().engine();
        Ok(match &self.average {
            Some((_, average)) => evaluate_with(engine, average.values(), data, &scored)?,
            None => evaluate(engine, data, &scored)?,
        })
    }

    /// The parameters' values; their moving averages where the [setup](Setup::ema) asks for them.
    ///
    /// # Errors
    /// When the device fails, or a value of what is trained is not finite.
    pub fn parameters(&mut self) -> Result<Tensors, Error> {
        let step = self.steps.step();
        let engine = self.steps.stepper().engine();
        let mut parameters = engine.parameters()?;
        parameters.extend(self.average.iter().flat_map(|(_, average)| average.values().clone()));
        let what = finite::nonfinite(&engine.trained(), &parameters, &Tensors::new());
        if what.is_empty() { Ok(parameters) } else { Err(Error::NotFinite { step, what }) }
    }

    /// The model with the trained values, as the bytes of an ONNX file.
    ///
    /// # Errors
    /// As [`Trainer::parameters`].
    pub fn export(&mut self) -> Result<Vec<u8>, Error> {
        let parameters = self.parameters()?;
        let source = Source::from_bytes(self.artifact.source.clone(), super::model::in_memory())?;
        let metadata = [("dpc.privacy".to_owned(), self.certificate()?.statement)];
        Ok(onnx::export(&source, &parameters, &metadata)?)
    }

    /// What is guaranteed of all steps in the ledger.
    ///
    /// # Errors
    /// When the accountant gives no bounds, or cannot work with the ledger.
    pub fn certificate(&self) -> Result<Certificate, Error> {
        let provenance = self.artifact.provenance()?;
        let mut certificate = Certificate::new(self.plan, self.steps.ledger(), self.accountant, provenance)?;
        certificate.post_processing.extend(self.average.as_ref().map(|&(decay, _)| Average::statement(decay)));
        Ok(certificate)
    }
}
