//! The search for a window and a grid that are right for an answer, both of which depend on the answer.
//!
//! It starts from a rough picture of the composition and takes each answer as the centre of the next
//! window, until nothing changes any more. Every answer is a bound, whatever the window, and the least one
//! counts.

use std::f64::consts::PI;

use super::discretize::{Grid, Rounding, discretized};
use super::neighbours::Composition;
use super::sum::{Sum, log_factor};
use super::window::{Around, Window};

/// What is asked of a composition.
#[derive(Clone, Copy)]
pub(in super::super) enum Target {
    Delta(f64),
    Epsilon(f64),
}

/// How fine a grid is to be.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Fineness {
    /// The interval for which rounding upwards is negligible,
    pub wanted: f64,
    /// and the least one that there is room for.
    pub least: f64,
    /// How fast `ln δ` falls with ε.
    pub slope: f64,
    /// The probability of a step's losses that may be left out.
    pub tail: f64,
}

/// A search for the answer of a composition.
pub(in super::super) struct Search {
    target: Target,
    rough: Sum,
    steps: f64,
    /// Where the answer is.
    around: Around,
}

/// What rounding may change ε by, relatively, and δ, where that is asked for.
const EPSILON_SHARE: f64 = 3e-4;
const DELTA_SHARE: f64 = 2e-4;
/// The least ε, by the spread, that is worth that.
const LEAST_EPSILON: f64 = 0.02;
/// The largest number of intervals in a window, and for how many distinct steps it is halved.
const MOST_INTERVALS: f64 = 262_000.0;
const MANY_STEPS: f64 = 64.0;
/// The probability of losses outside of the grid, beside δ, and where no δ is known.
const TAIL: f64 = 1e-5;
const LEAST_TAIL: f64 = 1e-40;
/// How far ln δ may be from the first estimate.
const UNCERTAINTY: f64 = 12.0;
/// The most windows that are tried,
const MOST_WINDOWS: usize = 6;
/// and when they are near enough to each other: the relative change of ε the change of ln δ, the ratio
/// of their slopes.
const SAME_EPSILON: f64 = 2e-3;
const SAME_LOG_DELTA: f64 = 0.7;
const SAME_SLOPE: f64 = 1.5;
/// How far below the first estimate an answer may be, and below others, by the spread.
const FIRST_DOUBT: f64 = 1.0;
const DOUBT: f64 = 0.5;
/// The rounding errors of a step in the tilted sum, roughly.
const STEP_ROUNDING: f64 = 3e-14;
/// How many distinct steps a rough picture has.
const ROUGH_STEPS: usize = 32;

impl Search {
    pub fn new(steps: &Composition, target: Target) -> Search {
        let count = steps.iter().map(|(_, count)| *count as f64).sum();
        let typical = steps.iter().map(|(step, _)| step.typical()).fold(f64::INFINITY, f64::min);
        let grid = Grid { interval: typical / 30.0, growth: 0.1, widest: 0.02 };
        // Steps come sorted by their noise, so that neighbours are alike.
        let alike = steps.chunks(steps.len().div_ceil(ROUGH_STEPS).max(1));
        let middle = alike.map(|chunk| {
            let count = chunk.iter().map(|(_, count)| *count).fold(0, u64::saturating_add);
            (chunk[chunk.len() / 2].0.clone(), count)
        });
        let tail = match target {
            Target::Delta(delta) => tail(delta, count),
            Target::Epsilon(_) => LEAST_TAIL / count,
        };
        let rough = discretized(&middle.collect(), grid, tail, Rounding::Dots);
        let order = match target {
            Target::Delta(delta) => rough.order_for_delta(delta),
            Target::Epsilon(epsilon) => rough.order_for_epsilon(epsilon),
        };
        let tilted = rough.cumulant(order);
        let spread = libm::sqrt(tilted.variance).max(rough.interval);
        // The bound by the moment, and by how much it is too large: at the saddle point, δ is about
        // E[e^(λX)] e^(-λε) / (√2π λ(1+λ) spread).
        let bound = log_factor(order);
        let excess = bound + libm::log(libm::sqrt(2.0 * PI) * order * (1.0 + order) * spread);
        let excess = if excess > 0.0 { excess } else { 0.0 };
        let (epsilon, log_delta) = match target {
            Target::Delta(delta) => (tilted.mean - (excess / order).min(0.9 * tilted.mean.abs()), libm::log(delta)),
            Target::Epsilon(epsilon) => {
                let bound = tilted.value + bound - order * epsilon;
                (epsilon, (bound - excess).min(0.0))
            }
        };
        let doubt = FIRST_DOUBT * spread.min(epsilon.abs());
        let log_rounding = libm::log(count * STEP_ROUNDING);
        let room = MOST_INTERVALS / (1.0 + steps.len() as f64 / MANY_STEPS);
        let around = Around { epsilon, log_delta, spread, doubt, slope: order, log_rounding, room };
        Search { target, rough, steps: count, around }
    }

    /// The standard deviation of the loss, tilted to the answer.
    pub fn spread(&self) -> f64 {
        self.around.spread
    }

    /// The least answer by the sums of losses that `rounded` gives, or one that is at most `enough`.
    pub fn run(mut self, enough: f64, rounded: impl Fn(Fineness) -> Sum) -> f64 {
        let mut best = f64::INFINITY;
        for pass in 0..MOST_WINDOWS {
            let window = Window::new(&self.rough, self.around);
            let sum = rounded(self.fineness(window, pass));
            let divergence = sum.compose(window);
            let Some(divergence) = divergence else {
                // At first the slope is the best order.
                let by_moment = [window.order, self.around.slope].map(|order| match self.target {
                    Target::Delta(delta) => sum.epsilon_bound(order, delta),
                    Target::Epsilon(epsilon) => sum.delta_bound(order, epsilon),
                });
                return by_moment.into_iter().fold(best, f64::min);
            };
            let last = self.around;
            let found = match self.target {
                Target::Delta(delta) => divergence.epsilon(delta).min(sum.epsilon_bound(window.order, delta)),
                Target::Epsilon(epsilon) => divergence.delta(epsilon).min(sum.delta_bound(window.order, epsilon)),
            };
            // An answer that is worse than one before says nothing.
            let better = found < best;
            best = best.min(found);
            if !better || best <= enough {
                break;
            }
            match self.target {
                Target::Delta(_) => self.around.epsilon = found,
                Target::Epsilon(_) => self.around.log_delta = libm::log(found.max(f64::MIN_POSITIVE)),
            }
            self.around.doubt = DOUBT * last.spread.min(self.around.epsilon.abs());
            self.around.slope = divergence.slope(self.around.epsilon);
            self.around.log_rounding = libm::log(divergence.error(last.epsilon)) - window.log_weight;
            let near = (self.around.epsilon - last.epsilon).abs() <= SAME_EPSILON * found
                && (self.around.log_delta - last.log_delta).abs() < SAME_LOG_DELTA;
            if near && self.around.slope <= SAME_SLOPE * last.slope {
                break;
            }
        }
        best
    }

    /// Rounding a step's loss adds h²/6 at most to its variance, and so h²/12 λ(1+λ) to its cumulant.
    fn fineness(&self, window: Window, pass: usize) -> Fineness {
        let Around { epsilon, log_delta, spread, slope, .. } = self.around;
        let loss = match self.target {
            Target::Delta(_) => EPSILON_SHARE * epsilon.max(LEAST_EPSILON * spread) / (1.0 + slope),
            Target::Epsilon(_) => {
                let order = slope.max(1.0 / spread);
                DELTA_SHARE / (order * (1.0 + order))
            }
        };
        let tail = match self.target {
            Target::Epsilon(_) if pass == 0 => tail(libm::exp(log_delta - UNCERTAINTY), self.steps),
            _ => tail(libm::exp(log_delta), self.steps),
        };
        let least = (window.high - window.low) / self.around.room;
        Fineness { wanted: libm::sqrt(12.0 * loss / self.steps), least, slope, tail }
    }
}

fn tail(delta: f64, steps: f64) -> f64 {
    (delta * TAIL / steps).max(1e-300)
}
