//! Gaussian differential privacy: what telling two unit normals μ apart says of (ε, δ), and back.
//!
//! A mechanism is μ-GDP if telling neighbours apart is at least as hard as telling `N(0, 1)` from `N(μ, 1)` (Dong, Roth
//! and Su, <https://arxiv.org/abs/1905.02383>). One step of DP-SGD that every record enters is (1/σ)-GDP, exactly.

use std::f64::consts::SQRT_2;

use statrs::function::erf::{erfc, erfc_inv};

/// The largest ε that is told apart from infinity.
const LARGEST_EPSILON: f64 = 700.0;

/// The standard normal distribution function.
pub fn cdf(z: f64) -> f64 {
    0.5 * erfc(-z / SQRT_2)
}

/// The z at which [`cdf`] is `p`.
pub fn quantile(p: f64) -> f64 {
    -SQRT_2 * erfc_inv(2.0 * p)
}

/// The δ of μ-GDP at `epsilon` (Balle and Wang, <https://arxiv.org/abs/1805.06530>, Theorem 8).
pub fn delta(mu: f64, epsilon: f64) -> f64 {
    if mu == 0.0 {
        return 0.0;
    }
    let (half, ratio) = (mu / 2.0, epsilon / mu);
    cdf(half - ratio) - epsilon.exp() * cdf(-half - ratio)
}

/// The ε of μ-GDP at `delta`; 0 where δ alone suffices, infinite past [`LARGEST_EPSILON`].
pub fn epsilon(mu: f64, delta: f64) -> f64 {
    let at = |epsilon| self::delta(mu, epsilon);
    if mu <= 0.0 || at(0.0) <= delta {
        return 0.0;
    }
    if !mu.is_finite() || at(LARGEST_EPSILON) > delta {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (0.0, LARGEST_EPSILON);
    while high - low > 1e-12 * high {
        let middle = 0.5 * (low + high);
        match at(middle) > delta {
            true => low = middle,
            false => high = middle,
        }
    }
    high
}

/// The smallest μ that allows a test whose false-positive and false-negative rates sum to `errors`: of all tests on
/// μ-GDP neighbours none has a sum below `2Φ(-μ/2)`.
pub fn mu_of_errors(errors: f64) -> f64 {
    (-2.0 * quantile(0.5 * errors.clamp(0.0, 2.0))).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exact Gaussian mechanism at δ = 1e-5, by dp_accounting 0.6.0.
    #[test]
    fn epsilon_of_one_gaussian_step() {
        for (sigma, expected) in
            [(0.5, 9.997_256_15), (1.0, 4.377_178_10), (2.0, 1.993_091_40), (4.0, 0.926_341_54), (10.0, 0.340_669_36)]
        {
            let found = epsilon(1.0 / sigma, 1e-5);
            assert!((found - expected).abs() < 1e-7, "{sigma}: {found}");
        }
        assert_eq!(epsilon(0.0, 1e-5), 0.0);
        assert_eq!(epsilon(1e-9, 1e-5), 0.0);
        assert_eq!(epsilon(1e3, 1e-5), f64::INFINITY);
    }

    /// By numerical integration; see `tests/oracles/audit.py`.
    #[test]
    fn delta_is_the_hockey_stick_divergence() {
        for (mu, epsilon, expected) in [
            (1.0, 1.0, 0.126_936_737_506_643_97),
            (0.5, 0.3, 0.096_352_824_062_343_09),
            (2.0, 5.0, 0.032_281_984_750_072_83),
        ] {
            assert!((delta(mu, epsilon) - expected).abs() < 1e-10);
        }
    }

    #[test]
    fn errors_say_how_far_apart_the_two_are() {
        for mu in [0.1, 1.0, 5.0] {
            assert!((mu_of_errors(2.0 * cdf(-0.5 * mu)) / mu - 1.0).abs() < 1e-9);
        }
        assert_eq!(mu_of_errors(1.0), 0.0);
        assert_eq!(mu_of_errors(1.3), 0.0);
        assert_eq!(mu_of_errors(0.0), f64::INFINITY);
    }
}
