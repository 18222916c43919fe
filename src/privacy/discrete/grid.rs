//! Sums of few numbers beside the gradient, exact on a grid: counts, batch sizes, losses.
//!
//! A count in halves is a multiple of any grid of 2⁻¹ or finer, and is summed as it is; other numbers are rounded to the grid unit by unit,
//! within what bounds them, so that the sensitivity of the integers is no more than that of the numbers over the grid. Noise comes from
//! the same sampler, at the parameter that [`Smoothing::parameter`] gives for the noise multiplier of each.

use super::accounting::{ParameterError, Smoothing};
use super::scale::Scale;

/// Multiples of 2^`exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    exponent: i32,
}

/// The base-2 logarithm of the units of a standard deviation.
const NOISE_BITS: i32 = 20;
/// The coarsest grid has halves, and the finest leaves room for sums of 2²² in an `i64`.
const COARSEST: i32 = -1;
const FINEST: i32 = -40;

impl Grid {
    /// The grid with 2²⁰ to 2²¹ units to the noise's standard deviation `std`, or the nearest to it that there is.
    pub fn for_noise(std: f64) -> Grid {
        let exponent = libm::ilogb(std).saturating_sub(NOISE_BITS);
        Grid { exponent: exponent.clamp(FINEST, COARSEST) }
    }

    /// The size of one unit.
    pub fn unit(self) -> f64 {
        libm::ldexp(1.0, self.exponent)
    }

    /// The nearest multiple to `value` of those whose magnitude is at most `bound`, in units. A value that is not a number counts as the bound.
    pub fn round(self, value: f64, bound: f64) -> i64 {
        let most = (bound / self.unit()).floor();
        let units = (value / self.unit()).round();
        if units.is_nan() { most as i64 } else { units.clamp(-most, most) as i64 }
    }

    /// `units` as a number, for what follows from a noisy sum.
    pub fn value(self, units: i64) -> f64 {
        units as f64 * self.unit()
    }

    /// The parameter of noise with multiplier `noise_multiplier` on numbers whose vector has the sensitivity `sensitivity`.
    ///
    /// # Errors
    /// As [`Smoothing::parameter`].
    pub fn parameter(self, noise_multiplier: f64, sensitivity: f64) -> Result<Scale, ParameterError> {
        // A root that was rounded may be below the sensitivity.
        Smoothing::USUAL.parameter(noise_multiplier, (sensitivity / self.unit()).next_up())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_in_halves_are_exact_and_noise_is_what_was_asked_for() {
        for (multiplier, groups) in [(1e-3, 1), (0.5, 7), (20.0, 3), (400.0, 1), (1e6, 40), (1e9, 1)] {
            let sensitivity = crate::privacy::clipping::count_sensitivity(groups);
            let grid = Grid::for_noise(multiplier * sensitivity);
            for count in [0.5, -0.5, 31.5, 100_000.0] {
                assert_eq!(grid.value(grid.round(count, f64::INFINITY)), count);
            }
            let s = grid.parameter(multiplier, sensitivity).unwrap().to_f64() * grid.unit();
            let excess = s / (multiplier * sensitivity) - 1.0;
            assert!((0.0..1e-9).contains(&excess), "{multiplier} {groups}: {excess}");
        }
    }

    #[test]
    fn no_unit_counts_for_more_than_its_bound() {
        let grid = Grid::for_noise(123.4);
        for bound in [1.0, 0.1, 10.0, 3.3] {
            for value in [0.0, 0.05, 3.299_999_999, 1e300, -1e300, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
                let units = grid.round(value, bound);
                assert!(grid.value(units).abs() <= bound);
                assert!(!value.is_finite() || value.abs() > bound || (grid.value(units) - value).abs() <= grid.unit());
            }
        }
    }

    #[test]
    fn noise_too_small_for_any_grid_is_refused() {
        let grid = Grid::for_noise(1e-12);
        assert!(matches!(grid.parameter(1e-12, 1.0), Err(ParameterError::TooSmall { .. })));
        assert_eq!(Grid::for_noise(0.0), Grid { exponent: FINEST });
    }
}
