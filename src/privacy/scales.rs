//! How much integer noise each sum of a step gets.
//!
//! Every sum is of whole units of a grid of its own: the gradient of a clip group of [`grid::unit`] of that group's bound, the
//! counts and estimates beside it of units that [`discrete::Grid::for_noise`] takes. A scale is the parameter s of the discrete Gaussian in
//! those units.
//!
//! Where noise is correlated, the scale is that of the fresh integers: larger by the norm of a column of its matrix (theorem 2 of
//! [`super::correlation`]).

use super::clipping::{ClipState, count_sensitivity};
use super::discrete::{self, ParameterError, Scale, Smoothing};
use super::grid::{self, Grid};
use super::plan::PrivacyPlan;
use super::release::Estimates;

/// A grid of what is summed beside the gradient, and the noise multiplier and sensitivity of that.
pub type Summed = (discrete::Grid, (f64, f64));

/// That of the counts, where bounds adapt. A count is a number of halves, which every such grid has.
pub fn counts(plan: &PrivacyPlan, clip: &ClipState, step: u64) -> Option<Summed> {
    let multiplier = plan.multipliers(step).counts?;
    let sensitivity = count_sensitivity(clip.groups());
    Some((discrete::Grid::for_noise(multiplier * sensitivity), (multiplier, sensitivity)))
}

/// Those of the estimates at `step`, where there are some and sums are of integers: what each unit adds is rounded to them.
pub fn estimates(plan: &PrivacyPlan, step: u64) -> Option<[Summed; Estimates::COUNT]> {
    let (spec, multiplier) = (plan.estimates.filter(|_| plan.grid.is_some())?, plan.multipliers(step).estimate?);
    Some(spec.sensitivities().map(|bound| (discrete::Grid::for_noise(multiplier * bound), (multiplier, bound))))
}

/// The scale of the noise on the gradient of each clip group at `step`, `None` where there is to be no noise: so much that in the
/// group's own units it is σ times the sensitivity of all integer sums together.
///
/// # Errors
/// When the noise is too little or too much to be drawn.
pub fn gradient(
    plan: &PrivacyPlan,
    grid: &Grid,
    clip: &ClipState,
    step: u64,
) -> Result<Vec<Option<Scale>>, ParameterError> {
    let bounds = clip.scaled(plan.clip_schedule.at(step));
    let (multiplier, sensitivity) = (plan.multipliers(step).gradient, grid.sensitivity(&bounds));
    let sensitivity = match &plan.correlation {
        Some(strategy) => (sensitivity * strategy.column_norm()).next_up(),
        None => sensitivity,
    };
    if multiplier == 0.0 {
        return Ok(vec![None; bounds.len()]);
    }
    let of =
        |bound: &f64| Smoothing::USUAL.parameter(multiplier, (sensitivity / grid::unit(*bound)).next_up()).map(Some);
    bounds.iter().map(of).collect()
}

/// The scales of the noise on all that is released at `step`: of each parameter, whose clip groups are `groups`, then of the
/// counts and of each estimate, where there are some.
///
/// # Errors
/// As [`gradient`].
pub fn all(
    plan: &PrivacyPlan,
    grid: &Grid,
    groups: &[usize],
    clip: &ClipState,
    step: u64,
) -> Result<Vec<Option<Scale>>, ParameterError> {
    let of_groups = gradient(plan, grid, clip, step)?;
    let mut scales: Vec<Option<Scale>> = groups.iter().map(|&group| of_groups[group]).collect();
    let beside = counts(plan, clip, step).into_iter().chain(estimates(plan, step).into_iter().flatten());
    for (grid, (multiplier, sensitivity)) in beside {
        scales.push(if multiplier == 0.0 { None } else { Some(grid.parameter(multiplier, sensitivity)?) });
    }
    Ok(scales)
}
