//! Pairs of distributions that dominate a step, as the masses that they put on privacy losses.
//!
//! The loss of an outcome is the logarithm of the ratio of the densities of the pair's first
//! distribution, P, and its second, Q.

use std::f64::consts::LN_2;

use super::super::gaussian::{upper_tail, variation};

/// The probabilities that both distributions of a pair give to a set of losses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in super::super) struct Masses {
    pub p: f64,
    pub q: f64,
}

/// How a pair is made of `N = N(0, 1)`, its shift `N(μ) = N(μ, 1)` and the probability q of the shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Shape {
    /// `(1-q) N + q N(μ)` against `N`.
    Remove,
    /// `N` against `(1-q) N + q N(μ)`.
    Add,
    /// `(1-q) N + q N(μ)` against `(1-q) N + q N(-μ)`.
    Replace,
    /// The pair whose divergences are the larger ones of `Remove` and `Add`: its positive losses are those
    /// of `Remove`, its negative ones those of `Add`, and the rest of both distributions has the loss 0.
    Larger,
}

/// A dominating pair of a subsampled Gaussian.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Pair {
    pub shape: Shape,
    /// μ > 0.
    pub shift: f64,
    /// q in (0, 1].
    pub rate: f64,
}

/// The dominating pair of one step: one of several, with the probability of each, and which one it is can
/// be told from the outcome. The probabilities may sum to a little more than 1, as larger ones only add to
/// every divergence.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Step(pub Vec<(f64, Pair)>);

impl Step {
    /// The masses on losses above `loss` ≥ 0.
    pub fn above(&self, loss: f64) -> Masses {
        self.weighted(|pair| pair.above(loss))
    }

    /// The masses on losses below `loss` ≤ 0.
    pub fn below(&self, loss: f64) -> Masses {
        self.weighted(|pair| pair.below(loss))
    }

    /// The masses of all losses.
    pub fn total(&self) -> f64 {
        self.0.iter().map(|(weight, _)| weight).sum()
    }

    /// Losses, one of either sign, outside of which P has about `tail` of each pair at most.
    pub fn range(&self, tail: f64) -> (f64, f64) {
        let deviations = |weight: f64| libm::sqrt((2.0 * libm::log(weight / tail)).max(0.0));
        let ranges = self.0.iter().map(|(weight, pair)| pair.range(deviations(*weight)));
        ranges.fold((0.0, 0.0), |(low, high), (least, most)| (f64::min(low, least), f64::max(high, most)))
    }

    /// A loss that is neither rare nor small beside the usual ones.
    pub fn typical(&self) -> f64 {
        let losses = self.0.iter().map(|(_, pair)| pair.subsampled(pair.shift.min(1.0)));
        losses.fold(f64::INFINITY, f64::min)
    }

    /// A bound on the total variation between both distributions, and so on δ at any ε ≥ 0.
    pub fn variation(&self) -> f64 {
        let one = |pair: &Pair| pair.rate * variation(pair.distance());
        self.0.iter().map(|(weight, pair)| weight * one(pair)).sum()
    }

    /// The shift of the Gaussian mechanism that dominates the step, as if every unit entered every batch.
    pub fn distance(&self) -> f64 {
        self.0.iter().map(|(_, pair)| pair.distance()).fold(0.0, f64::max)
    }

    /// Whether a unit may stay out of the batch.
    pub fn is_sampled(&self) -> bool {
        self.0.iter().any(|(_, pair)| pair.rate < 1.0)
    }

    fn weighted(&self, masses: impl Fn(&Pair) -> Masses) -> Masses {
        self.0.iter().fold(Masses::default(), |sum, (weight, pair)| {
            let Masses { p, q } = masses(pair);
            Masses { p: sum.p + weight * p, q: sum.q + weight * q }
        })
    }
}

impl Pair {
    fn distance(&self) -> f64 {
        if self.shape == Shape::Replace { 2.0 * self.shift } else { self.shift }
    }

    fn mix(&self, plain: f64, shifted: f64) -> f64 {
        (1.0 - self.rate) * plain + self.rate * shifted
    }

    /// `ln(1-q + q e^ℓ)`: the loss of `Remove` where the shift alone would lose ℓ.
    fn subsampled(&self, log_ratio: f64) -> f64 {
        if self.rate == 1.0 {
            return log_ratio;
        }
        if log_ratio < 700.0 {
            return libm::log1p(self.rate * libm::expm1(log_ratio));
        }
        let log_term = libm::log(self.rate) + log_ratio;
        if log_term < 0.0 {
            libm::log1p(libm::exp(log_term) - self.rate)
        } else {
            log_term + libm::log1p((1.0 - self.rate) * libm::exp(-log_term))
        }
    }

    fn remove_loss(&self, outcome: f64) -> f64 {
        self.subsampled(self.shift * (outcome - 0.5 * self.shift))
    }

    /// The outcome at which the loss of `Remove` is `loss`.
    fn remove_outcome(&self, loss: f64) -> f64 {
        let log_ratio = if self.rate == 1.0 {
            loss
        } else if loss < 1.0 {
            libm::log1p((libm::expm1(loss) / self.rate).max(-1.0))
        } else {
            loss - libm::log(self.rate) + libm::log1p((self.rate - 1.0) * libm::exp(-loss))
        };
        log_ratio / self.shift + 0.5 * self.shift
    }

    fn replace_loss(&self, outcome: f64) -> f64 {
        self.remove_loss(outcome) - self.remove_loss(-outcome)
    }

    /// The outcome y at which the loss of `Replace` is L: with `u = μy` and `c = (1-q)/q e^(μ²/2)`,
    /// `(c + e^u)/(c + e^-u) = e^L`, and so `sinh(u - L/2) = c sinh(L/2)`.
    fn replace_outcome(&self, loss: f64) -> f64 {
        let half = 0.5 * loss.abs();
        let log_c = libm::log1p(-self.rate) - libm::log(self.rate) + 0.5 * self.shift * self.shift;
        let log_sinh = if half < 20.0 { libm::log(libm::sinh(half)) } else { half - LN_2 };
        let log_product = log_c + log_sinh;
        let lean = if log_product < 300.0 { libm::asinh(libm::exp(log_product)) } else { log_product + LN_2 };
        ((half + lean) / self.shift).copysign(loss)
    }

    fn above(&self, loss: f64) -> Masses {
        match self.shape {
            Shape::Remove | Shape::Larger => {
                let outcome = self.remove_outcome(loss);
                let plain = upper_tail(outcome);
                Masses { p: self.mix(plain, upper_tail(outcome - self.shift)), q: plain }
            }
            Shape::Add => {
                let outcome = self.remove_outcome(-loss);
                let plain = upper_tail(-outcome);
                Masses { p: plain, q: self.mix(plain, upper_tail(self.shift - outcome)) }
            }
            Shape::Replace => {
                let outcome = self.replace_outcome(loss);
                let plain = upper_tail(outcome);
                let shifted = |shift: f64| self.mix(plain, upper_tail(outcome - shift));
                Masses { p: shifted(self.shift), q: shifted(-self.shift) }
            }
        }
    }

    /// The losses of a pair and of the pair turned round are each other's negatives.
    fn below(&self, loss: f64) -> Masses {
        let turned = match self.shape {
            Shape::Remove => Shape::Add,
            Shape::Add => Shape::Remove,
            symmetric => symmetric,
        };
        let Masses { p, q } = Pair { shape: turned, ..*self }.above(-loss);
        Masses { p: q, q: p }
    }

    fn range(&self, z: f64) -> (f64, f64) {
        match self.shape {
            Shape::Remove => (self.remove_loss(-z), self.remove_loss(self.shift + z)),
            Shape::Add => (-self.remove_loss(z), -self.remove_loss(-z)),
            Shape::Replace => (self.replace_loss(-z), self.replace_loss(self.shift + z)),
            Shape::Larger => (-self.remove_loss(z), self.remove_loss(self.shift + z)),
        }
    }
}
