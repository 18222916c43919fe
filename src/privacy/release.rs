//! What one logical step releases, as one Gaussian mechanism.
//!
//! Besides the gradient a step may release noisy sums over the same batch: the counts that steer adaptive
//! clip bounds, and estimates of the batch size and the loss. Each is a Gaussian mechanism with a noise
//! multiplier of its own, and all of them together are one: scaled to a common sensitivity, they are a
//! vector to which spherical noise is added, so that the multiplier z of the whole step is given by
//! `z⁻² = Σ s⁻²` over the parts (Andrew et al. 2021, <https://arxiv.org/abs/1905.03871>, Theorem 1, for the
//! gradient and one count). The plan fixes z, which is what is charged for; the other parts take their
//! share, and the gradient gets the rest. It never gets more than the plan paid for.

use std::fmt;
use std::str::FromStr;

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Noise multipliers of the parts of one step, each relative to the part's own sensitivity to adding or
/// removing one unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Multipliers {
    /// z, of the whole step.
    pub step: f64,
    /// Of the gradient sum.
    pub gradient: f64,
    /// Of the counts of units below their clip bounds, where bounds adapt.
    pub counts: Option<f64>,
    /// Of each estimate, where there are estimates.
    pub estimate: Option<f64>,
}

impl Multipliers {
    /// Divides a step of multiplier `step` between the gradient, counts of multiplier `counts` and
    /// `estimates`. `None` where nothing is left for the gradient.
    pub(super) fn divide(step: f64, counts: Option<f64>, estimates: Option<&Estimates>) -> Option<Multipliers> {
        let estimate = estimates.map(|estimates| step / (estimates.share / Estimates::COUNT as f64).sqrt());
        // The share of each part in z⁻²; a step without noise has nothing to divide.
        let of_counts = counts.map_or(0.0, |counts| (step / counts).powi(2));
        let rest = 1.0 - of_counts - estimates.map_or(0.0, |estimates| estimates.share);
        (rest > 0.0).then(|| Multipliers { step, gradient: step / rest.sqrt(), counts, estimate })
    }
}

/// Noisy estimates of a step's batch size and loss, paid for within the step.
///
/// Written `share=S,loss-bound=B`, either left out for its default.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Estimates {
    /// The share, in (0, 1), of the step's `z⁻²` that both take together: σ of the gradient grows by
    /// `1/√(1-share)`.
    pub share: f64,
    /// What each unit's loss is clamped to from above, as it is to 0 from below, and so the sensitivity of the loss sum.
    pub loss_bound: f64,
}

impl Default for Estimates {
    fn default() -> Estimates {
        Estimates { share: 0.02, loss_bound: 10.0 }
    }
}

impl Estimates {
    /// How many numbers are released: the batch size and the sum of losses.
    pub const COUNT: usize = 2;

    /// The sensitivity of each number.
    pub fn sensitivities(&self) -> [f64; Estimates::COUNT] {
        [1.0, self.loss_bound]
    }

    /// What a unit of loss `loss` adds to each number. A loss that is not a number counts as the bound.
    pub fn of_unit(&self, loss: f64) -> [f64; Estimates::COUNT] {
        let clamped = if loss.is_nan() { self.loss_bound } else { loss.clamp(0.0, self.loss_bound) };
        [1.0, clamped]
    }
}

/// Estimates that could not be read.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
#[error("`{text}` does not say how to estimate metrics")]
#[diagnostic(
    code(dpc::privacy::estimates),
    help("write share=0.02,loss-bound=10 with a share between 0 and 1 and a bound above 0, or leave either out")
)]
pub struct InvalidEstimates {
    text: String,
}

impl FromStr for Estimates {
    type Err = InvalidEstimates;

    fn from_str(text: &str) -> Result<Estimates, InvalidEstimates> {
        let invalid = || InvalidEstimates { text: text.to_owned() };
        let mut estimates = Estimates::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(invalid)?;
            let value = value.parse().map_err(|_| invalid())?;
            match key {
                "share" => estimates.share = value,
                "loss-bound" => estimates.loss_bound = value,
                _ => return Err(invalid()),
            }
        }
        let share = estimates.share > 0.0 && estimates.share < 1.0;
        let bound = estimates.loss_bound > 0.0 && estimates.loss_bound.is_finite();
        if share && bound { Ok(estimates) } else { Err(invalid()) }
    }
}

impl fmt::Display for Estimates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "share={:?},loss-bound={:?}", self.share, self.loss_bound)
    }
}

impl TryFrom<String> for Estimates {
    type Error = InvalidEstimates;

    fn try_from(text: String) -> Result<Estimates, InvalidEstimates> {
        text.parse()
    }
}

impl From<Estimates> for String {
    fn from(estimates: Estimates) -> String {
        estimates.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The multiplier of all parts together.
    fn composed(parts: &Multipliers) -> f64 {
        let counts = parts.counts.map_or(0.0, |s| s.powi(-2));
        let estimates = parts.estimate.map_or(0.0, |s| Estimates::COUNT as f64 * s.powi(-2));
        (parts.gradient.powi(-2) + counts + estimates).sqrt().recip()
    }

    #[test]
    fn the_parts_compose_to_the_step() {
        for step in [0.3, 1.0, 7.0] {
            for counts in [None, Some(20.0)] {
                for estimates in [None, Some(Estimates::default()), Some(Estimates { share: 0.3, loss_bound: 2.0 })] {
                    let parts = Multipliers::divide(step, counts, estimates.as_ref()).unwrap();
                    assert!((composed(&parts) / step - 1.0).abs() < 1e-12, "{parts:?}");
                    assert!(parts.gradient >= step);
                }
            }
        }
    }

    /// Andrew et al. 2021: `z_Δ = (z⁻² - (2σ_b)⁻²)^(-1/2)`, the count's sensitivity being 1/2.
    #[test]
    fn a_count_costs_what_the_paper_says() {
        let (z, sigma_b) = (1.1, 12.8);
        let parts = Multipliers::divide(z, Some(2.0 * sigma_b), None).unwrap();
        let expected = (f64::powi(z, -2) - f64::powi(2.0 * sigma_b, -2)).powf(-0.5);
        assert!((parts.gradient - expected).abs() < 1e-12);
    }

    #[test]
    fn nothing_is_left_for_a_gradient_behind_louder_parts() {
        assert_eq!(Multipliers::divide(1.0, Some(1.0), None), None);
        assert_eq!(Multipliers::divide(1.0, Some(0.5), None), None);
        let all = Estimates { share: 0.99, loss_bound: 1.0 };
        assert_eq!(Multipliers::divide(1.0, Some(5.0), Some(&all)), None);
        assert_eq!(Multipliers::divide(0.0, Some(5.0), None).unwrap().gradient, 0.0);
    }

    #[test]
    fn estimates_read_back_and_bound_each_unit() {
        assert_eq!("".parse(), Ok(Estimates::default()));
        let estimates: Estimates = "loss-bound=4".parse().unwrap();
        assert_eq!(estimates.to_string(), "share=0.02,loss-bound=4.0");
        for text in ["share=0", "share=1", "loss-bound=inf", "loss-bound=0", "x=1", "share"] {
            assert!(text.parse::<Estimates>().is_err(), "{text}");
        }
        for loss in [-1.0, 0.5, 5.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            let unit = estimates.of_unit(loss);
            assert!(unit.iter().zip(estimates.sensitivities()).all(|(value, most)| (0.0..=most).contains(value)));
        }
    }
}
