//! What is audited: a program and the plan that is followed, apart from the plan that is claimed.
//!
//! For an artifact as it is, both plans are the same. A plan broken on purpose (see [`super::mutation`]) is an edit of the
//! subject, while the claim stays.

use std::borrow::Cow;
use std::panic::resume_unwind;
use std::sync::Arc;

use super::AuditError;
use super::ending::released_by;
use super::records::Records;
use crate::artifact::Artifact;
use crate::device::Device;
use crate::graph::DType;
use crate::lower::kernels::{Copy, CopyAxis};
use crate::lower::memory;
use crate::lower::program::{Buffer, BufferId, Dispatch, Extent, Program, Role};
use crate::privacy::clipping::{ClipGroup, ClipState};
use crate::privacy::grid::{self, Grid};
use crate::privacy::keys::RunKey;
use crate::privacy::ledger::Receipt;
use crate::privacy::plan::{PlanSpec, PrivacyPlan};
use crate::privacy::sampling::Sampling;
use crate::ranks::{self, Ranks};
use crate::tensors::Tensors;
use crate::train::augment::Augment;
use crate::train::data::Values;
use crate::train::engine::Engine;
use crate::train::lr_schedule::LrSchedule;
use crate::train::step::{Released, Setting, StepError, Stepper};

/// The prefix of the results that hold what a step releases of a parameter's gradient.
const RELEASED: &str = "audit/";
/// The prefix of the results that hold the integer noise that a step adds.
const NOISE: &str = "audit/noise/";

/// What is run.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The program.
    pub program: Program,
    /// The plan that sampler, noise and divisor follow.
    pub plan: PrivacyPlan,
    /// The clip groups that the program was compiled for.
    pub groups: Vec<ClipGroup>,
}

/// Whether a step gets its noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    /// As the subject's plan says.
    On,
    /// σ is 0, all else is the same.
    Off,
}

impl Subject {
    /// The plan for steps whose units the audit chooses itself.
    fn chosen(&self, noise: Noise) -> Result<PrivacyPlan, AuditError> {
        let spec = PlanSpec::from(self.plan.clone());
        let noise_multiplier = match noise {
            Noise::On => spec.noise_multiplier,
            Noise::Off => 0.0,
        };
        let sampling = match spec.sampling {
            cyclic @ Sampling::Cyclic { .. } => cyclic,
            _ => Sampling::Poisson { rate: 1.0 },
        };
        Ok(PrivacyPlan::new(PlanSpec { noise_multiplier, sampling, public_units: None, ..spec })?)
    }
}

/// What a [`Rig`] is made from.
pub struct Bench<'a> {
    device: &'a dyn Device,
    artifact: &'a Artifact,
    records: &'a Records,
    program: Arc<Program>,
    plan: PrivacyPlan,
    clip: ClipState,
    groups: Vec<ClipGroup>,
    key: RunKey,
    learning_rate: f64,
}

impl<'a> Bench<'a> {
    /// `subject` with `noise` on `device`.
    ///
    /// # Errors
    /// Where the subject's numbers make no plan.
    pub fn new(
        device: &'a dyn Device,
        artifact: &'a Artifact,
        records: &'a Records,
        subject: &Subject,
        noise: Noise,
        key: RunKey,
    ) -> Result<Self, AuditError> {
        let program = Arc::new(observable(&subject.program));
        let plan = subject.chosen(noise)?;
        let clip = ClipState::new(&plan.clip, &subject.groups);
        let groups = subject.groups.clone();
        Ok(Bench { device, artifact, records, program, plan, clip, groups, key, learning_rate: 0.0 })
    }

    /// The same with parameters that are updated.
    pub fn training(self, learning_rate: f64) -> Self {
        Bench { learning_rate, ..self }
    }

    /// The same with `program` to the letter: what it releases can then only be told from the parameters.
    pub fn unobserved(self, program: &Program) -> Self {
        Bench { program: Arc::new(program.clone()), ..self }
    }

    /// Puts it on the device, for physical batches of `rows`, or of as many records where these have several rows.
    ///
    /// # Errors
    /// What the device says.
    pub fn rig(&self, rows: usize) -> Result<Rig<'_>, AuditError> {
        let phases = Stepper::phases_of(&self.plan, &self.program);
        let rows = rows * self.program.views;
        let engine = Engine::new(self.device, self.program.clone(), &self.artifact.weights, rows, phases)?;
        let views = self.plan.views as usize;
        let parameters = engine.trained();
        let setting = Setting {
            plan: &self.plan,
            data: &self.records.data,
            units: Cow::Borrowed(&self.records.units),
            // Every view is the record as it is.
            augment: (views > 1).then(|| Augment { views, ..Augment::default() }),
            optimizer: self.artifact.manifest.optimizer,
            learning_rate: self.learning_rate,
            lr_schedule: Cow::Owned(LrSchedule::CONSTANT),
        };
        let sizes = engine.noise_lengths();
        let stepper = Stepper::new(setting, engine, self.clip.clone(), &self.key, 0)?;
        let (clip, groups, others) = (self.clip.clone(), &self.groups, Vec::new());
        Ok(Rig { stepper, others, clip, groups, parameters, sizes })
    }

    /// The same on several ranks, each a place and the bench that it has its own copy of; where they are to `share` the noise, each makes
    /// a part of it.
    ///
    /// # Errors
    /// As [`Bench::rig`], and where noise has no parts.
    pub fn among<'r>(
        &'r self,
        rows: usize,
        ranks: Vec<(Arc<dyn Ranks>, &'r Bench<'_>)>,
        share: bool,
    ) -> Result<Rig<'r>, AuditError> {
        let mut rig = self.rig(rows)?;
        let mut steppers = Vec::with_capacity(ranks.len());
        for (place, bench) in ranks {
            let stepper = bench.rig(rows)?.stepper.among(place);
            steppers.push(if share { stepper.sharing_noise()? } else { stepper });
        }
        rig.stepper = steppers.remove(0);
        rig.others = steppers;
        Ok(rig)
    }
}

/// A subject on a device, taking steps.
pub struct Rig<'a> {
    stepper: Stepper<'a>,
    /// Those of other ranks, if there are some.
    others: Vec<Stepper<'a>>,
    /// The clip bounds of every step.
    clip: ClipState,
    groups: &'a [ClipGroup],
    parameters: Vec<String>,
    sizes: Vec<usize>,
}

/// What a step released.
pub struct Step {
    /// The gradients of all trained parameters end to end.
    pub gradient: Vec<f32>,
    /// What else there is.
    pub released: Released,
}

impl Rig<'_> {
    /// Records of a physical batch.
    pub fn rows(&mut self) -> usize {
        let engine = self.stepper.engine();
        engine.rows() / engine.views()
    }

    /// The trained parameters.
    pub fn parameters(&self) -> &[String] {
        &self.parameters
    }

    /// The number of elements of each trained parameter, in the order in which gradients are laid end to end.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// The sensitivity of a sum that is clipped to the bounds as they are, which noise is scaled by; of integers, that of `grid`.
    pub fn sensitivity(&self, grid: Option<&Grid>) -> f64 {
        grid.map_or_else(|| self.clip.sensitivity(1.0), |grid| grid.sensitivity(&self.clip.scaled(1.0)))
    }

    /// How far a unit may move the sum of each clip group, on `grid` if there is one.
    pub fn bounds(&self, grid: Option<&Grid>) -> Vec<f64> {
        match grid {
            Some(grid) => {
                let bounds = self.clip.scaled(1.0).into_iter().enumerate();
                bounds.map(|(group, bound)| grid.group_sensitivity(group) * grid::unit(bound)).collect()
            }
            None => self.clip.bounds(1.0).into_iter().map(f64::from).collect(),
        }
    }

    /// The longest difference between two gradients in a clip group, over the bound of that group, and its name
    /// where there are several: each group's noise is for its own bound. What is in no group may not differ.
    pub fn reach<T: std::marker::Copy + Into<f64>>(&self, a: &[T], b: &[T], bounds: &[f64]) -> (f64, Option<&str>) {
        let mut squares = vec![0.0; self.groups.len()];
        let (mut start, mut astray) = (0, 0.0);
        for (parameter, &size) in self.parameters.iter().zip(&self.sizes) {
            let square = distance(&a[start..start + size], &b[start..start + size]).powi(2);
            start += size;
            *self.group(parameter).map_or(&mut astray, |group| &mut squares[group]) += square;
        }
        let several = self.groups.len() > 1;
        let of_groups = squares
            .iter()
            .zip(bounds)
            .zip(self.groups)
            .map(|((square, bound), group)| (square.sqrt() / bound, Some(&*group.name).filter(|_| several)));
        let astray = (if astray > 0.0 { f64::INFINITY } else { astray }, None);
        // A length that is not a number comes after all numbers.
        of_groups.chain([astray]).max_by(|a, b| a.0.abs().total_cmp(&b.0.abs())).unwrap_or(astray)
    }

    fn group(&self, parameter: &str) -> Option<usize> {
        self.groups.iter().position(|group| group.parameters.iter().any(|name| name == parameter))
    }

    /// Lets the clip bounds follow a step of `units`, where they adapt, and keeps them where they are then. Whether they
    /// moved.
    ///
    /// # Errors
    /// As [`Rig::release`].
    pub fn adapt(&mut self, units: &[usize]) -> Result<bool, AuditError> {
        self.release(0, &[units])?;
        let moved = *self.stepper.clip() != self.clip;
        self.clip.clone_from(self.stepper.clip());
        Ok(moved)
    }

    /// The gradient that step number `step` releases of the units in `batches`, each of which is added by itself: all
    /// trained parameters end to end.
    ///
    /// # Errors
    /// When there is no noise, or the device fails.
    pub fn release(&mut self, step: u64, batches: &[&[usize]]) -> Result<Vec<f32>, AuditError> {
        Ok(self.step(step, batches)?.gradient)
    }

    /// Everything that step number `step` releases of the units in `batches`.
    ///
    /// # Errors
    /// As [`Rig::release`].
    pub fn step(&mut self, step: u64, batches: &[&[usize]]) -> Result<Step, AuditError> {
        self.accumulate(step, batches)?;
        self.finish(step)
    }

    /// The sum of clipped gradients before the noise and the division, and [`Rig::release`].
    ///
    /// # Errors
    /// As [`Rig::release`].
    pub fn sum_and_release(&mut self, step: u64, batches: &[&[usize]]) -> Result<(Vec<f32>, Vec<f32>), AuditError> {
        self.accumulate(step, batches)?;
        let mut sum = Vec::new();
        if self.stepper.engine().exact() {
            let units: Vec<f64> = self.clip.scaled(1.0).into_iter().map(grid::unit).collect();
            for parameter in &self.parameters {
                let unit = self.group(parameter).map_or(f64::NAN, |group| units[group]);
                let integers = self.stepper.engine().grid_sum(parameter)?;
                sum.extend(integers.iter().map(|&integer| (integer as f64 * unit) as f32));
            }
        } else {
            for parameter in &self.parameters {
                sum.extend(self.stepper.engine().gradient_sum(parameter)?);
            }
        }
        Ok((sum, self.finish(step)?.gradient))
    }

    /// Whether sums are of integers.
    pub fn exact(&mut self) -> bool {
        self.stepper.engine().exact()
    }

    /// The integer sum of all trained parameters end to end, in the grid units of each, and what is released of it.
    ///
    /// # Errors
    /// As [`Rig::release`], and where sums are of floats.
    pub fn integers_and_release(
        &mut self,
        step: u64,
        batches: &[&[usize]],
    ) -> Result<(Vec<Integer>, Vec<f32>), AuditError> {
        self.accumulate(step, batches)?;
        let mut sum = Vec::new();
        for parameter in &self.parameters {
            sum.extend(self.stepper.engine().grid_sum(parameter)?.into_iter().map(Integer));
        }
        Ok((sum, self.finish(step)?.gradient))
    }

    /// The integers that the last step added to the integer sum for noise.
    ///
    /// # Errors
    /// When the device fails, and where sums are of floats.
    pub fn noise(&mut self) -> Result<Vec<i64>, AuditError> {
        let mut noise = Vec::new();
        for parameter in &self.parameters {
            let Values::I32(words) = self.stepper.engine().output(&format!("{NOISE}{parameter}"))? else { continue };
            let pairs = words.as_chunks::<2>().0.iter();
            noise.extend(pairs.map(|&[low, high]| i64::from(high) << 32 | i64::from(low as u32)));
        }
        Ok(noise)
    }

    fn accumulate(&mut self, step: u64, batches: &[&[usize]]) -> Result<(), AuditError> {
        let Self { stepper, others, clip, .. } = self;
        let drawn = batches.iter().map(|batch| batch.len()).sum();
        let sum = |stepper: &mut Stepper<'_>| {
            let ranks = stepper.ranks().clone();
            let mut summed = || {
                stepper.set_clip(clip);
                stepper.begin(step)?;
                for batch in batches {
                    let share = ranks::share(ranks.rank(), ranks.size(), batch.len());
                    // The same dropout masks in every step: what differs is what the caller changes.
                    stepper.add(0, &batch[share], |_, _, _| ())?;
                }
                stepper.collect()?;
                stepper.reduce(drawn)
            };
            summed().inspect_err(|error: &StepError| ranks.leave(&error.to_string()))
        };
        std::thread::scope(|scope| {
            let sum = &sum;
            let threads: Vec<_> = others.iter_mut().map(|other| scope.spawn(move || sum(other))).collect();
            sum(stepper)?;
            let ended = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            ended.collect::<Result<(), StepError>>()
        })?;
        Ok(())
    }

    /// Takes step number `step` of the units in `batches`.
    ///
    /// # Errors
    /// As [`Rig::release`].
    pub fn train(&mut self, step: u64, batches: &[&[usize]]) -> Result<(), AuditError> {
        self.accumulate(step, batches)?;
        // The records are made up, so there is nothing to pay for.
        self.stepper.release(Receipt::of_made_up_records(step))?;
        Ok(())
    }

    /// The values of all parameters.
    ///
    /// # Errors
    /// When the device fails.
    pub fn weights(&mut self) -> Result<Tensors, AuditError> {
        Ok(self.stepper.engine().parameters()?)
    }

    fn finish(&mut self, step: u64) -> Result<Step, AuditError> {
        // The records are made up, so there is nothing to pay for.
        let released = self.stepper.release(Receipt::of_made_up_records(step))?;
        for other in &mut self.others {
            other.release(Receipt::of_made_up_records(step))?;
        }
        let mut gradient = Vec::new();
        for parameter in &self.parameters {
            gradient.extend(self.stepper.engine().floats(&self::released(parameter))?);
        }
        Ok(Step { gradient, released })
    }
}

/// An integer of a sum in grid units: as a double it is what it is, since no sum of an audit is beyond 2⁵³.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Integer(pub i64);

impl From<Integer> for f64 {
    fn from(Integer(value): Integer) -> f64 {
        value as f64
    }
}

/// The program with what a step releases of each parameter's gradient for a result, which otherwise only the optimizer
/// reads; and with the integers that are added for noise for another, where there are such.
pub fn observable(program: &Program) -> Program {
    let mut program = program.clone();
    let end = program.private_update();
    let dispatches = program.phases.remove(&end).unwrap_or_default();
    let mut observed = Vec::with_capacity(dispatches.len());
    for dispatch in dispatches {
        if let Some((parameter, ending, gradient)) = released_by(&program, &dispatch) {
            program.buffers[gradient.0 as usize].role = Role::Output(released(&parameter));
            if ending.unit.is_some() {
                observed.push(shown(&mut program, dispatch.buffers[ending.noise], 2 * ending.len, &parameter));
            }
        }
        observed.push(dispatch);
    }
    program.phases.insert(end, observed);
    memory::plan(&mut program);
    program
}

/// A copy of the first `len` words of the noise of `parameter` to a result.
fn shown(program: &mut Program, noise: BufferId, len: usize, parameter: &str) -> Dispatch {
    let name = format!("{NOISE}{parameter}");
    let role = Role::Output(name.clone());
    program.buffers.push(Buffer { name: name.clone(), dtype: DType::I32, len: Extent::fixed(len), role, slot: 0 });
    let copy = BufferId(program.buffers.len() as u32 - 1);
    let axes = vec![CopyAxis { size: len, from: 1, to: 1 }];
    let kernel = Copy { batched: false, from_record: len, to_record: len, from_offset: 0, to_offset: 0, axes };
    Dispatch { kernel: kernel.into(), buffers: vec![noise, copy], label: name, views: 1 }
}

/// The result that holds what a step releases of the gradient of `parameter`; see [`observable`].
pub fn released(parameter: &str) -> String {
    format!("{RELEASED}{parameter}")
}

/// The L2 norm of the difference of two gradients.
pub fn distance<T: std::marker::Copy + Into<f64>>(a: &[T], b: &[T]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| (x.into() - y.into()).powi(2)).sum::<f64>().sqrt()
}
