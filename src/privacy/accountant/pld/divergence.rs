//! δ as a function of ε, from the distribution of a sum.

use super::compose::Tilted;
use super::sum::Sum;
use super::window::Window;

/// Upper bounds on `δ(ε)` of a composed sum, for ε inside its window.
pub(in super::super) struct Divergence {
    interval: f64,
    /// The first loss of the window in intervals.
    first: i64,
    order: f64,
    /// The loss at which tilting changes nothing: that in the middle.
    center: f64,
    /// What the values of `dots` and `error` are multiples of.
    scale: f64,
    /// At each loss L of the window, `E[1 - e^(L-X)]` and `E[e^(L-X)]` over the sums X from L on.
    dots: Vec<(f64, f64)>,
    /// A bound on the rounding errors at the center.
    error: f64,
    /// What is added to every δ: infinite sums and those above the window.
    above: f64,
}

/// See where it is used.
const DIGIT: usize = 512;

impl Divergence {
    pub(super) fn new(sum: &Sum, window: Window, tilted: Tilted) -> Option<Divergence> {
        let Tilted { order, log_moment, first, masses, error } = tilted;
        let interval = sum.interval;
        let (count, center) = (masses.len() as f64, first as f64 * interval);
        let width = count * interval;
        let (shrink, grow) = (libm::exp(-interval), -libm::expm1(-interval));
        let (mut over, mut rest) = (0.0, 0.0);
        // Exponentials of a loss's higher and lower digits.
        let weight = |i: usize| libm::exp(-order * (i as f64 * interval));
        let lower: Vec<f64> = (0..DIGIT).map(weight).collect();
        let higher: Vec<f64> = (0..=masses.len() / DIGIT).map(|i| weight(i * DIGIT)).collect();
        let dot = |(i, mass): (usize, &f64)| {
            over += grow * rest;
            rest = shrink * rest + mass.max(0.0) * higher[i / DIGIT] * lower[i % DIGIT];
            (over, rest)
        };
        let mut dots: Vec<(f64, f64)> = masses.iter().enumerate().rev().map(dot).collect();
        dots.reverse();
        // The norm of the weights e^(-λL) from the center on.
        let weights = (1.0 / -libm::expm1(-2.0 * order * interval)).min(count);
        // Each dot follows from those after it by a few operations, and so do their errors; exponents err
        // relatively.
        let exponents = log_moment.abs() + order * (center.abs() + width);
        let rounding = f64::EPSILON * (8.0 * count + (4.0 + sum.terms.len() as f64) * exponents);
        let scale = libm::exp(log_moment - order * center) * (1.0 + 2.0 * rounding);
        let end = (first as f64 + count - 1.0) * interval;
        let above = sum.infinite() + sum.above(window.above, end);
        let error = error * libm::sqrt(weights);
        let valid = rounding < 0.1 && scale > 0.0 && scale.is_finite() && error.is_finite() && above.is_finite();
        valid.then_some(Divergence { interval, first, order, center, scale, dots, error, above })
    }

    fn loss(&self, i: usize) -> f64 {
        (self.first + i as i64) as f64 * self.interval
    }

    fn error_from(&self, i: usize) -> f64 {
        self.error * libm::exp(-self.order * (self.loss(i) - self.center))
    }

    /// What rounding errors add to δ at `epsilon`.
    pub fn error(&self, epsilon: f64) -> f64 {
        self.scale * self.error * libm::exp(-self.order * (epsilon - self.center))
    }

    /// 1 below the window.
    pub fn delta(&self, epsilon: f64) -> f64 {
        let start = self.loss(0);
        if epsilon < start || epsilon.is_nan() {
            return 1.0;
        }
        let i = libm::ceil((epsilon - start) / self.interval) as usize;
        let divergence = self.dots.get(i).map_or(0.0, |&(over, rest)| {
            let gap = -libm::expm1((epsilon - self.loss(i)).min(0.0));
            over + gap * rest + self.error_from(i.saturating_sub(1))
        });
        (self.above + self.scale * divergence).min(1.0)
    }

    /// How fast `ln δ` falls with ε at `epsilon`.
    pub fn slope(&self, epsilon: f64) -> f64 {
        let i = libm::floor((epsilon - self.loss(0)) / self.interval).max(0.0) as usize;
        match self.dots.get(i) {
            Some(&(over, rest)) if over > 0.0 => rest / over,
            _ => self.order,
        }
    }

    /// The least ε ≥ 0 in the window at `delta`; infinite where there is none.
    pub fn epsilon(&self, delta: f64) -> f64 {
        let goal = (delta - self.above) / self.scale;
        let reached = |i: usize| self.dots[i].0 + self.error_from(i) <= goal;
        let (mut low, mut high) = (0, self.dots.len());
        while low < high {
            let middle = (low + high) / 2;
            if reached(middle) { high = middle } else { low = middle + 1 }
        }
        let epsilon = match low {
            0 if reached(0) => self.loss(0),
            i if i < self.dots.len() => {
                // Between two points δ is a chord in e^ε.
                let (over, rest) = self.dots[i];
                let gap = (goal - self.error_from(i - 1) - over) / rest;
                let gap = if gap > 0.0 && gap < 1.0 { gap } else { 0.0 };
                (self.loss(i) + libm::log1p(-gap)).max(self.loss(i - 1))
            }
            _ => f64::INFINITY,
        };
        epsilon.max(0.0) * (1.0 + 4.0 * f64::EPSILON)
    }
}
