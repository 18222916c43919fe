//! The audit of a whole training by one run of it (Steinke, Nasr and Jagielski 2023,
//! <https://arxiv.org/abs/2305.08846>).
//!
//! Beside ordinary records there are canaries, each with one gradient throughout: the clip bound at an element of its own,
//! 0 elsewhere. A coin decides whether a canary is in the data; if so it is sampled like any record, and its gradient is
//! added to the sum after clipping: what is audited so is the sampling, the noise, the divisor and the accounting of many
//! steps together, and not how records are clipped, which [`super::sensitivity`] tests. The auditor sees what every step releases, knows everything but the coins and which canaries
//! were sampled, and scores each canary by what was released at its element. Of the scores that say most, high and low, it
//! guesses the coins. How many guesses to make is decided before the run, from the claim alone.

use std::borrow::Cow;
use std::sync::Arc;

use super::AuditError;
use super::ending::{Ending, released_by};
use super::report::{Check, percent};
use super::statistics::gaussian::{cdf, quantile};
use super::statistics::one_run::Guesses;
use super::subject::{Subject, observable, released};
use crate::artifact::Artifact;
use crate::device::Device;
use crate::graph::DType;
use crate::lower::kernels::{Accumulate, Carry, Kernel};
use crate::lower::memory;
use crate::lower::program::{Buffer, BufferId, Dispatch, Extent, Program, Role};
use crate::privacy::clipping::ClipState;
use crate::privacy::grid;
use crate::privacy::keys::{Domain, RunKey, Stream};
use crate::privacy::ledger::Receipt;
use crate::privacy::sampler::Sampler;
use crate::train::data::{Dataset, Values};
use crate::train::engine::Engine;
use crate::train::lr_schedule::LrSchedule;
use crate::train::step::{Setting, Stepper};
use crate::train::units::Units;

/// The prefix of the inputs that hold the canaries' gradients.
const CANARIES: &str = "audit/canaries/";
/// Large enough to move the parameters, small enough that noise does not blow them up.
const LEARNING_RATE: f64 = 0.01;
/// The stream of the coins, which no step has for a number.
const COINS: u64 = u64::MAX;

/// A training to audit.
pub struct Training<'a> {
    /// Where it runs.
    pub device: &'a dyn Device,
    /// Parameters and optimizer.
    pub artifact: &'a Artifact,
    /// What is run.
    pub subject: &'a Subject,
    /// Ordinary records.
    pub records: usize,
    /// Canaries; no more than there are elements in the gradient.
    pub canaries: usize,
    /// Logical steps.
    pub steps: u64,
    /// Rows of a physical batch.
    pub rows: usize,
}

impl Training<'_> {
    /// Trains, and guesses.
    ///
    /// # Errors
    /// When the device fails.
    pub fn run(&self, key: &RunKey) -> Result<Guesses, AuditError> {
        let plan = &self.subject.plan;
        let data = Dataset::random(&self.artifact.manifest.schema, self.records.max(1));
        let units = Units::single(data.records());
        let program = with_canaries(observable(&self.subject.program))?;
        let phases = Stepper::phases(plan);
        let engine = Engine::new(self.device, Arc::new(program), &self.artifact.weights, self.rows, phases)?;
        let clip = ClipState::new(&plan.clip, &self.subject.groups);
        let (parameters, sizes) = (engine.trained(), engine.noise_lengths());
        let canaries = self.place(&parameters, &sizes, &clip);
        let coins = coins(key, canaries.len());

        let optimizer = self.artifact.manifest.optimizer;
        let setting = Setting {
            plan,
            data: &data,
            units: Cow::Borrowed(&units),
            augment: None,
            optimizer,
            learning_rate: LEARNING_RATE,
            lr_schedule: Cow::Owned(LrSchedule::CONSTANT),
        };
        let mut stepper = Stepper::new(setting, engine, clip.clone(), key, 0)?;
        let sampler = Sampler::new(key, plan, data.records() + canaries.len())?;
        let mut scores = vec![0.0; canaries.len()];
        for step in 0..self.steps {
            let drawn = sampler.sample(step);
            let (ordinary, special) = drawn.split_at(drawn.partition_point(|&unit| unit < data.records()));
            // Canaries keep their length, so bounds that adapt have to stay, and the noise with them.
            stepper.set_clip(&clip);
            stepper.begin(step)?;
            stepper.add(step, ordinary, |_, _, _| ())?;
            stepper.collect()?;
            let mut gradients: Vec<Vec<f64>> = sizes.iter().map(|&size| vec![0.0; size]).collect();
            for canary in special.iter().map(|unit| unit - data.records()).filter(|&canary| coins[canary]) {
                let Canary { parameter, element, value, .. } = canaries[canary];
                gradients[parameter][element] += value;
            }
            let mut sums: Vec<Vec<f64>> = Vec::new();
            for (name, gradient) in parameters.iter().zip(gradients) {
                let engine = stepper.engine();
                let (sum, added) = match &plan.grid {
                    Some(_) => {
                        let sum = engine.grid_sum(name)?.into_iter().map(|sum| sum as f64).collect();
                        (sum, Values::I32(gradient.into_iter().map(|value| value as i32).collect()))
                    }
                    None => {
                        let sum = engine.gradient_sum(name)?.into_iter().map(f64::from).collect();
                        (sum, Values::F32(gradient.into_iter().map(|value| value as f32).collect()))
                    }
                };
                sums.push(sum);
                engine.write_input(&format!("{CANARIES}{name}"), &added)?;
            }
            // Records and canaries are made up, so there is nothing to pay for.
            stepper.release(Receipt::of_made_up_records(step))?;
            let mut seen = Vec::new();
            for name in &parameters {
                seen.push(stepper.engine().floats(&released(name))?);
            }
            for (score, canary) in scores.iter_mut().zip(&canaries) {
                let Canary { parameter, element, unit, value } = *canary;
                let released = f64::from(seen[parameter][element]) * plan.divisor() / unit;
                *score += (released - sums[parameter][element]) / value;
            }
        }
        Ok(self.guess(&scores, &coins))
    }

    /// Canaries on elements that are spread over all parameters.
    fn place(&self, parameters: &[String], sizes: &[usize], clip: &ClipState) -> Vec<Canary> {
        let total: usize = sizes.iter().sum();
        let count = self.canaries.min(total);
        let bounds = clip.bounds(1.0).into_iter().zip(clip.scaled(1.0)).enumerate();
        // The unit of the sum, and the most that a record may add, in units.
        let of_group = |(group, (bound, scaled)): (usize, (f32, f64))| match &self.subject.plan.grid {
            Some(grid) => (grid::unit(scaled), grid.group_sensitivity(group).floor()),
            None => (1.0, f64::from(bound)),
        };
        let values: Vec<(f64, f64)> = bounds.map(of_group).collect();
        let mut canaries = Vec::with_capacity(count);
        for canary in 0..count {
            let (mut element, mut parameter) = ((canary as u128 * total as u128 / count as u128) as usize, 0);
            while element >= sizes[parameter] {
                element -= sizes[parameter];
                parameter += 1;
            }
            let group = self.subject.groups.iter().position(|group| group.parameters.contains(&parameters[parameter]));
            let (unit, value) = values[group.unwrap_or(0)];
            canaries.push(Canary { parameter, element, unit, value });
        }
        canaries
    }

    /// Guesses that the highest scores are of canaries that are in, and the lowest of ones that are out.
    fn guess(&self, scores: &[f64], coins: &[bool]) -> Guesses {
        let half = (self.guesses(scores.len()) / 2).min(scores.len() / 2);
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        let (low, high) = (&order[..half], &order[order.len() - half..]);
        let right =
            low.iter().filter(|&&canary| !coins[canary]).count() + high.iter().filter(|&&canary| coins[canary]).count();
        Guesses { canaries: scores.len() as u64, made: 2 * half as u64, right: right as u64 }
    }

    /// How many guesses promise the largest bound, by what a training as claimed does on average: scores are normal, and
    /// canaries that are in lie μ deviations above those that are out.
    fn guesses(&self, canaries: usize) -> usize {
        let plan = &self.subject.plan;
        let rate = plan.rate();
        let mu = (self.steps as f64).sqrt() * rate / (plan.noise_multiplier.powi(2) + rate * (1.0 - rate)).sqrt();
        let promise = |half: usize| {
            // The score that a share `half / canaries` of them exceed, half of them being in.
            let share = half as f64 / canaries as f64;
            let exceed = |score: f64| 0.5 * (cdf(-score) + cdf(mu - score));
            let (mut low, mut high) = (quantile(share) - 40.0, mu + 40.0);
            for _ in 0..80 {
                let middle = 0.5 * (low + high);
                match exceed(middle) > share {
                    true => low = middle,
                    false => high = middle,
                }
            }
            let right = 0.5 * cdf(mu - low) / share;
            let made = 2 * half as u64;
            Guesses { canaries: canaries as u64, made, right: (right * made as f64) as u64 }.epsilon(1e-5, 0.05)
        };
        let halves = [100, 50, 20, 10, 5, 4, 3, 2].map(|part| canaries / part).into_iter().filter(|&half| half > 0);
        let best = halves.map(|half| (promise(half), half)).max_by(|a, b| a.0.total_cmp(&b.0));
        best.map_or(canaries, |(_, half)| 2 * half)
    }
}

/// A gradient that is 0 but for one element.
struct Canary {
    parameter: usize,
    element: usize,
    /// What the sum is in units of.
    unit: f64,
    /// In units.
    value: f64,
}

fn coins(key: &RunKey, count: usize) -> Vec<bool> {
    let mut bytes = vec![0; count];
    Stream::at(&key.derive(Domain::Sampling), COINS, 0).fill(&mut bytes);
    bytes.into_iter().map(|byte| byte & 1 == 1).collect()
}

/// The program with an input for each trained parameter that is added to its sum at the end of the step.
fn with_canaries(mut program: Program) -> Result<Program, AuditError> {
    let end = program.private_update();
    let released: Vec<(String, Ending, BufferId)> = program
        .phase(end)
        .iter()
        .filter_map(|dispatch| {
            let (parameter, ending, _) = released_by(&program, dispatch)?;
            Some((parameter, ending, dispatch.buffers[ending.sum]))
        })
        .collect();
    for (parameter, ending, sum) in released {
        let (name, len) = (format!("{CANARIES}{parameter}"), ending.len);
        let canaries = BufferId(program.buffers.len() as u32);
        let (dtype, kernel) = match ending.unit {
            Some(_) => (DType::I32, Kernel::from(Carry { len })),
            None => (DType::F32, Accumulate { len }.into()),
        };
        let role = Role::Input(name.clone());
        program.buffers.push(Buffer { name: name.clone(), dtype, len: Extent::fixed(len), role, slot: 0 });
        let dispatch = Dispatch { kernel, buffers: vec![canaries, sum], label: name, views: 1 };
        program.phases.entry(end).or_default().insert(0, dispatch);
    }
    memory::plan(&mut program);
    Ok(program)
}

/// The checks of a training whose ε is claimed to be at most `claimed` at `delta`, at the confidences that are shown and
/// that decide.
pub fn checks(guesses: Guesses, claimed: f64, delta: f64, shown: f64, decisive: f64) -> Vec<Check> {
    let at = |confidence: f64| guesses.epsilon(delta, 1.0 - confidence);
    let name = |confidence: f64| format!("ε at least, at {}", percent(confidence));
    let detail = format!(
        "of {claimed:.4} claimed, {} of {} guesses right, {} canaries added after clipping",
        guesses.right, guesses.made, guesses.canaries
    );
    vec![Check::shown(&name(shown), at(shown)).with(detail), Check::at_most(&name(decisive), at(decisive), claimed)]
}
