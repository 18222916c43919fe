//! Exponential, hyperbolic tangent and error function of `f32` without branches or calls, so that loops of them vectorise.

pub use std::f32::consts::LN_2;

/// `eˣ`, within 2 ULP; NaN gives NaN, and over- and underflow give infinity, subnormal numbers and 0.
///
/// `x = n ln 2 + r` with `|r| ≤ ln 2 / 2`, and the polynomial of Cephes' `expf` for `eʳ`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding 1.5 · 2²³ rounds to an integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = if x > 104.0 { 104.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = p * r + c;
    }
    let y = p * (r * r) + r + 1.0;
    // Two factors, since 2ⁿ itself may be out of range.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    y * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `tanh x`, within 2 ULP; NaN gives NaN.
///
/// Below 0.625 the odd polynomial of Cephes' `tanhf`, above it `1 − 2 / (e²ˣ + 1)`.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let mut p = -5.704_988_6e-3;
    for c in [2.063_908_8e-2, -5.373_971_5e-2, 0.133_314_42, -0.333_332_8] {
        p = p * z + c;
    }
    let near = x + x * (z * p);
    let far = 1.0 - 2.0 / (exp(2.0 * a) + 1.0);
    (if a < 0.625 { near } else { far }).copysign(x)
}

/// `1 / (1 + e⁻ˣ)`, within 3 ULP where it is not subnormal; NaN gives NaN.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `erf x`, within 8 ULP; NaN gives NaN.
///
/// An odd rational function, of the degrees 13 and 8, on the range where the result is not 1 in single precision, with the
/// coefficients of Eigen's `generic_fast_erf_float`.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let a = if x > 4.0 { 4.0 } else { x };
    let a = if a < -4.0 { -4.0 } else { a };
    let z = a * a;
    let mut p = -2.726_142_3e-10;
    for c in [2.770_681_5e-8, -2.101_024e-6, -5.692_506_3e-5, -7.349_906_5e-4, -2.954_599_7e-3, -1.609_603_3e-2] {
        p = p * z + c;
    }
    let mut q = -1.456_607_2e-5;
    for c in [-2.133_740_5e-4, -1.682_827e-3, -7.373_329e-3, -1.426_474e-2] {
        q = q * z + c;
    }
    a * p / q
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::scalar::exact;

    /// The largest error of `f` in ULP of the exact value, over floats `low ≤ |x| ≤ high` of both signs.
    fn worst(f: fn(f32) -> f32, exact: fn(f64) -> f64, low: f32, high: f32) -> f64 {
        let mut worst = 0.0f64;
        for bits in (low.to_bits()..=high.to_bits()).step_by(997) {
            for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                let want = exact(x.into());
                let near = (want as f32).abs().max(f32::MIN_POSITIVE);
                let ulp = f64::from(f32::from_bits(near.to_bits() + 1)) - f64::from(near);
                worst = worst.max((f64::from(f(x)) - want).abs() / ulp);
            }
        }
        worst
    }

    #[test]
    fn results_are_close_to_the_exact_ones() {
        assert!(worst(exp, f64::exp, 1e-30, 88.0) <= 2.0);
        assert!(worst(tanh, f64::tanh, 1e-30, 30.0) <= 2.0);
        assert!(worst(erf, exact::erf, 1e-30, 6.0) <= 8.0);
        assert!(worst(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 1e-30, 87.0) <= 3.0);
    }

    #[test]
    fn extremes_are_exact() {
        assert_eq!([exp(0.0), exp(-0.0), exp(89.0), exp(f32::INFINITY)], [1.0, 1.0, f32::INFINITY, f32::INFINITY]);
        assert_eq!([exp(-104.0), exp(-1e9), exp(f32::NEG_INFINITY)], [0.0; 3]);
        assert!((f64::from(exp(-100.0)) - (-100f64).exp()).abs() <= f64::from(f32::from_bits(1)));
        assert_eq!([tanh(50.0), tanh(-50.0), tanh(f32::INFINITY), tanh(f32::NEG_INFINITY)], [1.0, -1.0, 1.0, -1.0]);
        assert_eq!(tanh(-0.0).to_bits(), (-0.0f32).to_bits());
        assert_eq!([sigmoid(200.0), sigmoid(-200.0), sigmoid(0.0)], [1.0, 0.0, 0.5]);
        for f in [exp, tanh, sigmoid, erf] {
            assert!(f(f32::NAN).is_nan());
        }
    }
}
