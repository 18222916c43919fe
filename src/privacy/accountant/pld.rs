//! Privacy loss distributions: the tightest bounds there are, numerically.
//!
//! Each step is dominated by a pair of distributions ([`neighbours`]), whose privacy loss is rounded to a
//! grid by connect-the-dots ([`discretize`]); the loss of a composition is the sum of the steps' losses
//! ([`compose`]), in a [`window`] and on a grid that fit the answer ([`search`]), and
//! `δ(ε) = E[1 - e^(ε-L)]⁺` ([`divergence`]; Koskela, Jälkö and Honkela 2020,
//! <https://arxiv.org/abs/1906.03049>; Doroshenko et al. 2022, <https://arxiv.org/abs/2207.04380>). Removing
//! and adding a unit are composed each by itself, and the larger result counts. Steps without sampling
//! compose to one Gaussian, which alone is exact.

mod binomial;
mod compose;
pub(super) mod discretize;
mod divergence;
pub(super) mod neighbours;
pub(super) mod pairs;
pub(super) mod search;
pub(super) mod sum;
mod window;

use super::{Accountant, InvalidInput, Mechanism};
use super::{check, delta_problem, epsilon_problem, gaussian};
use crate::privacy::adjacency::Adjacency;
use crate::privacy::sampling::Sampling;
use discretize::{Grid, Rounding, discretized};
use neighbours::{Composition, compositions};
use search::{Fineness, Search, Target};
use sum::Sum;

/// The accountant by privacy loss distributions.
#[derive(Clone, Copy, Debug)]
pub struct Pld;

/// The distance between points of the grid beside their loss, and times one more than the slope.
const GROWTH: f64 = 0.01;
const WIDEST: f64 = 0.05;
/// Distances with which no sampling is worth its accounting.
const LARGEST_SHIFT: f64 = 1e4;
/// The least usual loss that is told from none.
const LEAST_LOSS: f64 = 1e-150;

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

/// The largest answer of any. Each need not be better than is enough for that: the largest before it.
pub(super) fn largest(all: &[Composition], answer: impl Fn(&Composition, f64) -> f64) -> f64 {
    all.iter().fold(0.0, |largest, steps| answer(steps, largest).max(largest))
}

fn epsilon(steps: &Composition, delta: f64, enough: f64) -> f64 {
    let simple = simple_epsilon(steps, delta);
    if simple <= enough || !worth_composing(steps) {
        return simple;
    }
    simple.min(Search::new(steps, Target::Delta(delta)).run(enough, |fineness| rounded(steps, fineness)))
}

/// The δ of a composition.
pub(super) fn delta(steps: &Composition, epsilon: f64, enough: f64) -> f64 {
    let simple = simple_delta(steps, epsilon);
    if simple <= enough || !worth_composing(steps) {
        return simple;
    }
    simple.min(Search::new(steps, Target::Epsilon(epsilon)).run(enough, |fineness| rounded(steps, fineness)))
}

fn rounded(steps: &Composition, fineness: Fineness) -> Sum {
    let interval = fineness.wanted.max(fineness.least);
    let grid = Grid { interval, growth: GROWTH, widest: WIDEST / (1.0 + fineness.slope) };
    discretized(steps, grid, fineness.tail, Rounding::Dots)
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
    let sum: f64 = steps.iter().map(|(step, count)| *count as f64 * step.variation()).sum();
    sum * (1.0 + gaussian::ROUNDING)
}

/// Whether the simple bounds are not exact, and losses are within the range of numbers.
pub(super) fn worth_composing(steps: &Composition) -> bool {
    let sampled = steps.iter().any(|(step, _)| step.is_sampled());
    sampled && steps.iter().all(|(step, _)| step.distance() < LARGEST_SHIFT && step.typical() > LEAST_LOSS)
}

#[cfg(test)]
mod tests;
