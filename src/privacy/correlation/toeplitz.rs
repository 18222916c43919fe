//! Banded lower-triangular Toeplitz matrices C, by the coefficients `c_0, …, c_(b-1)` of their first column.
//!
//! With the matrix A of prefix sums, `B = A C⁻¹` is Toeplitz too, and its coefficients solve `C β = (1, …, 1)`. The
//! noise of prefix sum t has the variance `Σ_(s≤t) β_s²` for noise z of variance 1, and a unit moves `C X` by `‖c‖` in
//! each participation. What is minimised is the mean over all n prefix sums of that variance, times `‖c‖²` (McKenna
//! 2024, <https://arxiv.org/abs/2405.15913>, section 3), by L-BFGS from the coefficients of the square root of A
//! (Fichtenberger, Henzinger and Upadhyay 2022, <https://arxiv.org/abs/2202.11205>). Its gradient takes one more
//! triangular solution: with `Cᵀ λ = ∂f/∂β`, `∂f/∂c_j = -Σ_t λ_t β_(t-j)`.
//!
//! Only additions, multiplications, divisions and square roots are used, so that every machine finds the same
//! coefficients.

use std::collections::VecDeque;

/// Iterations of L-BFGS at most.
const ITERATIONS: usize = 500;
/// Steps that L-BFGS remembers.
const MEMORY: usize = 10;
/// The share by which an iteration must lower the objective for another to follow.
const ENOUGH: f64 = 1e-13;

/// β: the coefficients of `A C⁻¹` for n prefix sums.
pub(super) fn factor(c: &[f64], n: usize) -> Vec<f64> {
    let mut beta: Vec<f64> = Vec::with_capacity(n);
    for _ in 0..n {
        let before: f64 = c[1..].iter().zip(beta.iter().rev()).map(|(c, beta)| c * beta).sum();
        beta.push((1.0 - before) / c[0]);
    }
    beta
}

/// The mean over n prefix sums of the variance of their noise, for noise z of variance 1.
pub(super) fn mean_square(c: &[f64], n: usize) -> f64 {
    mean(&factor(c, n))
}

fn mean(beta: &[f64]) -> f64 {
    let n = beta.len();
    beta.iter().enumerate().map(|(s, beta)| (n - s) as f64 / n as f64 * beta * beta).sum()
}

/// The coefficients of the square root of the matrix of prefix sums: 1, 1/2, 3/8, ….
fn square_root(bands: usize) -> Vec<f64> {
    let mut c = vec![1.0];
    for j in 1..bands {
        c.push(c[j - 1] * (2 * j - 1) as f64 / (2 * j) as f64);
    }
    c
}

/// The coefficients with the least error of n prefix sums, over `c_0`, which is 1.
pub(super) fn optimised(bands: usize, n: usize) -> Vec<f64> {
    let mut at = square_root(bands);
    let (mut value, mut gradient) = objective(&at, n);
    let mut memory: VecDeque<(Vec<f64>, Vec<f64>)> = VecDeque::new();
    for _ in 0..ITERATIONS {
        let direction = direction(&gradient, &memory);
        let slope = dot(&direction, &gradient);
        let Some((next, lower, next_gradient)) = search(&at, value, (&direction, slope), n) else {
            if memory.is_empty() {
                break;
            }
            memory.clear();
            continue;
        };
        let step: Vec<f64> = next.iter().zip(&at).map(|(a, b)| a - b).collect();
        let change: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        if dot(&step, &change) > 0.0 {
            memory.push_back((step, change));
            memory.drain(..memory.len().saturating_sub(MEMORY));
        }
        let done = value - lower <= ENOUGH * value;
        (at, value, gradient) = (next, lower, next_gradient);
        if done {
            break;
        }
    }
    at
}

/// The objective and its gradient, whose first number is 0: `c_0` stays.
fn objective(c: &[f64], n: usize) -> (f64, Vec<f64>) {
    let beta = factor(c, n);
    let (error, square) = (mean(&beta), dot(c, c));
    let mut lambda = vec![0.0; n];
    for t in (0..n).rev() {
        let after: f64 = c[1..].iter().zip(&lambda[t + 1..]).map(|(c, lambda)| c * lambda).sum();
        let outer = 2.0 * (n - t) as f64 / n as f64 * beta[t];
        lambda[t] = (outer - after) / c[0];
    }
    let mut gradient = vec![0.0; c.len()];
    for (j, slot) in gradient.iter_mut().enumerate().skip(1) {
        let of_error = -dot(&lambda[j.min(n)..], &beta);
        *slot = of_error * square + 2.0 * c[j] * error;
    }
    (error * square, gradient)
}

/// A step along `direction` that lowers the objective by a share of what its slope promises, with the objective and the
/// gradient there.
fn search(at: &[f64], value: f64, (direction, slope): (&[f64], f64), n: usize) -> Option<(Vec<f64>, f64, Vec<f64>)> {
    let mut length = 1.0;
    for _ in 0..60 {
        let next: Vec<f64> = at.iter().zip(direction).map(|(at, by)| at + length * by).collect();
        let (lower, gradient) = objective(&next, n);
        if lower <= value + 1e-4 * length * slope && gradient.iter().all(|value| value.is_finite()) {
            return Some((next, lower, gradient));
        }
        length /= 2.0;
    }
    None
}

/// The two-loop recursion (Nocedal and Wright, "Numerical Optimization", Algorithm 7.4).
fn direction(gradient: &[f64], memory: &VecDeque<(Vec<f64>, Vec<f64>)>) -> Vec<f64> {
    let mut q = gradient.to_vec();
    let mut shares = Vec::new();
    for (step, change) in memory.iter().rev() {
        let share = dot(step, &q) / dot(step, change);
        q.iter_mut().zip(change).for_each(|(q, change)| *q -= share * change);
        shares.push(share);
    }
    let scale = match memory.back() {
        Some((step, change)) => dot(step, change) / dot(change, change),
        // A first step of a length that coefficients have.
        None => 0.1 / (1.0 + dot(gradient, gradient).sqrt()),
    };
    q.iter_mut().for_each(|q| *q *= scale);
    for ((step, change), share) in memory.iter().zip(shares.iter().rev()) {
        let back = dot(change, &q) / dot(step, change);
        q.iter_mut().zip(step).for_each(|(q, step)| *q += (share - back) * step);
    }
    q.iter_mut().for_each(|q| *q = -*q);
    q
}

/// Of as many numbers as the shorter has.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_that_of_differences() {
        let c = [1.0, 0.6, 0.3, 0.25, 0.1];
        for n in [3, 5, 40] {
            let (_, gradient) = objective(&c, n);
            for j in 1..c.len() {
                let moved = |by: f64| {
                    let mut c = c.to_vec();
                    c[j] += by;
                    objective(&c, n).0
                };
                let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((gradient[j] - difference).abs() < 1e-6 * (1.0 + difference.abs()), "{n} {j}");
            }
        }
    }

    #[test]
    fn one_band_is_independent_noise() {
        assert_eq!(optimised(1, 100), [1.0]);
        // Prefix sum t has the noise of t + 1 steps.
        assert!((mean_square(&[1.0], 100) - 50.5).abs() < 1e-9);
    }

    #[test]
    fn an_optimum_is_left_in_no_direction() {
        let (bands, n) = (8, 60);
        let c = optimised(bands, n);
        let least = objective(&c, n).0;
        assert!(least < objective(&square_root(bands), n).0);
        for j in 1..bands {
            for by in [-0.01, 0.01] {
                let mut other = c.clone();
                other[j] += by;
                assert!(objective(&other, n).0 > least);
            }
        }
    }
}
