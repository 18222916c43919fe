//! Privacy random variables: the composition's privacy loss up to a small error in ε, and in δ.
//!
//! Gopi, Lee and Wutschitz 2021 (<https://arxiv.org/abs/2106.02848>) round each step's loss so that its
//! mean stays, rather than upwards as connect-the-dots does, so that rounding errors of many steps nearly
//! cancel. If the rounded sum is less than e below the exact one but for a probability p, then
//! `δ(ε + e) ≤ δ̃(ε) + p` (Lemma 5.3 and Theorem 5.5). Here e is [`EPSILON_ERROR`] and p at most [`DELTA_ERROR`]
//! of δ; as in Opacus and in the authors' own code, the upper end of the interval is the answer. The
//! dominating pairs and the FFT are those of the [`Pld`](super::Pld) accountant.
//!
//! The lower losses of a cell go to its lower end and the upper ones to its upper end, so that the error of
//! a step has mean 0 (or is upwards) and a range of one interval h, and by Hoeffding's inequality p is at
//! most `e^(-2e²/Th²)` for T steps. Only cells of one interval are rounded like this;
//! wider ones, far from 0, upwards. The grid this asks for is fine: where the sum of all steps has no
//! room on it, sums of fewer steps are rounded upwards to a coarser one by connect-the-dots (as Ghazi et
//! al. 2022, <https://arxiv.org/abs/2207.04381>, let the grid evolve).

use super::pld::compose::{Sum, Tilted, Window};
use super::pld::discretize::{Grid, Losses, Rounding, discretize};
use super::pld::neighbours::{Composition, compositions, known};
use super::pld::{Rough, Target, simple_delta, simple_epsilon, worth_composing};
use super::{Accountant, InvalidInput, Mechanism, Pld, check, delta_problem, epsilon_problem, pld};
use crate::privacy::adjacency::Adjacency;
use crate::privacy::sampling::Sampling;

/// The accountant by privacy random variables.
#[derive(Clone, Copy, Debug)]
pub struct Prv;

/// What rounding may change ε by, unless the loss spreads over hundreds,
const EPSILON_ERROR: f64 = 0.01;
/// and then relative to its standard deviation.
const RELATIVE_ERROR: f64 = 5e-4;
/// What it may change δ by, relatively.
const DELTA_ERROR: f64 = 1e-3;
/// The distance between points of the grid beside their loss, and times one more than the order.
const GROWTH: f64 = 3e-3;
const WIDEST: f64 = 0.02;
/// Intervals that a window has room for.
const MOST_INTERVALS: f64 = 450_000.0;
/// Probabilities as logarithms that a sum of some of the steps may leave out, beside the whole.
const LEFT_OUT: f64 = -23.0;
/// Logarithms of what masses may be multiplied by.
const LARGEST_EXPONENT: f64 = 600.0;

impl Accountant for Prv {
    fn name(&self) -> &'static str {
        "prv"
    }

    fn nearby(&self) -> Option<&'static dyn Accountant> {
        Some(&Pld)
    }

    fn supports(&self, sampling: Sampling, adjacency: Adjacency) -> bool {
        known(sampling, adjacency)
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

fn epsilon(steps: &Composition, delta: f64) -> f64 {
    let simple = simple_epsilon(steps, delta);
    if simple == 0.0 || !worth_composing(steps) {
        return simple;
    }
    let error = delta * DELTA_ERROR;
    let rounded = Rounded::new(steps, Target::Delta(delta - error), error);
    let found = rounded.and_then(|rounded| {
        let divergence = rounded.sum.compose(rounded.order, rounded.window)?;
        Some(divergence.epsilon(delta - error) + rounded.error)
    });
    found.map_or(simple, |found| found.min(simple))
}

fn delta(steps: &Composition, epsilon: f64) -> f64 {
    let simple = simple_delta(steps, epsilon);
    if simple == 0.0 || !worth_composing(steps) {
        return simple;
    }
    let error = (pld::delta(steps, epsilon) * DELTA_ERROR).max(f64::MIN_POSITIVE);
    let rounded = Rounded::new(steps, Target::Epsilon(epsilon), error);
    let found = rounded.and_then(|rounded| {
        let divergence = rounded.sum.compose(rounded.order, rounded.window)?;
        Some(divergence.delta(epsilon - rounded.error) + error)
    });
    found.map_or(simple, |found| found.min(simple))
}

/// A sum of rounded losses.
struct Rounded {
    sum: Sum,
    /// The order λ that the answer depends on.
    order: f64,
    window: Window,
    /// What the sum may be below the exact one.
    error: f64,
}

impl Rounded {
    /// That which is below the exact sum by more than its error with a probability of `beyond` at most.
    fn new(steps: &Composition, target: Target, beyond: f64) -> Option<Rounded> {
        let rough = Rough::new(steps, target);
        let count: f64 = steps.iter().map(|(_, count)| *count as f64).sum();
        let error = EPSILON_ERROR.max(RELATIVE_ERROR * rough.spread);
        let interval = error * libm::sqrt(2.0 / (count * -libm::log(beyond)));
        let grid = Grid { interval, growth: GROWTH, widest: WIDEST / (1.0 + rough.order) };
        let round = |step| discretize(step, grid, target.tail(steps), Rounding::Mean);
        let sum = Sum { interval, terms: steps.iter().map(|(step, count)| (round(step), *count)).collect() };
        Some(Rounded { sum: coarser(sum, rough.order, rough.window)?, order: rough.order, window: rough.window, error })
    }
}

/// The sum on a grid that it has room on.
fn coarser(sum: Sum, order: f64, window: Window) -> Option<Sum> {
    let intervals = (window.high - window.low) / sum.interval;
    if intervals <= MOST_INTERVALS {
        return Some(sum);
    }
    let factor = libm::ceil(intervals / MOST_INTERVALS) as u64;
    // A window is as wide as the square root of its steps.
    let most = (0.5 * sum.steps() / (factor as f64 * factor as f64)).max(1.0) as u64;
    let tilted = sum.cumulant(order);
    let whole = tilted.value - order * tilted.mean + LEFT_OUT - libm::log(sum.steps());
    let mut terms = Vec::new();
    for (losses, count) in sum.terms {
        let group = most.min(count);
        let groups = [(group, count / group), (count % group, 1)];
        for (group, count) in groups.into_iter().filter(|(group, _)| *group > 0) {
            let part = Sum { interval: sum.interval, terms: vec![(losses.clone(), group)] };
            let tilted = part.cumulant(order);
            let untilted = whole - (tilted.value - order * tilted.mean);
            let window = part.window_without(order, untilted.min(LEFT_OUT), LEFT_OUT - libm::log(count as f64));
            let distribution = part.tilted(order, window)?;
            let end = (distribution.first + distribution.masses.len() as i64 - 1) as f64 * sum.interval;
            let infinite = part.infinite() + part.above(window, end);
            terms.push((regrouped(distribution, sum.interval, factor as i64, infinite)?, count));
        }
    }
    Some(Sum { interval: sum.interval * factor as f64, terms })
}

/// `tilted` on a grid of `factor` intervals, by connect-the-dots.
fn regrouped(tilted: Tilted, interval: f64, factor: i64, mut infinite: f64) -> Option<Losses> {
    let low = tilted.first.div_euclid(factor);
    let high = (tilted.first + tilted.masses.len() as i64).div_euclid(factor) + 1;
    let mut points: Vec<(i64, f64)> = (low..=high).map(|k| (k, 0.0)).collect();
    let width = interval * factor as f64;
    for (i, mass) in tilted.masses.iter().enumerate().filter(|(_, mass)| **mass > 0.0) {
        // Where untilting would overflow, masses move up to where it does not, and to infinity where they
        // would vanish.
        let log_weight = |k: i64| tilted.log_moment - tilted.order * (k as f64 * interval);
        let mut k = tilted.first + i as i64;
        if log_weight(k) > LARGEST_EXPONENT {
            k = libm::ceil((tilted.log_moment - LARGEST_EXPONENT) / (tilted.order * interval)) as i64;
        }
        let mass = mass * libm::exp(log_weight(k));
        if log_weight(k) < -LARGEST_EXPONENT {
            infinite += mass;
            continue;
        }
        let share = libm::expm1(-(k.rem_euclid(factor) as f64 * interval)) / libm::expm1(-width);
        let cell = (k.div_euclid(factor) - low) as usize;
        points[cell].1 += mass * (1.0 - share);
        points[cell + 1].1 += mass * share;
    }
    let finite = points.iter().all(|(_, mass)| mass.is_finite());
    // Moving masses between two points of a cell changes their tilted norm by less than the cell is wide.
    let error = tilted.error * libm::exp(tilted.order * width) * 2.0;
    finite.then_some(Losses { points, infinite, total: 1.0, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poisson(noise_multiplier: f64, rate: f64, steps: u64) -> Mechanism {
        Mechanism { noise_multiplier, sampling: Sampling::Poisson { rate }, steps }
    }

    fn epsilon(history: &[Mechanism], delta: f64) -> f64 {
        Prv.epsilon(history, Adjacency::AddRemove, delta).unwrap()
    }

    /// The figures of the authors' code (<https://github.com/microsoft/prv_accountant>) at δ = 1e-6 that
    /// Opacus tests its own against: σ, q, steps and ε.
    const PUBLISHED: [(f64, f64, u64, f64); 31] = [
        (0.8, 0.001, 100, 0.270403364),
        (1.5, 0.001, 100, 0.039369419),
        (2.0, 0.001, 100, 0.029104537),
        (3.0, 0.001, 100, 0.021520093),
        (0.8, 0.05, 100, 6.741051939),
        (1.5, 0.05, 100, 1.953853136),
        (2.0, 0.05, 100, 1.283637378),
        (3.0, 0.05, 100, 0.767933790),
        (0.8, 0.2, 100, 24.333664178),
        (1.5, 0.2, 100, 8.498977858),
        (2.0, 0.2, 100, 5.672055609),
        (3.0, 0.2, 100, 3.381221510),
        (0.8, 0.001, 1000, 0.477771266),
        (1.5, 0.001, 1000, 0.099820660),
        (2.0, 0.001, 1000, 0.071218783),
        (3.0, 0.001, 1000, 0.047615931),
        (0.8, 0.05, 1000, 19.525842805),
        (1.5, 0.05, 1000, 6.209969247),
        (2.0, 0.05, 1000, 4.172799867),
        (3.0, 0.05, 1000, 2.527574323),
        (0.8, 0.001, 20_000, 1.296009258),
        (1.5, 0.001, 20_000, 0.437005109),
        (2.0, 0.001, 20_000, 0.305837940),
        (3.0, 0.001, 20_000, 0.194031031),
        (1.5, 0.05, 20_000, 38.306617914),
        (2.0, 0.05, 20_000, 24.421718570),
        (3.0, 0.05, 20_000, 13.961114699),
        (0.8, 0.001, 50_000, 2.034514808),
        (1.5, 0.001, 50_000, 0.704218385),
        (2.0, 0.001, 50_000, 0.491354910),
        (3.0, 0.001, 50_000, 0.309694161),
    ];

    #[test]
    fn published_figures() {
        for (sigma, q, steps, expected) in PUBLISHED {
            let found = epsilon(&[poisson(sigma, q, steps)], 1e-6);
            assert!((found - expected).abs() < 1e-3, "{sigma} {q} {steps}: {found}, not {expected}");
        }
    }

    /// Sums of so many losses that they have no room on the grid.
    #[test]
    fn published_figures_of_many_steps() {
        for (sigma, expected) in [(1.5, 73.190176782), (2.0, 45.236995861), (3.0, 24.942005643)] {
            let found = epsilon(&[poisson(sigma, 0.05, 50_000)], 1e-6);
            assert!((found - expected).abs() < 1e-3, "{sigma}: {found}, not {expected}");
        }
    }

    #[test]
    fn delta_and_epsilon_undo_each_other() {
        for history in [
            vec![poisson(1.5, 0.001, 20_000)],
            vec![poisson(2.0, 0.05, 100)],
            vec![poisson(1.0, 0.01, 100), poisson(3.0, 0.2, 10)],
        ] {
            for adjacency in [Adjacency::AddRemove, Adjacency::ReplaceOne] {
                let epsilon = Prv.epsilon(&history, adjacency, 1e-6).unwrap();
                let delta = Prv.delta(&history, adjacency, epsilon).unwrap();
                assert!((delta / 1e-6 - 1.0).abs() < 0.02, "{delta:e}");
                let tight = pld::Pld.epsilon(&history, adjacency, 1e-6).unwrap();
                assert!(epsilon > tight - 1e-3 && epsilon < tight + 1.1 * EPSILON_ERROR, "{epsilon} {tight}");
            }
        }
    }

    #[test]
    fn edges() {
        assert_eq!(epsilon(&[], 1e-5), 0.0);
        assert_eq!(epsilon(&[poisson(1.0, 0.0, 9)], 1e-5), 0.0);
        assert_eq!(epsilon(&[poisson(0.0, 0.5, 1)], 1e-5), f64::INFINITY);
        assert!((epsilon(&[poisson(1.0, 1.0, 1)], 1e-5) - 4.37717810).abs() < 1e-6);
        assert!(epsilon(&[poisson(0.02, 0.5, 1)], 1e-5) > 1400.0);
        for (sigma, q, steps) in [(1e-200, 0.5, u64::MAX), (1.0, 1e-12, 1 << 50), (1e-4, 1e-3, 1000)] {
            assert!(epsilon(&[poisson(sigma, q, steps)], 1e-5) >= 0.0);
        }
    }
}
