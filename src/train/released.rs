//! The end of a private step: noise on everything that it releases, division, and the update.

use std::sync::Arc;

use super::engine::Engine;
use super::step::StepError;
use crate::options::optimizer::OptimizerSpec;
use crate::privacy::clipping::{ClipState, count_sensitivity};
use crate::privacy::discrete::{self, DiscreteNoise, ParameterError, Scale, Smoothing};
use crate::privacy::grid::{self, Grid};
use crate::privacy::grid_noise::{GridNoise, Sampled};
use crate::privacy::keys::RunKey;
use crate::privacy::noise::{GaussianNoise, NoiseSource};
use crate::privacy::plan::PrivacyPlan;
use crate::privacy::release::Estimates;

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
    },
}

/// An update's number counted from 1, its optimizer and its learning rate.
pub type Update<'a> = (u64, &'a OptimizerSpec, f64);

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
                let scales = scales(plan, grid, engine, clip, first_step)?;
                let noise = GridNoise::spawn(noise, &lengths, first_step, &scales)?;
                Ok(Releaser::Integers { noise, grid: grid.clone() })
            }
            None if !engine.exact() => {
                lengths.extend(plan.estimates.map(|_| Estimates::COUNT));
                let noise = Arc::new(GaussianNoise::new(key, plan));
                Ok(Releaser::Floats(NoiseSource::spawn(noise, &lengths, first_step)?))
            }
            _ => Err(StepError::Grid),
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
        (number, optimizer, learning_rate): Update<'_>,
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
                engine.update(optimizer, number, learning_rate, plan.divisor(), Some(gradient))?;
                let mut rest = rest.iter().map(|noise| noise.iter().map(|&value| f64::from(value)));
                if multipliers.counts.is_some() {
                    beside.counts = rest.next().into_iter().flatten().collect();
                }
                if let (Some(estimates), Some(noise)) = (&plan.estimates, rest.next()) {
                    let mut all = estimates.sensitivities();
                    all.iter_mut().zip(noise).for_each(|(value, noise)| *value *= noise);
                    beside.estimates = Some(all);
                }
            }
            Releaser::Integers { noise, grid } => {
                let scales = scales(plan, grid, engine, clip, step)?;
                let units: Vec<f64> = clip.scaled(schedule).into_iter().map(grid::unit).collect();
                let (gradient, rest) = noise.take(step, &scales)?.split_at(trained);
                engine.release(optimizer, number, learning_rate, plan.divisor(), (gradient, &units))?;
                let mut rest = rest.iter();
                if let Some((of_counts, _)) = counts(plan, clip, step)
                    && let Some(noise) = rest.next()
                {
                    beside.counts = noise.iter().map(|&units| of_counts.value(units)).collect();
                }
                if let Some(grids) = estimates(plan, step) {
                    let mut all = [0.0; Estimates::COUNT];
                    for ((value, (grid, _)), noise) in all.iter_mut().zip(grids).zip(rest) {
                        *value = grid.value(noise.first().copied().unwrap_or(0));
                    }
                    beside.estimates = Some(all);
                }
            }
        }
        Ok(beside)
    }
}

/// A grid of what is summed beside the gradient, and the noise multiplier and sensitivity of that.
type Summed = (discrete::Grid, (f64, f64));

/// That of the counts, where bounds adapt. A count is a number of halves, which every such grid has.
fn counts(plan: &PrivacyPlan, clip: &ClipState, step: u64) -> Option<Summed> {
    let multiplier = plan.multipliers(step).counts?;
    let sensitivity = count_sensitivity(clip.groups());
    Some((discrete::Grid::for_noise(multiplier * sensitivity), (multiplier, sensitivity)))
}

/// Those of the estimates at `step`, where there are some and sums are of integers: what each unit adds is rounded to them.
pub fn estimates(plan: &PrivacyPlan, step: u64) -> Option<[Summed; Estimates::COUNT]> {
    let (spec, multiplier) = (plan.estimates.filter(|_| plan.grid.is_some())?, plan.multipliers(step).estimate?);
    Some(spec.sensitivities().map(|bound| (discrete::Grid::for_noise(multiplier * bound), (multiplier, bound))))
}

/// The scales of the integer noise at `step`. For parameters it is so much that in the own units of every clip group it is σ times
/// the sensitivity of all integer sums together.
fn scales(
    plan: &PrivacyPlan,
    grid: &Grid,
    engine: &Engine,
    clip: &ClipState,
    step: u64,
) -> Result<Vec<Option<Scale>>, StepError> {
    let bounds = clip.scaled(plan.clip_schedule.at(step));
    let (multiplier, sensitivity) = (plan.multipliers(step).gradient, grid.sensitivity(&bounds));
    let scale = |multiplier: f64, sensitivity: f64| -> Result<Option<Scale>, ParameterError> {
        if multiplier == 0.0 { Ok(None) } else { Smoothing::USUAL.parameter(multiplier, sensitivity).map(Some) }
    };
    let of_group = |bound: &f64| scale(multiplier, (sensitivity / grid::unit(*bound)).next_up());
    let of_groups = bounds.iter().map(of_group).collect::<Result<Vec<_>, _>>()?;
    let mut scales: Vec<Option<Scale>> = engine.noise_groups().iter().map(|&group| of_groups[group]).collect();
    let beside = counts(plan, clip, step).into_iter().chain(estimates(plan, step).into_iter().flatten());
    for (grid, (multiplier, sensitivity)) in beside {
        scales.push(if multiplier == 0.0 { None } else { Some(grid.parameter(multiplier, sensitivity)?) });
    }
    Ok(scales)
}
