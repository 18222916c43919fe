//! One step on a batch of a fixed size, drawn without replacement, when a unit is replaced.
//!
//! The bound is that of Wang, Balle and Kasiviswanathan 2019 (<https://arxiv.org/abs/1808.00087>), Theorem 9,
//! in the sharper form of its Theorem 27 for the Gaussian mechanism:
//!
//! `A(α) ≤ 1 + Σ_{j=2}^α C(α,j) q^j min(4√(B(2⌊j/2⌋) B(2⌈j/2⌉)), 2e^{(j²-j)/2σ²})`
//!
//! with `B(l) = E (e^{(2z-1)/2σ²} - 1)^l` over z ~ N(0, σ²), at integer orders; between them `ln A` is
//! convex (their Corollary 10). σ is the noise relative to what replacing a unit can do to the sum.
//!
//! An even moment B is summed by the trapezoidal rule, whose integrand is positive, where the alternating
//! finite sum would cancel; the rule's error, with step h at most `2e^{-2π²σ²/h²} E (e^{(2z-1)/2σ²} + 1)^l`, is
//! added.

use std::f64::consts::{LN_2, PI};

use super::{LARGEST_ORDER, LOG};
use crate::privacy::accountant::logspace::{LogSum, log1p_exp};

/// The largest order of the moments; beyond it the second part of the minimum serves.
const LARGEST_MOMENT: usize = 256;
/// Points of the rule to a σ.
const DENSITY: f64 = 8.0;
/// With less noise than this the second part of the minimum is the smaller, and moments take many points.
const LEAST_SIGMA: f64 = 0.3;
/// What is added to the logarithm of a moment for rounding.
const ROUNDING: f64 = 1e-11;

/// The Rényi divergence of one step at each of `orders`. No divergence exceeds that without sampling.
pub(super) fn divergences(sigma: f64, q: f64, orders: &[f64]) -> Vec<Option<f64>> {
    if sigma == 0.0 {
        return vec![Some(f64::INFINITY); orders.len()];
    }
    let unsampled = |order: f64| order / (2.0 * sigma * sigma);
    if q == 1.0 {
        return orders.iter().map(|&order| Some(unsampled(order))).collect();
    }
    let largest = orders.iter().fold(2.0, |a: f64, &b| a.max(b)).ceil() as usize;
    let terms = log_terms(sigma, q, largest);
    let mut known = vec![None; largest + 1];
    let mut log_a = |order: f64| *known[order as usize].get_or_insert_with(|| log_a_integer(&terms, order as usize));
    let mut at = |order: f64| {
        let (below, above) = (order.floor(), order.ceil());
        let share = order - below;
        let log_a = (1.0 - share) * log_a(below) + share * log_a(above);
        (log_a / (order - 1.0)).min(unsampled(order))
    };
    orders.iter().map(|&order| Some(at(order)).filter(|found| !found.is_nan())).collect()
}

/// `ln A(α)` for integer α ≥ 1.
fn log_a_integer(terms: &[f64], order: usize) -> f64 {
    let mut log_binomial = LOG[order];
    let mut sum = LogSum::default();
    for (j, term) in terms.iter().enumerate().take(order + 1).skip(2) {
        log_binomial += LOG[order - j + 1] - LOG[j];
        sum.add(log_binomial + term);
    }
    if order < 2 { 0.0 } else { log1p_exp(sum.value()) }
}

/// `ln(q^j min(…))` for each j up to `largest`.
fn log_terms(sigma: f64, q: f64, largest: usize) -> Vec<f64> {
    debug_assert!(largest <= LARGEST_ORDER as usize);
    let moments = if sigma < LEAST_SIGMA { Vec::new() } else { log_even_moments(sigma, largest.min(LARGEST_MOMENT)) };
    let log_q = libm::log(q);
    let term = |j: usize| {
        let crude = LN_2 + (j * j - j) as f64 / (2.0 * sigma * sigma);
        let fine = match (moments.get(j / 2), moments.get(j.div_ceil(2))) {
            (Some(below), Some(above)) => 2.0 * LN_2 + 0.5 * (below + above),
            _ => f64::INFINITY,
        };
        j as f64 * log_q + fine.min(crude)
    };
    (0..=largest).map(|j| if j < 2 { f64::NEG_INFINITY } else { term(j) }).collect()
}

/// `ln B(2i)` for each i with 2i at most `largest` + 1.
fn log_even_moments(sigma: f64, largest: usize) -> Vec<f64> {
    let variance = sigma * sigma;
    let step = sigma / DENSITY;
    let moment = |i: usize| {
        let l = 2.0 * i as f64;
        let reach = (libm::sqrt(l) + 12.0) * sigma;
        let (first, last) = ((-reach / step).floor() as i64, ((l + reach) / step).ceil() as i64);
        let mut sum = LogSum::default();
        for index in first..=last {
            let z = index as f64 * step;
            let log_ratio = (2.0 * z - 1.0) / (2.0 * variance);
            // ln|e^x - 1|, without overflow.
            let log_excess = if log_ratio > 1.0 {
                log_ratio + libm::log1p(-libm::exp(-log_ratio))
            } else {
                libm::log(libm::expm1(log_ratio).abs())
            };
            sum.add(-z * z / (2.0 * variance) + l * log_excess);
        }
        let log_weight = -libm::log(DENSITY) - 0.5 * libm::log(2.0 * PI);
        let error = LN_2 - 2.0 * (PI * DENSITY).powi(2) + (l - 1.0) * LN_2 + log1p_exp((l * l - l) / (2.0 * variance));
        let mut total = LogSum::default();
        total.add(sum.value() + log_weight + ROUNDING);
        total.add(error);
        total.value()
    };
    (0..=largest.div_ceil(2)).map(|i| if i == 0 { 0.0 } else { moment(i) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_in_closed_form() {
        for sigma in [0.3, 1.0, 2.0] {
            let v = 1.0 / (sigma * sigma);
            let fourth = libm::exp(6.0 * v) - 4.0 * libm::exp(3.0 * v) + 6.0 * libm::exp(v) - 3.0;
            let found = log_even_moments(sigma, 4);
            assert!((found[1] - libm::log(libm::expm1(v))).abs() < 1e-9, "{sigma}");
            assert!((found[2] - libm::log(fourth)).abs() < 1e-9, "{sigma}");
        }
    }

    /// For much noise the likelihood ratio is near 1 + z/σ², whose moments are (l-1)!!/σ^l.
    #[test]
    fn high_moments_do_not_cancel() {
        let sigma: f64 = 1e5;
        let double_factorial: f64 = (1..=16).map(|i| f64::from(2 * i - 1).ln()).sum();
        let expected = double_factorial - 32.0 * sigma.ln();
        assert!((log_even_moments(sigma, 32)[16] - expected).abs() < 1e-4);
    }

    #[test]
    fn a_whole_batch_is_no_sampling() {
        let orders = [1.5, 2.0, 3.5, 700.0];
        let whole = divergences(1.5, 1.0, &orders);
        assert_eq!(whole, orders.map(|order| Some(order / 4.5)));
        for (part, whole) in divergences(1.5, 0.3, &orders).into_iter().zip(whole) {
            assert!(part.unwrap() > 0.0 && part <= whole);
        }
    }
}
