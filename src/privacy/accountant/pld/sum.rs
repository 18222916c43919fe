//! Sums of independent privacy losses: their moments, and the bounds by a single moment.

use super::discretize::Losses;

/// A sum of independent losses on one grid.
pub(in super::super) struct Sum {
    /// The grid's interval.
    pub interval: f64,
    /// Losses, and how many of each.
    pub terms: Vec<(Losses, u64)>,
}

/// The cumulant generating function `ln E[e^(λL)]` of finite losses and its derivatives.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Cumulant {
    pub value: f64,
    /// The mean of the tilted distribution.
    pub mean: f64,
    /// Its variance.
    pub variance: f64,
}

/// Halvings of the interval that the order λ is sought in; nothing depends on its exact value.
const HALVINGS: u32 = 18;
/// Logarithms of the smallest and the largest order.
const LOG_ORDERS: (f64, f64) = (-7.0, 14.0);
/// Bounds the rounding of the logarithm of one step's moment, and with that of its largest exponent.
const MOMENT_ROUNDING: f64 = 1e-12;
const EXPONENT_ROUNDING: f64 = 4.0 * f64::EPSILON;

impl Sum {
    /// How many losses there are.
    pub fn steps(&self) -> f64 {
        self.terms.iter().map(|(_, steps)| *steps as f64).sum()
    }

    /// The probability of an infinite sum.
    pub fn infinite(&self) -> f64 {
        let logs = |of: fn(&Losses) -> f64| self.terms.iter().map(|(losses, steps)| *steps as f64 * of(losses)).sum();
        let log_finite: f64 = logs(|losses| libm::log1p(-losses.infinite / losses.total));
        let log_total: f64 = logs(|losses| libm::log(losses.total));
        -libm::expm1(log_finite) * libm::exp(log_total)
    }

    pub fn cumulant(&self, order: f64) -> Cumulant {
        self.terms.iter().fold(Cumulant::default(), |sum, (losses, steps)| {
            let (one, steps) = (losses.cumulant(self.interval, order), *steps as f64);
            Cumulant {
                value: sum.value + steps * one.value,
                mean: sum.mean + steps * one.mean,
                variance: sum.variance + steps * one.variance,
            }
        })
    }

    /// The order λ at which [`Sum::epsilon_bound`] for `delta` is least, roughly.
    pub fn order_for_delta(&self, delta: f64) -> f64 {
        let log_delta = libm::log(delta);
        search(|order| {
            let Cumulant { value, mean, .. } = self.cumulant(order);
            value - order * mean + log_factor(order) > log_delta
        })
    }

    /// The order λ ≥ 0 at which the middle of the tilted distribution is `epsilon`, or 0 where that is
    /// below the middle of the untilted one.
    pub fn order_for_epsilon(&self, epsilon: f64) -> f64 {
        if self.cumulant(0.0).mean >= epsilon {
            return 0.0;
        }
        search(|order| self.cumulant(order).mean < epsilon)
    }

    /// A bound on δ at `epsilon` by the moment of order λ > 0: Canonne, Kamath and Steinke 2020
    /// (<https://arxiv.org/abs/2004.00010>), Proposition 12.
    pub fn delta_bound(&self, order: f64, epsilon: f64) -> f64 {
        (self.infinite() + libm::exp(self.log_bound(order) + log_factor(order) - order * epsilon)).min(1.0)
    }

    /// The ε ≥ 0 at which [`Sum::delta_bound`] is `delta`.
    pub fn epsilon_bound(&self, order: f64, delta: f64) -> f64 {
        let finite = delta - self.infinite();
        let epsilon = (self.log_bound(order) + log_factor(order) - libm::log(finite)) / order;
        if finite > 0.0 && !epsilon.is_nan() { epsilon.max(0.0) } else { f64::INFINITY }
    }

    /// A bound on the probability of finite sums above `end`, by the moment of `order`.
    pub fn above(&self, order: f64, end: f64) -> f64 {
        libm::exp(self.log_bound(order) - order * end).min(1.0)
    }

    fn log_bound(&self, order: f64) -> f64 {
        let rounding = |(losses, steps): &(Losses, u64)| {
            let ends = [losses.points[0].0, losses.points[losses.points.len() - 1].0];
            let furthest = ends.map(|k| (k as f64 * self.interval).abs()).into_iter().fold(0.0, f64::max);
            *steps as f64 * (MOMENT_ROUNDING + EXPONENT_ROUNDING * order * furthest)
        };
        self.cumulant(order).value + self.terms.iter().map(rounding).sum::<f64>()
    }
}

impl Losses {
    /// That of one loss on a grid of `interval`.
    pub fn cumulant(&self, interval: f64, order: f64) -> Cumulant {
        let log_weight = |&(k, mass): &(i64, f64)| order * (k as f64 * interval) + libm::log(mass);
        let ends = [self.points[0], self.points[self.points.len() - 1]].map(|(k, _)| order * (k as f64 * interval));
        let largest = match f64::max(ends[0], ends[1]) {
            // No weight underflows.
            largest if (ends[0] - ends[1]).abs() < 600.0 => largest,
            _ => self.points.iter().map(log_weight).fold(f64::NEG_INFINITY, f64::max),
        };
        let (mut zeroth, mut first, mut second) = (0.0, 0.0, 0.0);
        for &(k, mass) in self.points.iter().filter(|(_, mass)| *mass > 0.0) {
            let loss = k as f64 * interval;
            let weight = mass * libm::exp(order * loss - largest);
            zeroth += weight;
            first += weight * loss;
            second += weight * loss * loss;
        }
        let mean = first / zeroth;
        Cumulant { value: largest + libm::log(zeroth), mean, variance: (second / zeroth - mean * mean).max(0.0) }
    }
}

/// `ln(λ^λ/(1+λ)^(1+λ))`.
pub(super) fn log_factor(order: f64) -> f64 {
    if order == 0.0 { 0.0 } else { order * libm::log(order) - (1.0 + order) * libm::log1p(order) }
}

/// The largest order for which `low_enough` still holds, roughly.
fn search(low_enough: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = LOG_ORDERS;
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if low_enough(libm::exp(middle)) { low = middle } else { high = middle }
    }
    libm::exp(low)
}
