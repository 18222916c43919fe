//! The Gaussian mechanism in closed form: `N(0, 1)` against `N(μ, 1)`.
//!
//! Balle and Wang 2018 (<https://arxiv.org/abs/1805.06530>), Theorem 8:
//! `δ(ε) = Φ(μ/2 - ε/μ) - e^ε Φ(-μ/2 - ε/μ)`.

use std::f64::consts::FRAC_1_SQRT_2;

use super::logspace::log_half_erfc;

/// What is added to an ε, relatively, for rounding.
pub(super) const ROUNDING: f64 = 1e-9;
/// A shift above which ε is out of the range of numbers worth telling apart.
const LARGEST_SHIFT: f64 = 1e100;

/// `P[N(0, 1) > y]`.
pub(super) fn upper_tail(y: f64) -> f64 {
    0.5 * libm::erfc(y * FRAC_1_SQRT_2)
}

/// The total variation by a shift μ ≥ 0 in standard deviations: δ at 0.
pub(super) fn variation(shift: f64) -> f64 {
    (libm::erf(0.5 * shift * FRAC_1_SQRT_2) * (1.0 + 8.0 * f64::EPSILON)).min(1.0)
}

/// The δ at `epsilon` ≥ 0 of a shift μ ≥ 0 in standard deviations, rounded up.
pub(super) fn delta(shift: f64, epsilon: f64) -> f64 {
    if shift == 0.0 {
        return 0.0;
    }
    if shift > LARGEST_SHIFT {
        return 1.0;
    }
    if epsilon == 0.0 {
        return variation(shift);
    }
    let log_tail = |y: f64| log_half_erfc(y * FRAC_1_SQRT_2);
    let (near, far) = (log_tail(epsilon / shift - 0.5 * shift), log_tail(epsilon / shift + 0.5 * shift));
    // The logarithms of the tails err relatively, and by their arguments' errors twice as much.
    let rounding = 16.0 * f64::EPSILON * (1.0 + near.abs() + far.abs() + epsilon);
    let ratio = (epsilon + far - near - rounding).min(0.0);
    (-libm::expm1(ratio) * libm::exp(near + rounding)).min(1.0)
}

/// The least ε ≥ 0 of a shift μ ≥ 0 in standard deviations at `delta` in (0, 1).
pub(super) fn epsilon(shift: f64, target: f64) -> f64 {
    if shift > LARGEST_SHIFT {
        return f64::INFINITY;
    }
    if delta(shift, 0.0) <= target {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    while delta(shift, high) > target {
        low = high;
        high *= 2.0;
    }
    while high - low > 1e-12 * high {
        let middle = 0.5 * (low + high);
        if delta(shift, middle) > target { low = middle } else { high = middle }
    }
    high * (1.0 + ROUNDING)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// dp_accounting 0.6.0, `get_epsilon_gaussian`.
    #[test]
    fn closed_form() {
        for (sigma, delta, expected) in [
            (0.5, 1e-5, 9.99725615),
            (1.0, 1e-5, 4.37717810),
            (2.0, 1e-5, 1.99309140),
            (4.0, 1e-5, 0.92634154),
            (10.0, 1e-5, 0.34066936),
            (3.73063163, 1e-5, 1.0),
            (4.22467889, 1e-6, 1.0),
        ] {
            let found = epsilon(1.0 / sigma, delta);
            assert!((found / expected - 1.0).abs() < 1e-7, "{sigma}: {found} is not {expected}");
        }
    }

    #[test]
    fn epsilon_and_delta_undo_each_other() {
        for shift in [1e-9, 1e-3, 0.1, 1.0, 30.0, 1e4] {
            for delta_wanted in [1e-200, 1e-30, 1e-12, 1e-5, 0.1, 0.9] {
                let found = epsilon(shift, delta_wanted);
                if found > 0.0 {
                    let back = delta(shift, found);
                    // δ is rounded up by more than ε is where it is the difference of nearly equal numbers.
                    let most = delta_wanted * (1.0 + 1e-3);
                    assert!(back <= most && back > delta_wanted * 0.99, "{shift} {delta_wanted}: {back}");
                }
            }
        }
    }

    #[test]
    fn edges() {
        assert_eq!(epsilon(0.0, 1e-5), 0.0);
        assert_eq!(delta(0.0, 0.0), 0.0);
        assert_eq!(epsilon(1e-9, 1e-5), 0.0);
        // Φ(μ/2) - Φ(-μ/2), however small.
        for shift in [1e-3, 1e-17, 1e-200] {
            let expected = shift * 0.3989422804014327;
            assert!((delta(shift, 0.0) / expected - 1.0).abs() < 1e-7 && delta(shift, 0.0) >= expected * (1.0 - 1e-7));
        }
        assert_eq!(epsilon(1e200, 1e-5), f64::INFINITY);
        assert_eq!(delta(f64::INFINITY, 1.0), 1.0);
        assert!((delta(1.0, 0.0) - 0.38292492254802624).abs() < 1e-14);
    }
}
