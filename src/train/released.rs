//! The end of a private step: noise on everything that it releases, division, and the update.

use std::ops::Range;
use std::sync::Arc;

use super::engine::Engine;
use super::lr_for::Rate;
use super::step::StepError;
use crate::options::optimizer::OptimizerSpec;
use crate::privacy::clipping::{ClipState, count_sensitivity};
use crate::privacy::correlation::{NoiseStream, StreamError, StreamState};
use crate::privacy::discrete::DiscreteNoise;
use crate::privacy::grid::{self, Grid};
use crate::privacy::grid_noise::{self, GridNoise, Sampled};
use crate::privacy::keys::RunKey;
use crate::privacy::noise::{GaussianNoise, NoiseSource};
use crate::privacy::plan::PrivacyPlan;
use crate::privacy::release::Estimates;
use crate::privacy::sampler::Parts;
use crate::privacy::scales;
use crate::ranks::Ranks;

/// The noise of a run.
pub enum Releaser {
    /// Of sums of floats.
    Floats(NoiseSource),
    /// Of sums of integers.
    Integers {
        /// Where it comes from.
        noise: GridNoise,
        /// The grid of the gradient.
        grid: Grid,
        /// What correlates it over the steps, if it is.
        stream: Option<NoiseStream>,
        /// Where each of several ranks makes a part of it.
        shared: Option<Shared>,
    },
}

/// Noise of which each rank makes a part, that goes into its sum before the sums of all are added up.
pub struct Shared {
    /// Which elements of each parameter are this rank's.
    parts: Vec<Range<usize>>,
    /// The step whose sum has it.
    added: Option<u64>,
}

/// What correlated noise and the sampling that goes with it go on from. With what was released it tells the sums without noise.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseState {
    /// What the parts of the cycle follow from.
    pub parts: Parts,
    /// What was added in the last steps.
    pub stream: StreamState,
}

/// An update's number counted from 1, its optimizer and its learning rate.
pub type Update<'a> = (u64, &'a OptimizerSpec, Rate);

/// The noise on what a step releases beside the gradient.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beside {
    /// On the counts of the clip groups, where bounds adapt.
    pub counts: Vec<f64>,
    /// On the estimates, where there are some.
    pub estimates: Option<[f64; Estimates::COUNT]>,
}

impl Releaser {
    /// The noise that `plan` asks for on what `engine` sums, from step `first_step` on, at the bounds `clip`.
    ///
    /// # Errors
    /// When the noise cannot be made.
    pub fn new(
        key: &RunKey,
        plan: &PrivacyPlan,
        engine: &Engine,
        clip: &ClipState,
        first_step: u64,
    ) -> Result<Releaser, StepError> {
        let mut lengths = engine.noise_lengths();
        lengths.extend(clip.adaptive().map(|_| clip.groups()));
        match &plan.grid {
            Some(grid) if engine.exact() => {
                lengths.extend(plan.estimates.iter().flat_map(|_| [1; Estimates::COUNT]));
                let noise = Arc::new(Sampled::new(DiscreteNoise::new(key)));
                let scales = scales::all(plan, grid, &engine.noise_groups(), clip, first_step)?;
                let noise = GridNoise::spawn(noise, &lengths, first_step, &scales)?;
                let stream =
                    plan.correlation.as_ref().map(|strategy| NoiseStream::new(strategy, &engine.noise_lengths()));
                Ok(Releaser::Integers { noise, grid: grid.clone(), stream, shared: None })
            }
            None if !engine.exact() && plan.correlation.is_none() => {
                lengths.extend(plan.estimates.map(|_| Estimates::COUNT));
                let noise = Arc::new(GaussianNoise::new(key, plan));
                Ok(Releaser::Floats(NoiseSource::spawn(noise, &lengths, first_step)?))
            }
            _ => Err(StepError::Grid),
        }
    }

    /// The same with a part of the noise made by each of `ranks`, in their sums of what `engine` sums.
    ///
    /// # Errors
    /// When noise has no parts, since it is of floats or correlated, or cannot be made.
    pub fn shared(self, ranks: &dyn Ranks, engine: &mut Engine) -> Result<Releaser, StepError> {
        match self {
            Releaser::Integers { noise, grid, stream: None, .. } => {
                let parts = grid_noise::parts(ranks.rank(), ranks.size(), &engine.noise_lengths());
                let noise = noise.of_parts(&parts)?;
                engine.clear_noise()?;
                Ok(Releaser::Integers { noise, grid, stream: None, shared: Some(Shared { parts, added: None }) })
            }
            _ => Err(StepError::Indivisible),
        }
    }

    /// Adds this rank's part of the noise of `step` to its `sums` of all parameters, one after another, if it makes a part. Of how many
    /// elements that is.
    ///
    /// # Errors
    /// When the noise cannot be made.
    pub fn add_part(
        &mut self,
        sums: &mut [i64],
        engine: &Engine,
        plan: &PrivacyPlan,
        clip: &ClipState,
        step: u64,
    ) -> Result<Option<usize>, StepError> {
        let Releaser::Integers { noise, grid, shared: Some(shared), .. } = self else { return Ok(None) };
        let scales = scales::all(plan, grid, &engine.noise_groups(), clip, step)?;
        let lengths = engine.noise_lengths();
        if lengths.iter().sum::<usize>() != sums.len() {
            return Err(StepError::Grid);
        }
        let (mut rest, mut made) = (sums, 0);
        for ((length, part), noise) in lengths.into_iter().zip(&shared.parts).zip(noise.take(step, &scales)?) {
            let (parameter, after) = std::mem::take(&mut rest).split_at_mut(length);
            rest = after;
            made += noise.len();
            let sums = parameter[part.clone()].iter_mut().zip(noise);
            sums.for_each(|(sum, noise)| *sum = sum.wrapping_add(*noise));
        }
        shared.added = Some(step);
        Ok(Some(made))
    }

    /// What correlates the noise over the steps, if it is.
    pub fn stream(&self) -> Option<&NoiseStream> {
        match self {
            Releaser::Floats(_) => None,
            Releaser::Integers { stream, .. } => stream.as_ref(),
        }
    }

    /// Goes on with that from `state`.
    ///
    /// # Errors
    /// When it is of another plan.
    pub fn restore(&mut self, state: StreamState) -> Result<(), StreamError> {
        match self {
            Releaser::Integers { stream: Some(stream), .. } => stream.restore(state),
            _ => Err(StreamError::Other),
        }
    }

    /// Releases the sum of `step`, clipped to the bounds `clip`, as the update `(number, optimizer, learning rate)`. Yields
    /// the noise of what is released beside it.
    ///
    /// # Errors
    /// When the device or the noise fails.
    pub fn release(
        &mut self,
        engine: &mut Engine,
        plan: &PrivacyPlan,
        clip: &ClipState,
        step: u64,
        (number, optimizer, rate): Update<'_>,
    ) -> Result<Beside, StepError> {
        let (multipliers, schedule) = (plan.multipliers(step), plan.clip_schedule.at(step));
        let trained = engine.noise_lengths().len();
        let mut beside = Beside::default();
        match self {
            Releaser::Floats(noise) => {
                let mut std = vec![multipliers.gradient * clip.sensitivity(schedule); trained];
                std.extend(multipliers.counts.map(|counts| counts * count_sensitivity(clip.groups())));
                std.extend(multipliers.estimate);
                let (gradient, rest) = noise.take(step, &std)?.split_at(trained);
                engine.update(optimizer, number, rate, plan.divisor(), Some(gradient))?;
                let mut rest = rest.iter().map(|noise| noise.iter().map(|&value| f64::from(value)));
                if multipliers.counts.is_some() {
                    beside.counts = rest.next().into_iter().flatten().collect();
                }
                if let (Some(estimates), Some(drawn)) = (&plan.estimates, rest.next()) {
                    let mut all = estimates.sensitivities();
                    all.iter_mut().zip(drawn).for_each(|(value, drawn)| *value *= drawn);
                    beside.estimates = Some(all);
                }
                noise.begin(step.wrapping_add(1))?;
            }
            Releaser::Integers { noise, grid, stream, shared } => {
                let scales = scales::all(plan, grid, &engine.noise_groups(), clip, step)?;
                let units: Vec<f64> = clip.scaled(schedule).into_iter().map(grid::unit).collect();
                let (gradient, rest) = noise.take(step, &scales)?.split_at(trained);
                let gradient: &[Vec<i64>] = match (shared.as_mut().map(|shared| shared.added.take()), stream) {
                    // The sum has it.
                    (Some(added), _) if added == Some(step) => &[],
                    (Some(_), _) => return Err(StepError::NoiseParts),
                    (None, Some(stream)) => stream.correlate(step, gradient)?,
                    (None, None) => gradient,
                };
                engine.release(optimizer, number, rate, plan.divisor(), (gradient, &units))?;
                let mut rest = rest.iter();
                if let Some((of_counts, _)) = scales::counts(plan, clip, step)
                    && let Some(noise) = rest.next()
                {
                    beside.counts = noise.iter().map(|&units| of_counts.value(units)).collect();
                }
                if let Some(grids) = scales::estimates(plan, step) {
                    let mut all = [0.0; Estimates::COUNT];
                    for ((value, (grid, _)), noise) in all.iter_mut().zip(grids).zip(rest) {
                        *value = grid.value(noise.first().copied().unwrap_or(0));
                    }
                    beside.estimates = Some(all);
                }
                noise.begin(step.wrapping_add(1))?;
            }
        }
        Ok(beside)
    }
}
