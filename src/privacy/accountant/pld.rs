//! Privacy loss distributions: the tightest bounds there are, numerically.
//!
//! Each step is dominated by a pair of distributions ([`neighbours`]), whose privacy loss is rounded to a
//! grid by connect-the-dots ([`discretize`]); the loss of a composition is the sum of the steps' losses
//! ([`compose`]), and `δ(ε) = E[1 - e^(ε-L)]⁺` (Koskela, Jälkö and Honkela 2020,
//! <https://arxiv.org/abs/1906.03049>; Doroshenko et al. 2022, <https://arxiv.org/abs/2207.04380>). Removing
//! and adding a unit are composed each by itself, and the larger result counts. Steps without sampling
//! compose to one Gaussian, which alone is exact.

mod binomial;
pub(super) mod compose;
pub(super) mod discretize;
pub(super) mod neighbours;
pub(super) mod pairs;

use super::{Accountant, InvalidInput, Mechanism};
use super::{check, delta_problem, epsilon_problem, gaussian};
use crate::privacy::adjacency::Adjacency;
use crate::privacy::sampling::Sampling;
use compose::{Divergence, Sum, Window};
use discretize::{Grid, Rounding, discretize};
use neighbours::{Composition, compositions};

/// The accountant by privacy loss distributions.
#[derive(Clone, Copy, Debug)]
pub struct Pld;

/// The grid's interval, the customary one, where it costs neither too much nor too little.
const INTERVAL: f64 = 1e-4;
/// The interval is larger where rounding adds no more than this to ε, relatively,
const COARSE: f64 = 3e-4;
/// and smaller where it would add more than this.
const FINE: f64 = 0.1;
/// The largest number of intervals in a window.
const MOST_INTERVALS: f64 = 450_000.0;
/// The distance between points of the grid beside their loss, and times one more than the order.
const GROWTH: f64 = 0.01;
const WIDEST: f64 = 0.05;
/// The probability of losses outside of the grid, beside δ, and where no δ is given.
const TAIL: f64 = 1e-7;
const LEAST_TAIL: f64 = 1e-40;
/// Distances with which no sampling is worth its accounting.
const LARGEST_SHIFT: f64 = 1e4;
/// The least usual loss that is told from none.
const LEAST_LOSS: f64 = 1e-150;
/// How many distinct steps a rough picture of a composition has.
const ROUGH_STEPS: usize = 16;

impl Accountant for Pld {
    fn name(&self) -> &'static str {
        "pld"
    }

    fn supports(&self, sampling: Sampling, adjacency: Adjacency) -> bool {
        neighbours::known(sampling, adjacency)
    }

    fn epsilon(&self, history: &[Mechanism], adjacency: Adjacency, delta: f64) -> Result<f64, InvalidInput> {
        check(self, history, adjacency, delta_problem(delta))?;
        Ok(match compositions(history, adjacency) {
            Some(all) => all.iter().map(|steps| epsilon(steps, delta)).fold(0.0, f64::max),
            None => f64::INFINITY,
        })
    }

    fn delta(&self, history: &[Mechanism], adjacency: Adjacency, epsilon: f64) -> Result<f64, InvalidInput> {
        check(self, history, adjacency, epsilon_problem(epsilon))?;
        Ok(match compositions(history, adjacency) {
            Some(all) => all.iter().map(|steps| delta(steps, epsilon)).fold(0.0, f64::max),
            None => 1.0,
        })
    }
}

/// What is asked of a composition.
#[derive(Clone, Copy)]
pub(super) enum Target {
    Delta(f64),
    Epsilon(f64),
}

impl Target {
    /// The order λ that the answer depends on.
    pub(super) fn order(self, sum: &Sum) -> f64 {
        match self {
            Target::Delta(delta) => sum.order_for_delta(delta),
            Target::Epsilon(epsilon) => sum.order_for_epsilon(epsilon),
        }
    }

    /// The ε that is given or was found.
    fn epsilon(self, found: f64) -> f64 {
        match self {
            Target::Delta(_) => found,
            Target::Epsilon(epsilon) => epsilon,
        }
    }

    /// The probability of a step's losses that may be left out of a grid.
    pub(super) fn tail(self, steps: &Composition) -> f64 {
        let total = steps.iter().map(|(_, count)| *count as f64).sum::<f64>();
        match self {
            Target::Delta(delta) => (delta * TAIL / total).max(1e-300),
            Target::Epsilon(_) => LEAST_TAIL / total,
        }
    }
}

fn epsilon(steps: &Composition, delta: f64) -> f64 {
    let simple = simple_epsilon(steps, delta);
    if simple == 0.0 || !worth_composing(steps) {
        return simple;
    }
    simple.min(composed(steps, Target::Delta(delta), |sum, order, divergence| {
        let by_moment = sum.epsilon_bound(order, delta).max(0.0);
        divergence.map_or(by_moment, |divergence| divergence.epsilon(delta).min(by_moment))
    }))
}

/// The δ of a composition.
pub(super) fn delta(steps: &Composition, epsilon: f64) -> f64 {
    let simple = simple_delta(steps, epsilon);
    if simple == 0.0 || !worth_composing(steps) {
        return simple;
    }
    simple.min(composed(steps, Target::Epsilon(epsilon), |sum, order, divergence| {
        let by_moment = if order > 0.0 { sum.delta_bound(order, epsilon) } else { 1.0 };
        divergence.map_or(by_moment, |divergence| divergence.delta(epsilon).min(by_moment))
    }))
}

/// The least `answer` by the sum of the rounded losses, an order λ and their composition, on a grid that
/// is as fine as the answer needs.
fn composed(steps: &Composition, target: Target, answer: impl Fn(&Sum, f64, Option<&Divergence>) -> f64) -> f64 {
    let rough = Rough::new(steps, target);
    let count: f64 = steps.iter().map(|(_, count)| *count as f64).sum();
    let (mut epsilon, mut slope) = (rough.center, rough.order);
    let (mut interval, mut best) = (f64::INFINITY, f64::INFINITY);
    loop {
        // Rounding a step's loss adds h²/6 at most to its variance, and so h²/12 λ(1+λ) to its cumulant.
        let interval_for =
            |share: f64| libm::sqrt(12.0 * share * epsilon.max(0.1 * rough.spread) / (count * (1.0 + slope)));
        let least = (rough.window.high - rough.window.low) / MOST_INTERVALS;
        let wanted = interval_for(COARSE).max(interval_for(FINE).min(INTERVAL)).max(least);
        // Also where nothing was found.
        if wanted.is_nan() || wanted > 0.8 * interval {
            return best;
        }
        interval = wanted;
        let grid = Grid { interval, growth: GROWTH, widest: WIDEST / (1.0 + slope) };
        let round = |step| discretize(step, grid, target.tail(steps), Rounding::Dots);
        let sum = Sum { interval, terms: steps.iter().map(|(step, count)| (round(step), *count)).collect() };
        let divergence = sum.compose(rough.order, rough.window);
        let found = answer(&sum, rough.order, divergence.as_ref());
        best = best.min(found);
        let Some(divergence) = divergence else {
            return best;
        };
        epsilon = target.epsilon(found);
        slope = divergence.slope(epsilon);
    }
}

/// A bound as if every unit entered every batch, or by the probability of entering any.
pub(super) fn simple_epsilon(steps: &Composition, delta: f64) -> f64 {
    if variation(steps) <= delta { 0.0 } else { gaussian::epsilon(distance(steps), delta) }
}

pub(super) fn simple_delta(steps: &Composition, epsilon: f64) -> f64 {
    gaussian::delta(distance(steps), epsilon).min(variation(steps))
}

fn distance(steps: &Composition) -> f64 {
    let square = |(step, count): &(_, u64)| *count as f64 * pairs::Step::distance(step).powi(2);
    libm::sqrt(steps.iter().map(square).sum())
}

fn variation(steps: &Composition) -> f64 {
    steps.iter().map(|(step, count)| *count as f64 * step.variation()).sum()
}

/// Whether the simple bounds are not exact, and losses are within the range of numbers.
pub(super) fn worth_composing(steps: &Composition) -> bool {
    let sampled = steps.iter().any(|(step, _)| step.is_sampled());
    sampled && steps.iter().all(|(step, _)| step.distance() < LARGEST_SHIFT && step.typical() > LEAST_LOSS)
}

/// A rough picture of a composition's loss where it matters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rough {
    pub order: f64,
    /// The loss there.
    pub center: f64,
    /// Standard deviations of the tilted loss.
    pub spread: f64,
    /// What an FFT has to cover.
    pub window: Window,
}

impl Rough {
    pub(super) fn new(steps: &Composition, target: Target) -> Rough {
        let typical = steps.iter().map(|(step, _)| step.typical()).fold(f64::INFINITY, f64::min);
        let grid = Grid { interval: typical / 30.0, growth: 0.05, widest: 0.005 };
        // Steps come sorted by their noise, so that neighbours are alike.
        let alike = steps.chunks(steps.len().div_ceil(ROUGH_STEPS).max(1));
        let one = |chunk: &[(pairs::Step, u64)]| {
            let count = chunk.iter().map(|(_, count)| *count).fold(0, u64::saturating_add);
            (discretize(&chunk[0].0, grid, target.tail(steps), Rounding::Dots), count)
        };
        let sum = Sum { interval: grid.interval, terms: alike.map(one).collect() };
        let order = target.order(&sum);
        let tilted = sum.cumulant(order);
        Rough { order, center: tilted.mean, spread: libm::sqrt(tilted.variance), window: sum.window(order) }
    }
}

#[cfg(test)]
mod tests;
