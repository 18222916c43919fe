//! Training from memory.

use std::borrow::Cow;
use std::sync::Arc;

use super::Error;
use super::model::{Compiled, units};
use crate::artifact::{Artifact, NoViews};
use crate::device::Device;
use crate::onnx::{self, Source};
use crate::privacy::accountant::{ACCOUNTANTS, Accountant};
use crate::privacy::adjacency::Unit;
use crate::privacy::certificate::Certificate;
use crate::privacy::clipping::ClipState;
use crate::privacy::keys::{Entropy, RunKey, run_id};
use crate::privacy::ledger::{Ledger, LedgerStore, MemoryStore};
use crate::privacy::plan::PrivacyPlan;
use crate::privacy::shared::SharedEntropy;
use crate::ranks::{Alone, Common, Ranks};
use crate::tensors::Tensors;
use crate::train::agreement::Agreement;
use crate::train::augment::Augment;
use crate::train::average::Average;
use crate::train::checkpoint::Checkpoint;
use crate::train::data::Dataset;
use crate::train::engine::Shown;
use crate::train::evaluate::{Evaluation, Scored, evaluate, evaluate_with};
use crate::train::finite;
use crate::train::load::{self, Loaded};
use crate::train::lr_for::{self, LrFor};
use crate::train::lr_schedule::LrSchedule;
use crate::train::paid::{Affordable, Outcome, PaidSteps, affordable};
use crate::train::physical;
use crate::train::step::{Released, Setting, Stepper};
use crate::train::terms::{Context, OTHER_VERSION, Terms};

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
    /// Those that train together, each with a trainer of the same; by default this process alone. Ledger and randomness are
    /// those of rank 0.
    pub ranks: Arc<dyn Ranks>,
    /// The checkpoint that the run goes on from, with the [plan](crate::train::terms::plan_at) that it names; by default it begins.
    pub resume: Option<Checkpoint>,
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
            ranks: Arc::new(Alone),
            resume: None,
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
    id: String,
    terms: Terms,
    steps: PaidSteps<'a>,
    average: Option<(f64, Average)>,
    views_apart: Option<NoViews>,
}

impl<'a> Trainer<'a> {
    /// A trainer of `compiled` on `data` by `plan`.
    ///
    /// # Errors
    /// When the model has no loss, the plan is for other data or another model, the ledger leaves nothing, the run is not that of
    /// the checkpoint or the ledger lacks what that was reached by, or the device fails.
    pub fn new(
        compiled: &'a Compiled,
        data: &'a Dataset,
        plan: &'a PrivacyPlan,
        device: &dyn Device,
        setup: Setup,
    ) -> Result<Trainer<'a>, Error> {
        let ranks = setup.ranks.clone();
        parting(&*ranks, Trainer::begin(compiled, data, plan, device, setup))
    }

    fn begin(
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
        let agreement = Agreement {
            artifact,
            data,
            units: &units,
            plan,
            accountant: setup.accountant,
            augment: setup.augment,
            learning_rate: setup.learning_rate,
            lr_for: &setup.lr_for,
            lr_schedule: &setup.lr_schedule,
            ema: setup.ema,
        };
        let step = setup.resume.as_ref().map_or(0, |checkpoint| checkpoint.step);
        agreement.check(&*setup.ranks, vec![Common::new("step to go on from", step)])?;
        let rows = setup
            .physical_batch
            .unwrap_or_else(|| physical::suited(device, artifact, plan, &units, setup.ranks.size()));
        let own = lr_for::resolve(&setup.lr_for, &artifact.program)?;
        let Loaded { mut engine, views_apart } = load::engine(device, artifact, plan, rows, &own)?;
        let terms = Terms {
            plan: plan.clone(),
            provenance: artifact.provenance()?,
            learning_rate: setup.learning_rate,
            lr_for: setup.lr_for.clone(),
            augment: setup.augment,
            lr_schedule: setup.lr_schedule.clone(),
            ema: setup.ema,
        };
        let context = setup.resume.as_ref().map(|checkpoint| context(checkpoint, &terms)).transpose()?;
        if let Some(checkpoint) = &setup.resume {
            engine.set_parameters(&checkpoint.parameters)?;
            engine.set_states(&checkpoint.states)?;
        }
        let (trained, parameters) = (engine.trained(), engine.parameters()?);
        let what = finite::nonfinite(&trained, &parameters, &engine.states()?);
        if !what.is_empty() {
            return Err(Error::NotFinite { step, what });
        }
        let average = setup.ema.map(|decay| match &setup.resume {
            Some(checkpoint) => (decay, Average::new(decay, checkpoint.averages.clone())),
            None => (decay, Average::of(decay, &trained, &parameters)),
        });
        let entropy = SharedEntropy::new(&*setup.ranks, &*setup.entropy);
        let place = setup.ledger.place().to_owned();
        let id = run_id(&entropy)?;
        let ledger = Ledger::on_among(&setup.ranks, Some(setup.ledger), &place, &id, plan)?;
        let (begun, head) = context.map(|context| (context.clip, context.ledger)).unzip();
        head.map_or(Ok(()), |head| ledger.contents().check_continues(&place, &head))?;
        let end = match affordable(plan, setup.accountant, ledger.contents(), step, None)? {
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
        let key = RunKey::for_plan(plan, &entropy)?;
        let clip = begun.unwrap_or_else(|| ClipState::new(&plan.clip, &manifest.clip_groups));
        let stepper = Stepper::new(setting, engine, clip, &key, step)?.among(setup.ranks);
        let steps = PaidSteps::new(stepper, ledger, step, end);
        Ok(Trainer { artifact, plan, accountant: setup.accountant, id, terms, steps, average, views_apart })
    }

    /// Why a record's views are computed one record after the other, and not with those of others in one physical batch; `None` where they
    /// are, or where there are none.
    pub fn views_apart(&self) -> Option<&NoViews> {
        self.views_apart.as_ref()
    }

    /// Takes the next step; `None` where the plan, or its ε, allows no more.
    ///
    /// # Errors
    /// When it could not be taken, or what is trained is not finite any more; on all ranks where on one.
    pub fn step(&mut self) -> Result<Option<Step>, Error> {
        self.step_showing(|_| {})
    }

    /// [`Trainer::step`], which shows what the device does of each physical batch: losses and norms of the gradients of the
    /// records. None of it is private, and no guarantee covers what is done with it.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn step_showing(&mut self, shown: impl FnMut(&Shown)) -> Result<Option<Step>, Error> {
        let ranks = self.steps.stepper().ranks().clone();
        parting(&*ranks, self.take(shown))
    }

    fn take(&mut self, mut shown: impl FnMut(&Shown)) -> Result<Option<Step>, Error> {
        if self.steps.ended() {
            return Ok(None);
        }
        match self.steps.take(|batch, _, _| shown(batch))? {
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

    /// Steps taken, those before a checkpoint included.
    pub fn steps(&self) -> u64 {
        self.steps.step()
    }

    /// The last step that the plan and its ε allow.
    pub fn last_step(&self) -> u64 {
        self.steps.end()
    }

    /// What another trainer [goes on](Setup::resume) from. It holds nothing that is not paid for, and is worth no more than
    /// the ledger that stays beside it.
    ///
    /// # Errors
    /// As [`Trainer::parameters`], and [`Error::Correlated`] where noise is correlated and there are steps left.
    pub fn checkpoint(&mut self) -> Result<Checkpoint, Error> {
        if self.plan.correlation.is_some() && !self.steps.ended() {
            return Err(Error::Correlated);
        }
        let (step, ledger) = (self.steps.step(), self.steps.ledger().head());
        let clip = self.steps.stepper().clip().clone();
        let engine = self.steps.stepper().engine();
        let (parameters, states) = (engine.parameters()?, engine.states()?);
        let what = finite::nonfinite(&engine.trained(), &parameters, &states);
        if !what.is_empty() {
            return Err(Error::NotFinite { step, what });
        }
        let context = Context { terms: self.terms.clone(), clip, ledger, stream: None };
        Ok(Checkpoint {
            step,
            run: self.id.clone(),
            context: context.to_value()?,
            parameters,
            averages: self.average.as_ref().map(|(_, average)| average.values().clone()).unwrap_or_default(),
            states,
        })
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

/// What `checkpoint` says of a run that goes on by `terms`.
fn context(checkpoint: &Checkpoint, terms: &Terms) -> Result<Context, Error> {
    let context = Context::of(checkpoint).ok_or_else(|| Error::OtherRun { what: vec![OTHER_VERSION.to_owned()] })?;
    if context.stream.is_some() {
        return Err(Error::Correlated);
    }
    let what = context.terms.differences(terms);
    if what.is_empty() { Ok(context) } else { Err(Error::OtherRun { what }) }
}

/// The same, after the others have been told where it is an error.
fn parting<T>(ranks: &dyn Ranks, ended: Result<T, Error>) -> Result<T, Error> {
    ended.inspect_err(|error| ranks.leave(&error.to_string()))
}
