//! What an FFT covers of a sum, and the order λ that tilts it.
//!
//! An answer at (ε, δ) needs the sums above ε only. The window starts a little below ε and is as narrow as
//! these allow, each with a margin of `e^-9` beside δ, by Chernoff's bound at the best of some orders c:
//!
//! - sums above the window have the probability `e^(K(c) - c·high)`, which is added to δ as it is;
//! - sums above the window that are wrapped around to its start weigh `e^(λW)` there, W being its width:
//!   `E[e^(λ(X-ε)); X > ε+W] ≤ e^(K(c) - λε - (c-λ)(ε+W))`;
//! - sums below the window, most of them, are wrapped around to its end and weigh `e^(-λW)` at most.
//!
//! None of this is needed for the answer to be a bound, only for a tight one: what wraps around adds to δ
//! (see [`compose`](super::compose)), and what is above the window is bounded anew.
//!
//! The order at which ε is in the middle of the tilted sum makes rounding errors least. Smaller ones need
//! less of a window, and so leave room for a finer grid; the one where both together cost least is taken.

use rayon::prelude::*;

use super::sum::Sum;

/// The part of a sum that an FFT covers, and how.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Window {
    /// The order λ.
    pub order: f64,
    pub low: f64,
    pub high: f64,
    /// The order of the moment that bounds the sums above `high` best.
    pub above: f64,
    /// The logarithm of what a rounding error of the tilted sum weighs at ε.
    pub log_weight: f64,
}

/// Where the answer is thought to be.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Around {
    pub epsilon: f64,
    pub log_delta: f64,
    /// The standard deviation of the tilted sum.
    pub spread: f64,
    /// How far below ε the answer may be.
    pub doubt: f64,
    /// How fast `ln δ` falls with ε.
    pub slope: f64,
    /// The logarithm of the rounding errors of the tilted sum.
    pub log_rounding: f64,
    /// The largest number of intervals.
    pub room: f64,
}

/// What may be lost on each side beside δ, as a logarithm.
const MARGIN: f64 = 9.0;
/// The orders are powers of this beside the one in the middle.
const RATIO: f64 = 1.125;
const ORDERS: std::ops::RangeInclusive<i32> = -27..=36;
/// The smallest middle one, by the spread.
const LEAST_ORDER: f64 = 0.25;

impl Window {
    /// The narrowest for `sum`, or one like it.
    pub fn new(sum: &Sum, around: Around) -> Window {
        let Around { epsilon, log_delta, spread, doubt, slope, log_rounding, room } = around;
        let middle = sum.order_for_epsilon(epsilon).max(LEAST_ORDER / spread);
        let order = |power| middle * RATIO.powi(power);
        let orders: Vec<f64> = ORDERS.map(order).collect();
        let orders: Vec<(f64, f64)> = orders.into_par_iter().map(|order| (order, sum.cumulant(order).value)).collect();
        let (mut high, mut above) = (f64::INFINITY, middle);
        for &(order, cumulant) in &orders {
            let end = (cumulant - log_delta + MARGIN) / order;
            if end < high {
                (high, above) = (end, order);
            }
        }
        let low = epsilon - doubt;
        let width = |order: f64| {
            let wrapped = orders.iter().filter(|(larger, _)| *larger > order).map(|(larger, cumulant)| {
                (cumulant - order * epsilon - log_delta + MARGIN) / (larger - order) - epsilon + doubt
            });
            wrapped.fold(f64::INFINITY, f64::min).max(high - low).max((MARGIN - log_delta) / order)
        };
        let slope = slope.max(1.0 / spread);
        // What is added to δ, relatively: by the errors, and by rounding losses to a grid.
        let cost = |log_weight: f64, width: f64| {
            let interval = width / room;
            libm::exp(log_weight + log_rounding - log_delta)
                + sum.steps() * interval * interval * slope * (1.0 + slope) / 12.0
        };
        let mut best = (f64::INFINITY, Window { order: middle, low, high, above, log_weight: 0.0 });
        for &(order, cumulant) in orders.iter().filter(|(order, _)| *order <= middle) {
            let (log_weight, width) = (cumulant - order * epsilon, width(order));
            let cost = cost(log_weight, width);
            if cost < best.0 {
                best = (cost, Window { order, low, high: low + width, above, log_weight });
            }
        }
        best.1
    }
}
