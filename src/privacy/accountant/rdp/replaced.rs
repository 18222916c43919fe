//! One step with Poisson sampling when a unit is replaced.
//!
//! The worst pair is `P = (1-q) N(0, σ²) + q N(1, σ²)` against `Q = (1-q) N(0, σ²) + q N(-1, σ²)` (Lebeda,
//! Regehr, Kamath and Steinke 2024, <https://arxiv.org/abs/2405.20769>), each the mirror image of the other,
//! and `A(α) = ∫ P^α Q^{1-α}` has no closed form. The trapezoidal rule sums `A - 1 = ∫ Q ((P/Q)^α - 1 -
//! α(P/Q - 1))`, whose integrand is nowhere negative, so that a tiny divergence keeps its accuracy.
//!
//! Its error is bounded: at x + iy with y < πσ² the integrand of A is at most `e^{y²/2σ²} cos(y/2σ²)^{1-α}`
//! times what it is at x, so that the rule with step h errs by no more than `2e^{-2πy/h}` times that,
//! relative to A (Trefethen and Weideman 2014, <https://doi.org/10.1137/130932132>, Theorem 5.1). The step
//! is chosen to make that negligible.

use std::f64::consts::PI;

use crate::privacy::accountant::logspace::LogSum;

/// The rule's relative error is `e` to the minus this.
const EXPONENT: f64 = 75.0;
/// How many σ are summed beyond the outermost peaks.
const TAIL: f64 = 13.0;
/// Orders above this are not integrated, nor those that would take more points than [`MOST_POINTS`].
const LARGEST_INTEGRATED: f64 = 1024.0;
const MOST_POINTS: f64 = 16_384.0;
/// What is added to each term, relative to its parts, for rounding.
const ROUNDING: f64 = 1e-15;

/// The Rényi divergence of one step at each of `orders`, which ascend. No divergence exceeds that
/// without sampling, which stands where integration would take too long.
pub(super) fn divergences(sigma: f64, q: f64, orders: &[f64]) -> Vec<Option<f64>> {
    if q == 0.0 {
        return vec![Some(0.0); orders.len()];
    }
    let mut grid: Option<Grid> = None;
    let mut at = |order: f64| {
        let unsampled = 2.0 * order / (sigma * sigma);
        if order > LARGEST_INTEGRATED {
            return unsampled;
        }
        if grid.as_ref().is_none_or(|grid| grid.largest_order < order) {
            grid = Some(Grid::new(sigma, q, order.max(2.0).log2().ceil().exp2()));
        }
        let integrated = grid.as_ref().and_then(|grid| grid.log_a(order)).map(|log_a| log_a / (order - 1.0));
        integrated.map_or(unsampled, |found| found.min(unsampled))
    };
    orders.iter().map(|&order| Some(at(order))).collect()
}

/// Where the integrand is evaluated for orders up to one of them.
struct Grid {
    largest_order: f64,
    step: f64,
    /// None where there would be too many.
    points: Option<Vec<Point>>,
}

struct Point {
    p: f64,
    q: f64,
    log_q: f64,
    /// `ln(P/Q)`, and `P/Q - 1`.
    log_ratio: f64,
    excess: f64,
}

impl Grid {
    fn new(sigma: f64, q: f64, largest_order: f64) -> Grid {
        let variance = sigma * sigma;
        let step = step(sigma, largest_order);
        let (first, last) = (-1.0 - TAIL * sigma, 2.0 * largest_order - 1.0 + TAIL * sigma);
        let count = ((last - first) / step).ceil();
        if count.is_nan() || count > MOST_POINTS {
            return Grid { largest_order, step, points: None };
        }
        let (log_rate, log_rest) = (libm::log(q), libm::log1p(-q));
        let log_peak = -libm::log(sigma) - 0.5 * libm::log(2.0 * PI);
        let point = |index: u32| {
            let x = first + f64::from(index) * step;
            // ln of the densities over that of N(0, σ²); accurate relative to their difference from 0.
            let tilted = |exponent: f64| {
                if exponent + log_rate < log_rest {
                    libm::log1p(q * libm::expm1(exponent))
                } else {
                    exponent + libm::log(q + (1.0 - q) * libm::exp(-exponent))
                }
            };
            let (up, down) = (tilted((2.0 * x - 1.0) / (2.0 * variance)), tilted((-2.0 * x - 1.0) / (2.0 * variance)));
            let log_base = log_peak - x * x / (2.0 * variance);
            let (log_q, log_ratio) = (log_base + down, up - down);
            let excess = libm::expm1(log_ratio);
            Point { p: libm::exp(log_base + up), q: libm::exp(log_q), log_q, log_ratio, excess }
        };
        Grid { largest_order, step, points: Some((0..=count as u32).map(point).collect()) }
    }

    /// `ln A(α)`, or `None` where there are too many points.
    fn log_a(&self, order: f64) -> Option<f64> {
        let points = self.points.as_ref()?;
        let largest = points.iter().map(|point| point.log_q + order * point.log_ratio).fold(0.0, f64::max);
        if largest > 500.0 {
            let mut sum = LogSum::default();
            points.iter().for_each(|point| sum.add(point.log_q + order * point.log_ratio));
            return Some(sum.value() + libm::log(self.step)).filter(|log_a| log_a.is_finite());
        }
        let mut sum = 0.0;
        for point in points {
            let exponent = order * point.log_ratio;
            let (gain, loss) = if exponent < 1.0 {
                (point.q * libm::expm1(exponent), point.q * order * point.excess)
            } else {
                (libm::exp(point.log_q + exponent), point.q + order * (point.p - point.q))
            };
            sum += gain - loss + ROUNDING * (gain.abs() + loss.abs());
        }
        Some(libm::log1p(sum * self.step)).filter(|log_a| log_a.is_finite() && *log_a >= 0.0)
    }
}

/// The step at which the rule's error is `e^-EXPONENT` for order α: the y that allows the largest, inside
/// the strip where the integrand is analytic.
fn step(sigma: f64, order: f64) -> f64 {
    let variance = sigma * sigma;
    let best = libm::sqrt(EXPONENT / (0.5 / variance + (order - 1.0) / (8.0 * variance * variance)));
    let y = best.min(0.8 * PI * variance);
    let growth = y * y / (2.0 * variance) - (order - 1.0) * libm::log(libm::cos(y / (2.0 * variance)));
    2.0 * PI * y / (EXPONENT + growth)
}

#[cfg(test)]
mod tests {
    use super::super::poisson;
    use super::*;

    fn at(sigma: f64, q: f64, order: f64) -> f64 {
        divergences(sigma, q, &[order])[0].unwrap()
    }

    /// Replacing is never cheaper than removing, and never dearer than without sampling, which the
    /// divergence tends to as q tends to 1.
    #[test]
    fn lies_between_removal_and_no_sampling() {
        for sigma in [0.3, 0.7, 1.0, 3.0, 20.0] {
            for q in [1e-9, 1e-4, 0.02, 0.5, 0.999] {
                for order in [1.05, 1.5, 2.0, 3.7, 8.0, 40.0] {
                    let (found, removal) = (at(sigma, q, order), poisson::divergence(sigma, q, order));
                    assert!(removal.is_none_or(|removal| found >= removal - 1e-11), "{sigma} {q} {order}");
                    assert!(found <= 2.0 * order / (sigma * sigma), "{sigma} {q} {order}");
                }
            }
        }
        for sigma in [0.7, 1.0, 20.0] {
            let (found, expected) = (at(sigma, 1.0 - 1e-12, 2.0), 4.0 / (sigma * sigma));
            assert!((found / expected - 1.0).abs() < 1e-6, "{sigma}: {found}, not {expected}");
        }
    }

    /// For small q, `A - 1 = α(α-1)/2 q² E(e^{x/σ²} - e^{-x/σ²})² e^{-1/σ²} = 2α(α-1) q² sinh(1/σ²)`.
    #[test]
    fn a_tiny_divergence_keeps_its_accuracy() {
        for sigma in [1.0, 2.0, 10.0] {
            for order in [1.5, 2.0, 3.0] {
                let expected = 2.0 * order * 1e-16 * libm::sinh(1.0 / (sigma * sigma));
                let found = at(sigma, 1e-8, order);
                assert!((found / expected - 1.0).abs() < 1e-5, "{sigma} {order}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn the_way_of_integration_does_not_show() {
        let together = divergences(0.8, 0.05, &[1.5, 3.0, 5.5, 60.0, 61.0]);
        for (order, found) in [1.5, 3.0, 5.5, 60.0, 61.0].into_iter().zip(together) {
            let alone = Grid::new(0.8, 0.05, order).log_a(order).unwrap() / (order - 1.0);
            assert!((alone / found.unwrap() - 1.0).abs() < 1e-9, "{order}");
        }
        assert_eq!(at(1e-6, 0.1, 2.0), 4e12);
        assert_eq!(at(0.0, 0.1, 2.0), f64::INFINITY);
        assert_eq!(at(1.0, 0.0, 2.0), 0.0);
    }
}
