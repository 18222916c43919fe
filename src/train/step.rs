//! The logical step of DP-SGD (Abadi et al. 2016, <https://arxiv.org/abs/1607.00133>, Algorithm 1), in two
//! halves.
//!
//! [`Stepper::accumulate`] draws the step's units and sums their clipped gradients on the device, in as many
//! physical batches as it takes. [`Stepper::release`] adds the noise, divides by the expected batch size and
//! updates the parameters; it takes the ledger's [`Receipt`], so that no step can be released that is not
//! paid for. A step without units still gets its noise. Every number comes from the one [`PrivacyPlan`].
//!
//! Where several [`Ranks`] take the step together, all draw the same units, each sums its share of them, and between the halves
//! [`Stepper::reduce`] puts the sums of all ranks on each. The second is then the same on all, its noise too, which every rank makes in
//! full; or each has added a part of it to its sum before.

mod ahead;
mod among;

use std::borrow::Cow;
use std::sync::Arc;

use miette::Diagnostic;
use thiserror::Error;

use self::ahead::{Ahead, Drawing};
use super::augment::Augment;
use super::chance::Chance;
use super::data::Dataset;
use super::engine::{Engine, EngineError, Shown};
use super::lr_for::Rate;
use super::lr_schedule::LrSchedule;
use super::released::{NoiseState, Releaser};
use super::units::Units;
use crate::lower::program::{Phase, Program};
use crate::options::optimizer::OptimizerSpec;
use crate::privacy::adjacency::Unit;
use crate::privacy::clipping::ClipState;
use crate::privacy::correlation::{NoiseStream, StreamError};
use crate::privacy::discrete::ParameterError;
use crate::privacy::keys::RunKey;
use crate::privacy::ledger::{LedgerError, Receipt};
use crate::privacy::noise::NoiseError;
use crate::privacy::plan::PrivacyPlan;
use crate::privacy::release::Estimates;
use crate::privacy::sampler::{Parts, Sampler, UnitMismatch};
use crate::privacy::scales;
use crate::ranks::{Alone, Ranks, RanksError};

/// What a step works with.
#[derive(Clone)]
pub struct Setting<'a> {
    /// The plan, followed in every number.
    pub plan: &'a PrivacyPlan,
    /// The records.
    pub data: &'a Dataset,
    /// Which records are one unit.
    pub units: Cow<'a, Units>,
    /// How the views of records are made, of which the plan has the number; records as they are by default.
    pub augment: Option<Augment>,
    /// The optimizer that the program was compiled with.
    pub optimizer: OptimizerSpec,
    /// The learning rate before its schedule.
    pub learning_rate: f64,
    /// How the learning rate changes over the plan's steps.
    pub lr_schedule: Cow<'a, LrSchedule>,
}

/// Takes the logical steps of a run.
pub struct Stepper<'a> {
    setting: Setting<'a>,
    engine: Engine,
    sampler: Sampler,
    chance: Chance,
    /// `None` in non-private training.
    noise: Option<Releaser>,
    clip: ClipState,
    sums: Sums,
    ranks: Arc<dyn Ranks>,
    ahead: Option<Ahead>,
}

/// Exact sums over the logical batch in the making; never shown.
#[derive(Default)]
struct Sums {
    /// The step that is summed, until it is released.
    step: Option<u64>,
    /// Units in the sums.
    units: usize,
    /// Of each clip group, how many more units are below the bound than above it, halved.
    counts: Vec<f64>,
    estimates: [f64; Estimates::COUNT],
}

impl Sums {
    /// Adds what is estimated of one unit, rounded to the grid where there is one, on which sums are exact.
    fn estimate(&mut self, plan: &PrivacyPlan, loss: f64) {
        let Some(estimates) = &plan.estimates else { return };
        let mut unit = estimates.of_unit(loss);
        if let Some(grids) = self.step.and_then(|step| scales::estimates(plan, step)) {
            for (value, (grid, (_, bound))) in unit.iter_mut().zip(grids) {
                *value = grid.value(grid.round(*value, bound));
            }
        }
        self.estimates.iter_mut().zip(unit).for_each(|(sum, value)| *sum += value);
    }
}

/// What a step released besides the update, all of it noisy and paid for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Released {
    /// Of each clip group, how many more units were below the bound than above it, halved, where bounds adapt.
    pub counts: Option<Vec<f64>>,
    /// Estimates of the number of units and of the sum of their losses.
    pub estimates: Option<[f64; Estimates::COUNT]>,
}

/// A step that was not taken.
#[derive(Debug, Error, Diagnostic)]
pub enum StepError {
    /// The device failed.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Engine(#[from] EngineError),
    /// It could not be paid for.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Ledger(#[from] LedgerError),
    /// There is no noise.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Noise(#[from] NoiseError),
    /// Correlated noise does not go on.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Stream(#[from] StreamError),
    /// The plan is for other data.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Units(#[from] UnitMismatch),
    /// The plan is for another clip rule or model.
    #[error("the plan has {planned} clip groups, the compiled program {found}")]
    #[diagnostic(code(dpc::train::clip_groups), help("make the plan for the model that is trained"))]
    ClipGroups { planned: usize, found: usize },
    /// The plan is for another number of views.
    #[error("the plan has {planned} views of each record, the training {found}")]
    #[diagnostic(code(dpc::train::views), help("make the plan for the augmentation that is trained with"))]
    Views { planned: u64, found: u64 },
    /// No scale for the integer noise.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Scale(#[from] ParameterError),
    /// The plan says otherwise than the program whether sums are of integers.
    #[error("the plan and the compiled program do not agree whether sums are of integers")]
    #[diagnostic(code(dpc::train::grid), help("make the plan for the model that is trained"))]
    Grid,
    /// The ranks do not go on together.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Ranks(#[from] RanksError),
    /// The sum of all ranks is not that of the units that were drawn.
    #[error("the ranks have not summed the units that were drawn, each by one of them")]
    #[diagnostic(code(dpc::train::shares), help("this is a defect of dpc; nothing was released"))]
    Shares,
    /// Noise that ranks cannot make a part of each.
    #[error("ranks cannot make a part of the noise each where it is of floats, correlated, or none")]
    #[diagnostic(
        code(dpc::train::indivisible_noise),
        help("leave out --shard-noise: every rank then makes all of the noise, and it is added once all the same")
    )]
    Indivisible,
    /// The sum of all ranks does not hold the noise of every element once.
    #[error("the ranks have not made the noise of this step, each element's by one of them")]
    #[diagnostic(code(dpc::train::noise_parts), help("this is a defect of dpc; nothing was released"))]
    NoiseParts,
    /// Replicas that should be the same are not.
    #[error("after step {step} rank {rank} has other parameters than rank 0")]
    #[diagnostic(
        code(dpc::train::replicas),
        help(
            "devices of different kinds round differently: use the same --device and the same kind of machine for all ranks, \
             and go on from the last checkpoint by --resume. What is guaranteed holds all the same"
        )
    )]
    Replicas { rank: usize, step: u64 },
    /// The sum is not that of the step that was paid for.
    #[error(
        "step {paid} was paid for, and {}",
        .summed.map_or("no step is summed".to_owned(), |step| format!("step {step} is summed"))
    )]
    #[diagnostic(code(dpc::train::unpaid), help("this is a defect of dpc; nothing was released"))]
    Unpaid { summed: Option<u64>, paid: u64 },
}

impl<'a> Stepper<'a> {
    /// Steps of `setting` on `engine` with the clip bounds `clip` and the randomness of `key`, the first of
    /// them `first_step`.
    ///
    /// # Errors
    /// When the plan is for other data or another program, or there is no noise.
    pub fn new(
        setting: Setting<'a>,
        engine: Engine,
        clip: ClipState,
        key: &RunKey,
        first_step: u64,
    ) -> Result<Self, StepError> {
        let plan = setting.plan;
        let (planned, found) = (plan.views, setting.augment.map_or(1, |augment| augment.views as u64));
        if planned != found {
            return Err(StepError::Views { planned, found });
        }
        let found = engine.views() as u64;
        // Records of several rows are those of a private step alone, and each a unit.
        let together = !plan.non_private && plan.unit == Unit::Record && setting.units.longest() <= 1;
        if found != 1 && !(together && found == planned) {
            return Err(StepError::Views { planned, found });
        }
        let (planned, found) = (plan.clip_groups, clip.groups());
        if planned != found && !plan.non_private {
            return Err(StepError::ClipGroups { planned, found });
        }
        let noise = match plan.non_private {
            true => None,
            false => Some(Releaser::new(key, plan, &engine, &clip, first_step)?),
        };
        Ok(Self {
            sampler: Sampler::new(key, plan, setting.units.all())?,
            engine,
            chance: Chance::new(key, setting.augment)
                .after(setting.units.shard().map_or(0, |shard| shard.records_before)),
            setting,
            noise,
            clip,
            sums: Sums::default(),
            ranks: Arc::new(Alone),
            ahead: None,
        })
    }

    /// The engine, with the parameters as they are now.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// The parts of the cycle and the noise that correlated noise goes on from, both secret. `None` where noise is independent.
    pub fn noise_state(&self) -> Option<(Parts, &NoiseStream)> {
        Some((self.sampler.parts()?, self.noise.as_ref()?.stream()?))
    }

    /// Goes on from `state`, that of the same plan.
    ///
    /// # Errors
    /// When it is of another.
    pub fn set_noise_state(&mut self, state: NoiseState) -> Result<(), StepError> {
        self.noise.as_mut().ok_or(StreamError::Other)?.restore(state.stream)?;
        self.sampler.set_parts(state.parts);
        self.ahead = None;
        Ok(())
    }

    /// The clip bounds as they are now.
    pub fn clip(&self) -> &ClipState {
        &self.clip
    }

    /// Goes on from the clip bounds `clip`.
    pub fn set_clip(&mut self, clip: &ClipState) {
        self.clip.clone_from(clip);
    }

    /// The phases of `program` that steps of `plan` run.
    pub fn phases_of(plan: &PrivacyPlan, program: &Program) -> &'static [Phase] {
        match (program.views, plan.grid.is_some()) {
            (1, _) => Stepper::phases(plan),
            (_, false) => &[Phase::Private, Phase::Update],
            (_, true) => &[Phase::Private, Phase::Release],
        }
    }

    /// The phases that steps of `plan` run of a program in which each row is a record.
    pub fn phases(plan: &PrivacyPlan) -> &'static [Phase] {
        match (plan.clips_means(), plan.grid.is_some()) {
            _ if plan.non_private => &[Phase::Plain, Phase::Update],
            (false, false) => &[Phase::Private, Phase::Update],
            (false, true) => &[Phase::Private, Phase::Release],
            (true, false) => &[Phase::Plain, Phase::Fold, Phase::Collect, Phase::Update],
            (true, true) => &[Phase::Plain, Phase::Fold, Phase::Release],
        }
    }

    /// The records that `step` draws, unit by unit, of those that this rank has; a function of the run's key. The guarantee rests on it
    /// that nobody else is told.
    pub fn drawn(&self, step: u64) -> Vec<usize> {
        let units = &self.setting.units;
        ahead::records(units, &units.held(&self.sampler.sample(step)))
    }

    /// Draws the units of `step` and sums the clipped gradients of this rank's share of them, for [`Stepper::reduce`]. How many
    /// units were drawn for all ranks. `observe` sees what each physical batch of this rank shows of its records, and which bounds
    /// they had; the guarantee does not cover it.
    ///
    /// # Errors
    /// When the device fails.
    pub fn accumulate(&mut self, step: u64, observe: impl FnMut(&Shown, &ClipState, f64)) -> Result<usize, StepError> {
        self.begin(step)?;
        let drawn = self.ahead.take().filter(|ahead| ahead.step == step);
        let known = drawn.is_some();
        let Ahead { drawn, share, .. } = drawn.unwrap_or_else(|| self.drawing().draw(step));
        let next = (step + 1 < self.setting.plan.planned_steps && self.drawing().pays_ahead()).then_some(step + 1);
        self.ahead = self.add_while_drawing(step, &share, known, next, observe)?;
        self.collect()?;
        Ok(drawn)
    }

    /// Sets the clip bounds of `step`, and its sums beside the gradient to zero.
    ///
    /// # Errors
    /// When the device fails.
    pub fn begin(&mut self, step: u64) -> Result<(), StepError> {
        let scale = self.setting.plan.clip_schedule.at(step);
        self.engine.set_clip_bounds(&self.clip.bounds(scale))?;
        self.sums = Sums { step: Some(step), counts: vec![0.0; self.clip.groups()], ..Sums::default() };
        Ok(())
    }

    /// Adds the clipped gradients of `drawn` units to the sum of `step`, between [`Stepper::begin`] and
    /// [`Stepper::collect`]. An audit chooses the units itself.
    ///
    /// # Errors
    /// When the device fails.
    pub fn add(
        &mut self,
        step: u64,
        drawn: &[usize],
        observe: impl FnMut(&Shown, &ClipState, f64),
    ) -> Result<(), StepError> {
        self.add_while_drawing(step, drawn, false, None, observe).map(drop)
    }

    fn drawing(&self) -> Drawing<'_> {
        let Setting { data, units, .. } = &self.setting;
        Drawing { sampler: &self.sampler, units, data, rank: (self.ranks.rank(), self.ranks.size()) }
    }

    /// [`Stepper::add`], while another thread tells the system of the records in files, unless they are `known` to it, and draws the
    /// units of the step `next`.
    fn add_while_drawing(
        &mut self,
        step: u64,
        drawn: &[usize],
        known: bool,
        next: Option<u64>,
        mut observe: impl FnMut(&Shown, &ClipState, f64),
    ) -> Result<Option<Ahead>, StepError> {
        let Self { setting, engine, chance, clip, sums, sampler, ranks, .. } = self;
        let (plan, data, units) = (setting.plan, setting.data, &*setting.units);
        let phase = match plan.non_private {
            true => Phase::Plain,
            false => Phase::Private,
        };
        sums.units += drawn.len();
        let scale = plan.clip_schedule.at(step);
        let records = ahead::records(units, drawn);
        let rank = (ranks.rank(), ranks.size());
        let tell = !known && data.is_in_files();
        std::thread::scope(|scope| {
            let (sampler, records) = (&*sampler, &records);
            let drawing = Drawing { sampler, units, data, rank };
            let work = move || {
                if tell {
                    data.expect(records);
                }
                next.map(|next| drawing.draw_ahead(next))
            };
            // Where the system starts no thread, as in a browser, the next step draws for itself.
            let thread = || std::thread::Builder::new().name("dpc draw".to_owned()).spawn_scoped(scope, work).ok();
            let beside = (tell || next.is_some()).then(thread).flatten();
            let views = engine.views();
            if plan.clips_means() && views == 1 {
                for &unit in drawn {
                    let shown = engine.add_unit(data, units.records(unit), (chance, step))?;
                    let loss = shown.loss.iter().map(|&loss| f64::from(loss)).sum::<f64>() / shown.loss.len() as f64;
                    clip.count(&shown.group_norms, &mut sums.counts);
                    sums.estimate(plan, loss);
                    observe(&shown, clip, scale);
                }
            } else {
                // What is clipped has the mean over views already.
                let weight = views as f32 / plan.views as f32;
                for batch in chance.rows(records).chunks(engine.rows()) {
                    engine.run_rows(phase, data, batch, weight, Some((chance, step)))?;
                    let shown = engine.shown(phase, batch.len())?;
                    clip.count(&shown.group_norms, &mut sums.counts);
                    for losses in shown.loss.chunks(views) {
                        let loss = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64;
                        sums.estimate(plan, loss);
                    }
                    observe(&shown, clip, scale);
                }
            }
            Ok(beside.and_then(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))))
        })
    }

    /// Ends the sum of a step.
    ///
    /// # Errors
    /// When the device fails.
    pub fn collect(&mut self) -> Result<(), StepError> {
        match self.setting.plan.clips_means() && self.engine.views() == 1 && !self.engine.exact() {
            true => Ok(self.engine.collect_units()?),
            false => Ok(()),
        }
    }

    /// Ends the step that `receipt` paid for: noise, division, update, and what else the plan releases.
    ///
    /// # Errors
    /// When the sum is another step's or has been released, there is no noise or the device fails. The sum is lost then, and
    /// never shown.
    pub fn release(&mut self, receipt: Receipt) -> Result<Released, StepError> {
        let step = receipt.step();
        match self.sums.step.take() {
            Some(summed) if summed == step => {}
            summed => return Err(StepError::Unpaid { summed, paid: step }),
        }
        let Setting { plan, optimizer, learning_rate, lr_schedule, .. } = &self.setting;
        let rate = Rate { base: *learning_rate, factor: lr_schedule.at(step, plan.planned_steps) };
        let Some(noise) = &mut self.noise else {
            self.engine.update(optimizer, step + 1, rate, plan.divisor(), None)?;
            return Ok(Released::default());
        };
        let update = (step + 1, optimizer, rate);
        let beside = noise.release(&mut self.engine, plan, &self.clip, step, update)?;
        let mut released = Released::default();
        if !beside.counts.is_empty() {
            let counts: Vec<f64> =
                self.sums.counts.iter().zip(beside.counts).map(|(count, noise)| count + noise).collect();
            self.clip.update(&counts, plan.expected_batch);
            released.counts = Some(counts);
        }
        released.estimates = beside.estimates.map(|noise| {
            let mut sums = self.sums.estimates;
            sums.iter_mut().zip(noise).for_each(|(sum, noise)| *sum += noise);
            sums
        });
        Ok(released)
    }
}
