//! Sums and special functions in logarithms, where the numbers themselves would overflow.

use std::f64::consts::{LN_2, PI};

/// A sum of exponentials: `e^largest` times `scaled`.
pub(super) struct LogSum {
    largest: f64,
    scaled: f64,
}

/// A term smaller than the largest by this in logarithm would vanish in the rounding of any sum here.
const NEGLIGIBLE: f64 = 60.0;

impl Default for LogSum {
    fn default() -> LogSum {
        LogSum { largest: f64::NEG_INFINITY, scaled: 0.0 }
    }
}

impl LogSum {
    /// Adds `e^log_term`. A NaN makes the sum NaN.
    pub(super) fn add(&mut self, log_term: f64) {
        if log_term > self.largest {
            self.scaled *= libm::exp(self.largest - log_term);
            self.scaled += 1.0;
            self.largest = log_term;
        } else if log_term.is_nan() || log_term > self.largest - NEGLIGIBLE {
            self.scaled += libm::exp(log_term - self.largest);
        }
    }

    /// The logarithm of the sum.
    pub(super) fn value(&self) -> f64 {
        self.largest + libm::log(self.scaled)
    }
}

/// `ln(eˣ - 1)` for x ≥ 0.
pub(super) fn log_expm1(x: f64) -> f64 {
    if x < 40.0 { libm::log(libm::expm1(x)) } else { x }
}

/// `ln(1 + eˣ)`.
pub(super) fn log1p_exp(x: f64) -> f64 {
    if x < 40.0 { libm::log1p(libm::exp(x)) } else { x }
}

/// `ln(erfc(x)/2)`, by the asymptotic series where `erfc` is near underflow.
pub(super) fn log_half_erfc(x: f64) -> f64 {
    if x < 25.0 {
        return libm::log(libm::erfc(x)) - LN_2;
    }
    let t = 1.0 / (2.0 * x * x);
    let series = t * (-1.0 + t * (3.0 + t * (-15.0 + t * 105.0)));
    -x * x - libm::log(x) - 0.5 * libm::log(PI) + libm::log1p(series) - LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// mpmath with 30 digits.
    #[test]
    fn half_erfc_far_out_on_both_sides() {
        for (x, expected) in [
            (-30.0, 0.0),
            (-1.0, -0.08191486288187481),
            (0.5, -1.4281583103970297),
            (5.0, -27.89403672609738),
            (24.999, -629.4351474175809),
            (25.0, -629.4851863546317),
            (26.0, -680.5243469437542),
            (40.0, -1604.9547038338335),
            (1000.0, -1000008.1732679025),
        ] {
            let found = log_half_erfc(x);
            assert!((found - expected).abs() <= 1e-13 * f64::abs(expected), "{x}: {found}");
        }
    }

    #[test]
    fn sums_terms_in_any_order() {
        for terms in [[-1000.0, 0.0, 700.0], [700.0, 0.0, -1000.0], [f64::NEG_INFINITY, 0.0, 700.0]] {
            let mut sum = LogSum::default();
            for term in terms {
                sum.add(term);
            }
            assert_eq!(sum.value(), 700.0);
        }
        let mut sum = LogSum::default();
        sum.add(1.0);
        sum.add(f64::NAN);
        sum.add(2000.0);
        assert!(sum.value().is_nan());
        let mut sum = LogSum::default();
        assert_eq!(sum.value(), f64::NEG_INFINITY);
        sum.add(2000.0);
        sum.add(2000.0);
        assert!((sum.value() - 2000.0 - LN_2).abs() < 1e-12);
    }

    #[test]
    fn both_forms_of_each_function_meet() {
        for x in [39.9999999, 40.0, 40.0000001] {
            assert!((log_expm1(x) - x).abs() < 1e-14);
            assert!((log1p_exp(x) - x).abs() < 1e-14);
        }
        assert_eq!(log_expm1(0.0), f64::NEG_INFINITY);
        assert!((log_expm1(1e-9) - 1e-9_f64.ln()).abs() < 1e-9);
    }
}
