//! The end of a private step: noise on everything that it releases, division, and the update.

use std::sync::Arc;

use super::engine::Engine;
use super::step::StepError;
use crate::options::optimizer::OptimizerSpec;
use crate::privacy::clipping::{ClipState, count_sensitivity};
use crate::privacy::discrete::Scale;
use crate::privacy::grid::{self, Grid};
use crate::privacy::grid_noise::{Discrete, GridNoise, scale};
use crate::privacy::keys::RunKey;
use crate::privacy::noise::{GaussianNoise, NoiseSource};
use crate::privacy::plan::PrivacyPlan;
use crate::privacy::release::Estimates;

/// The noise of a run.
pub struct Releaser {
    gradient: Gradient,
    /// Of what is released beside the gradient, behind that of the gradient where it is of floats.
    floats: NoiseSource,
}

/// The noise of the gradient.
enum Gradient {
    /// Of float sums, of so many parameters: the first of the float noise.
    Floats(usize),
    /// Of integer sums.
    Integers { noise: GridNoise, grid: Grid },
}

/// An update's number counted from 1, its optimizer and its learning rate.
pub type Update<'a> = (u64, &'a OptimizerSpec, f64);

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
        let lengths = engine.noise_lengths();
        let mut floats = Vec::new();
        let gradient = match &plan.grid {
            Some(grid) if engine.exact() => {
                let scales = scales(plan, grid, &engine.noise_groups(), clip, first_step)?;
                let noise = Arc::new(Discrete::new(key));
                Gradient::Integers {
                    noise: GridNoise::spawn(noise, &lengths, first_step, &scales)?,
                    grid: grid.clone(),
                }
            }
            None if !engine.exact() => {
                floats.clone_from(&lengths);
                Gradient::Floats(lengths.len())
            }
            _ => return Err(StepError::Grid),
        };
        floats.extend(clip.adaptive().map(|_| clip.groups()));
        floats.extend(plan.estimates.map(|_| Estimates::COUNT));
        let floats = NoiseSource::spawn(Arc::new(GaussianNoise::new(key, plan)), &floats, first_step)?;
        Ok(Releaser { gradient, floats })
    }

    /// Releases the sum of `step`, clipped to the bounds `clip`, as the update `(number, optimizer, learning rate)`. Yields
    /// the noise of what is released beside it, in the order of counts and estimates.
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
    ) -> Result<Vec<Vec<f32>>, StepError> {
        let (multipliers, schedule) = (plan.multipliers(step), plan.clip_schedule.at(step));
        let mut std = match self.gradient {
            Gradient::Floats(trained) => vec![multipliers.gradient * clip.sensitivity(schedule); trained],
            Gradient::Integers { .. } => Vec::new(),
        };
        std.extend(multipliers.counts.map(|counts| counts * count_sensitivity(clip.groups())));
        std.extend(multipliers.estimate);
        let floats = self.floats.take(step, &std)?;
        Ok(match &mut self.gradient {
            Gradient::Floats(trained) => {
                let (gradient, beside) = floats.split_at(*trained);
                engine.update(optimizer, number, learning_rate, plan.divisor(), Some(gradient))?;
                beside.to_vec()
            }
            Gradient::Integers { noise, grid } => {
                let scales = scales(plan, grid, &engine.noise_groups(), clip, step)?;
                let units: Vec<f64> = clip.scaled(schedule).into_iter().map(grid::unit).collect();
                let noise = noise.take(step, &scales)?;
                engine.release(optimizer, number, learning_rate, plan.divisor(), (noise, &units))?;
                floats.to_vec()
            }
        })
    }
}

/// The scale of the integer noise at `step` of parameters of these clip groups: so much that in every group's own units it is σ
/// times the sensitivity of all integer sums together.
fn scales(
    plan: &PrivacyPlan,
    grid: &Grid,
    groups: &[usize],
    clip: &ClipState,
    step: u64,
) -> Result<Vec<Option<Scale>>, StepError> {
    let bounds = clip.scaled(plan.clip_schedule.at(step));
    let (multiplier, sensitivity) = (plan.multipliers(step).gradient, grid.sensitivity(&bounds));
    let of_group = |bound: &f64| match multiplier {
        0.0 => Ok(None),
        _ => Ok(Some(scale(multiplier, sensitivity / grid::unit(*bound))?)),
    };
    let of_groups = bounds.iter().map(of_group).collect::<Result<Vec<_>, StepError>>()?;
    Ok(groups.iter().map(|&group| of_groups[group]).collect())
}
