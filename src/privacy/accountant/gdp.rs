//! Gaussian differential privacy in the limit of many steps: an approximation, for comparison only.
//!
//! By a central limit theorem the privacy loss of many steps tends to that of one Gaussian mechanism of
//! sensitivity μ. For Poisson sampling `μ = q√(T(e^{1/σ²}-1))` (Bu, Dong, Long and Su 2019,
//! <https://arxiv.org/abs/1911.11607>, Theorem 5), for batches of a fixed size `μ = q√(2T(e^{1/s²}Φ(3/2s) +
//! 3Φ(-1/2s) - 2))` with s the noise relative to replacing a unit (Dong, Roth and Su 2019,
//! <https://arxiv.org/abs/1905.02383>, Corollary 5.4). Steps of different kinds add up in quadrature. The
//! limit often lies below the privacy loss, so that nothing may be guaranteed from it; only without
//! subsampling is it exact.

use super::gaussian::{self, upper_tail};
use super::{Accountant, InvalidInput, Mechanism, check, delta_problem, epsilon_problem};
use crate::privacy::adjacency::Adjacency;
use crate::privacy::sampling::Sampling;

/// The accountant by the central limit theorem. It is not a bound.
#[derive(Clone, Copy, Debug)]
pub struct Gdp;

impl Accountant for Gdp {
    fn name(&self) -> &'static str {
        "gdp"
    }

    fn is_bound(&self) -> bool {
        false
    }

    fn nearby(&self) -> Option<&'static dyn Accountant> {
        None
    }

    fn supports(&self, sampling: Sampling, adjacency: Adjacency) -> bool {
        match sampling {
            Sampling::Poisson { .. } => true,
            Sampling::TruncatedPoisson { .. } | Sampling::Cyclic { .. } => false,
            Sampling::FixedSize { .. } | Sampling::Shuffle { .. } => adjacency == Adjacency::ReplaceOne,
        }
    }

    fn epsilon(&self, history: &[Mechanism], adjacency: Adjacency, delta: f64) -> Result<f64, InvalidInput> {
        check(self, history, adjacency, delta_problem(delta))?;
        Ok(gaussian::epsilon(composed(history, adjacency), delta))
    }

    fn delta(&self, history: &[Mechanism], adjacency: Adjacency, epsilon: f64) -> Result<f64, InvalidInput> {
        check(self, history, adjacency, epsilon_problem(epsilon))?;
        Ok(gaussian::delta(composed(history, adjacency), epsilon))
    }
}

/// μ of all of `history`.
fn composed(history: &[Mechanism], adjacency: Adjacency) -> f64 {
    let taken = history.iter().filter(|entry| entry.steps > 0 && entry.sampling.rate() > 0.0);
    libm::sqrt(taken.map(|entry| entry.steps as f64 * squared(entry, adjacency)).sum())
}

/// μ² of one step at a rate above 0.
fn squared(step: &Mechanism, adjacency: Adjacency) -> f64 {
    let q = step.sampling.rate();
    let inverse = 1.0 / (step.noise_multiplier * step.noise_multiplier);
    match (step.sampling, adjacency) {
        (Sampling::Shuffle { .. }, _) => 4.0 * inverse,
        (_, Adjacency::AddRemove) if q == 1.0 => inverse,
        (_, Adjacency::ReplaceOne) if q == 1.0 => 4.0 * inverse,
        (Sampling::FixedSize { .. }, _) => {
            let half = 1.0 / step.noise_multiplier;
            let spread = libm::exp(4.0 * inverse) * upper_tail(-3.0 * half) + 3.0 * upper_tail(half) - 2.0;
            2.0 * q * q * spread.max(0.0)
        }
        (_, Adjacency::AddRemove) => q * q * libm::expm1(inverse),
        // Twice the mean privacy loss as in Theorem 5: ∫ (q N(1, σ²) - q N(-1, σ²))² / N(0, σ²).
        (_, Adjacency::ReplaceOne) => 4.0 * q * q * libm::sinh(inverse),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epsilon(noise_multiplier: f64, sampling: Sampling, steps: u64, adjacency: Adjacency, delta: f64) -> f64 {
        Gdp.epsilon(&[Mechanism { noise_multiplier, sampling, steps }], adjacency, delta).unwrap()
    }

    fn close(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-6, "{found} is not {expected}");
    }

    /// The analytic Gaussian mechanism by `dp_accounting`.
    #[test]
    fn without_subsampling_it_is_the_gaussian_mechanism() {
        let all = Sampling::Poisson { rate: 1.0 };
        for (sigma, expected) in
            [(0.5, 9.99725615), (1.0, 4.37717810), (2.0, 1.99309140), (4.0, 0.92634154), (10.0, 0.34066936)]
        {
            close(epsilon(sigma, all, 1, Adjacency::AddRemove, 1e-5), expected);
            close(epsilon(2.0 * sigma, all, 1, Adjacency::ReplaceOne, 1e-5), expected);
            close(epsilon(10.0 * sigma, all, 100, Adjacency::AddRemove, 1e-5), expected);
            for sampling in [Sampling::Shuffle { units: 60, batch: 7 }, Sampling::FixedSize { units: 60, batch: 60 }] {
                close(epsilon(2.0 * sigma, sampling, 1, Adjacency::ReplaceOne, 1e-5), expected);
            }
        }
    }

    /// μ by the formula of Bu et al., and ε by SciPy.
    #[test]
    fn the_limit_of_poisson_sampling() {
        for (sigma, rate, steps, delta, expected) in [
            (1.1, 256.0 / 60000.0, 14062, 1e-5, 2.324269),
            (0.8, 0.05, 100, 1e-6, 4.725311),
            (20.0, 0.5, 2000, 1e-5, 4.986944),
        ] {
            close(epsilon(sigma, Sampling::Poisson { rate }, steps, Adjacency::AddRemove, delta), expected);
        }
    }

    #[test]
    fn without_noise_or_without_a_chance_to_take_part() {
        assert_eq!(epsilon(0.0, Sampling::Poisson { rate: 0.1 }, 1, Adjacency::AddRemove, 1e-5), f64::INFINITY);
        assert_eq!(epsilon(0.0, Sampling::Poisson { rate: 0.0 }, 1, Adjacency::AddRemove, 1e-5), 0.0);
    }
}
