//! One step with Poisson sampling when a unit is added or removed.
//!
//! The divergence at order α is `ln A(α)/(α-1)`, where A is that of Mironov, Talwar and Zhang 2019
//! (<https://arxiv.org/abs/1908.10530>), §3.3: a finite sum for integer orders, an infinite series for the
//! others. The series' tail is bounded and added, and an order whose tail is not small is left out.

use std::f64::consts::SQRT_2;

use super::{LARGEST_ORDER, LOG};
use crate::privacy::accountant::logspace::{LogSum, log_expm1, log_half_erfc, log1p_exp};

/// What is added, relative to A, for rounding in the series of the fractional orders.
const ROUNDING: f64 = 1e-13;
/// The series stops where its tail is this small beside its sum.
const SMALL_TAIL: f64 = 1e-12;
/// The series converged if, after [`MAX_TERMS`], its tail is this small beside its sum.
const CONVERGED_TAIL: f64 = 1e-6;
const MAX_TERMS: u32 = 1000;

/// The Rényi divergence of one step, the larger of the two directions, at order α in (1, 8192]: infinite
/// without noise, `None` where the series for a fractional order does not converge or a number is out of
/// range.
pub(super) fn divergence(sigma: f64, q: f64, order: f64) -> Option<f64> {
    let in_range = sigma >= 0.0 && (0.0..=1.0).contains(&q) && order > 1.0 && order <= f64::from(LARGEST_ORDER);
    if !in_range {
        return None;
    }
    if q == 0.0 {
        return Some(0.0);
    }
    if sigma == 0.0 {
        return Some(f64::INFINITY);
    }
    let variance = sigma * sigma;
    if q == 1.0 {
        return Some(order / (2.0 * variance));
    }
    let log_a = if order.fract() == 0.0 {
        log_a_integer(variance, q, order as usize)
    } else {
        log_a_fractional(sigma, q, order)?
    };
    Some(log_a / (order - 1.0)).filter(|rdp| !rdp.is_nan())
}

/// `ln A(α)` for integer α, by `A - 1 = Σ_{k≥2} C(α,k) (1-q)^{α-k} q^k (e^{(k²-k)/2σ²} - 1)`, which has
/// only positive terms, so that a tiny divergence keeps its relative accuracy.
fn log_a_integer(variance: f64, q: f64, order: usize) -> f64 {
    let (log_q, log_rest) = (libm::log(q), libm::log1p(-q));
    let mut log_binomial = LOG[order];
    let mut sum = LogSum::default();
    for k in 2..=order {
        log_binomial += LOG[order - k + 1] - LOG[k];
        let log_weight = log_binomial + k as f64 * log_q + (order - k) as f64 * log_rest;
        sum.add(log_weight + log_expm1((k * (k - 1)) as f64 / (2.0 * variance)));
    }
    log1p_exp(sum.value())
}

/// `ln A(α)` for any α by the two series of §3.3.
///
/// Beyond k > α a term is C(α,k), which alternates in sign and shrinks, times a positive function that
/// shrinks too (the `erfc` cancels the exponentials but for `e^{x²} erfc(x)`), so that the tail after a
/// term is no larger than the term.
fn log_a_fractional(sigma: f64, q: f64, order: f64) -> Option<f64> {
    let variance = sigma * sigma;
    let (log_q, log_rest) = (libm::log(q), libm::log1p(-q));
    let z0 = variance * (log_rest - log_q) + 0.5;
    let (mut log_binomial, mut positive) = (0.0, true);
    let (mut gains, mut losses) = (LogSum::default(), LogSum::default());
    let mut tail = f64::INFINITY;
    for k in 0..MAX_TERMS {
        let k = f64::from(k);
        let j = order - k;
        if k > 0.0 {
            log_binomial += libm::log((j + 1.0).abs() / k);
            positive ^= j + 1.0 < 0.0;
        }
        let below = log_binomial
            + k * log_q
            + j * log_rest
            + (k * k - k) / (2.0 * variance)
            + log_half_erfc((k - z0) / (SQRT_2 * sigma));
        let above = log_binomial
            + j * log_q
            + k * log_rest
            + (j * j - j) / (2.0 * variance)
            + log_half_erfc((z0 - j) / (SQRT_2 * sigma));
        let sum = if positive { &mut gains } else { &mut losses };
        sum.add(below);
        sum.add(above);
        if k > order {
            let total = gains.value();
            tail = libm::exp(below - total) + libm::exp(above - total);
            if tail <= SMALL_TAIL {
                break;
            }
        }
    }
    let total = gains.value();
    let log_a = total + libm::log1p(tail + ROUNDING - libm::exp(losses.value() - total));
    (tail <= CONVERGED_TAIL && log_a.is_finite()).then_some(log_a.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64, tolerance: f64) {
        let error = (found - expected).abs() / expected.abs();
        assert!(error <= tolerance, "{found} is not {expected} ({error:e})");
    }

    /// `dp_accounting` 0.6.0 at integer orders.
    #[test]
    fn single_step_at_integer_orders() {
        let orders = [2.0, 3.0, 4.0, 8.0, 16.0, 32.0, 64.0];
        let rows = [
            (0.01, 1.0, [1.7181342e-4, 2.6463757e-4, 3.6315405e-4, 8.9364391e-4, 3.08785078, 11.24627594, 27.32173187]),
            (0.1, 2.0, [2.8362282e-3, 4.3736583e-3, 6.0032830e-3, 1.37254301e-2, 4.52918391e-2, 1.6272023, 5.6608673]),
        ];
        for (q, sigma, expected) in rows {
            for (order, value) in orders.into_iter().zip(expected) {
                close(divergence(sigma, q, order).unwrap(), value, 1e-6);
            }
        }
        for (order, value) in [(5.0, 2.18075656e-3), (50.0, 2.38460375e-2), (100.0, 167.416308)] {
            close(50.0 * divergence(2.5, 0.01, order).unwrap(), value, 1e-6);
        }
    }

    /// Numerical integration with 30 digits (mpmath). `dp_accounting` gives looser bounds here.
    #[test]
    fn single_step_at_fractional_orders() {
        for (sigma, q, order, value) in [
            (1.0, 0.01, 1.5, 1.2725374332744983e-4),
            (2.0, 0.1, 1.5, 2.0989345957101767e-3),
            (2.5, 0.01, 1.5, 1.3001417943760795e-5),
            (2.5, 0.01, 2.5, 2.1708361138362487e-5),
            (0.4, 0.9, 15.5, 48.324873241883004),
        ] {
            let found = divergence(sigma, q, order).unwrap();
            close(found, value, 1e-6);
            assert!(found >= value * (1.0 - 1e-12));
        }
    }

    /// At order 2 the divergence is `ln(1 + q²(e^{1/σ²} - 1))`.
    #[test]
    fn order_two_in_closed_form_down_to_tiny_rates() {
        for q in [0.5, 1e-3, 1e-9, 1e-100] {
            for sigma in [0.3, 1.0, 30.0, 1e6] {
                let expected = libm::log1p(q * q * libm::expm1(1.0 / (sigma * sigma)));
                close(divergence(sigma, q, 2.0).unwrap(), expected, 1e-12);
            }
        }
    }

    /// The divergence is convex in order after multiplication by α-1, so a fractional order lies
    /// between its neighbours.
    #[test]
    fn fractional_orders_join_the_integer_ones() {
        for (sigma, q) in [(0.5, 0.01), (1.0, 0.001), (1.5, 0.3), (8.0, 0.9), (20.0, 0.5)] {
            for order in 2..15 {
                let order = f64::from(order);
                let below = divergence(sigma, q, order).unwrap();
                let above = divergence(sigma, q, order + 1.0).unwrap();
                let near = divergence(sigma, q, order + 1e-7).unwrap();
                close(near, below, 1e-5);
                let middle = divergence(sigma, q, order + 0.5).unwrap();
                assert!(middle > below && middle < above, "{sigma} {q} {order}");
            }
        }
    }

    #[test]
    fn an_order_that_does_not_converge_is_left_out() {
        for (sigma, q, order) in [
            (1.0, 0.5, f64::NAN),
            (1.0, 0.5, 1.0),
            (1.0, 0.5, 8193.0),
            (1.0, 1.5, 2.0),
            (1.0, f64::NAN, 2.0),
            (-1.0, 0.5, 2.0),
            (f64::NAN, 0.5, 2.0),
        ] {
            assert_eq!(divergence(sigma, q, order), None);
        }
        assert_eq!(log_a_fractional(1e-200, 0.5, 1.5), None);
    }
}
