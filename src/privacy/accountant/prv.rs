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
//! wider ones, far from 0, upwards. The grid this asks for is fine: where the sum has no room on it, each
//! step's losses are rounded once more, upwards to a coarser one by connect-the-dots (as Ghazi et al. 2022,
//! <https://arxiv.org/abs/2207.04381>, let the grid evolve).
//!
//! Every ε is thereby about 0.01 above what the same losses have, as in Opacus, which this accountant is for
//! comparison with. The [`Pld`](super::Pld) accountant's bounds are tighter.

use super::pld::discretize::{Grid, Losses, Rounding, discretized};
use super::pld::neighbours::{Composition, compositions, known};
use super::pld::search::{Fineness, Search, Target};
use super::pld::sum::Sum;
use super::pld::{largest, simple_delta, simple_epsilon, worth_composing};
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
            Some(all) => largest(&all, |steps, enough| epsilon(steps, delta, enough)),
            None => f64::INFINITY,
        })
    }

    fn delta(&self, history: &[Mechanism], adjacency: Adjacency, epsilon: f64) -> Result<f64, InvalidInput> {
        check(self, history, adjacency, epsilon_problem(epsilon))?;
        Ok(match compositions(history, adjacency) {
            Some(all) => largest(&all, |steps, enough| delta(steps, epsilon, enough)),
            None => 1.0,
        })
    }
}

fn epsilon(steps: &Composition, delta: f64, enough: f64) -> f64 {
    let simple = simple_epsilon(steps, delta);
    if simple <= enough || !worth_composing(steps) {
        return simple;
    }
    let beyond = delta * DELTA_ERROR;
    let search = Search::new(steps, Target::Delta(delta - beyond));
    let error = error(&search);
    simple.min(search.run(enough - error, |fineness| rounded(steps, fineness, error, beyond)) + error)
}

fn delta(steps: &Composition, epsilon: f64, enough: f64) -> f64 {
    let simple = simple_delta(steps, epsilon);
    if simple <= enough || !worth_composing(steps) {
        return simple;
    }
    let beyond = (pld::delta(steps, epsilon, 0.0) * DELTA_ERROR).max(f64::MIN_POSITIVE);
    let error = error(&Search::new(steps, Target::Epsilon(epsilon)));
    let search = Search::new(steps, Target::Epsilon(epsilon - error));
    simple.min(search.run(enough - beyond, |fineness| rounded(steps, fineness, error, beyond)) + beyond)
}

/// What rounding may change ε by.
fn error(search: &Search) -> f64 {
    EPSILON_ERROR.max(RELATIVE_ERROR * search.spread())
}

/// A sum that is below the exact one by more than `error` with a probability of `beyond` at most.
fn rounded(steps: &Composition, fineness: Fineness, error: f64, beyond: f64) -> Sum {
    let count: f64 = steps.iter().map(|(_, count)| *count as f64).sum();
    let interval = error * libm::sqrt(2.0 / (count * -libm::log(beyond)));
    let grid = Grid { interval, growth: GROWTH, widest: WIDEST / (1.0 + fineness.slope) };
    let sum = discretized(steps, grid, fineness.tail, Rounding::Mean);
    let factor = libm::ceil(fineness.least / interval);
    if factor > 1.0 { coarser(sum, factor as i64) } else { sum }
}

/// The losses of `sum` on a grid of `factor` intervals, by connect-the-dots.
fn coarser(sum: Sum, factor: i64) -> Sum {
    let width = sum.interval * factor as f64;
    let round = |losses: Losses| {
        let mut points: Vec<(i64, f64)> = Vec::with_capacity(losses.points.len());
        let mut add = |k: i64, mass: f64| match points.last_mut() {
            Some((last, sum)) if *last == k => *sum += mass,
            _ => points.push((k, mass)),
        };
        let mut carried = None;
        for (k, mass) in losses.points {
            let (cell, rest) = (k.div_euclid(factor), k.rem_euclid(factor));
            if let Some((upper, mass)) = carried.filter(|(upper, _)| *upper <= cell) {
                add(upper, mass);
                carried = None;
            }
            let share = libm::expm1(-(rest as f64 * sum.interval)) / libm::expm1(-width);
            let share = (share * (1.0 + 4.0 * f64::EPSILON)).min(1.0);
            add(cell, mass * (1.0 - share));
            carried = Some((cell + 1, carried.map_or(0.0, |(_, mass): (i64, f64)| mass) + mass * share));
        }
        if let Some((upper, mass)) = carried {
            add(upper, mass);
        }
        Losses { points, ..losses }
    };
    Sum { interval: width, terms: sum.terms.into_iter().map(|(losses, count)| (round(losses), count)).collect() }
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
