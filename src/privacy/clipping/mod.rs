//! Clipping: how the norm of a unit's gradient becomes the factor that bounds its share of the sum.
//!
//! A [`ClipRule`] is what a user asks for: which parameters are clipped together (the [`ClipScope`]), how their norm
//! becomes a factor (the [`ClipFunction`]), and whether the bounds follow a quantile of the norms ([`Adaptive`]).
//! [`ClipRule::resolve`] turns it into the [`ClipGroup`]s of a model, and [`ClipState`] holds their bounds during a run.
//!
//! These are the definitions that the device kernels are tested against.

mod groups;
mod state;
mod text;

use serde::{Deserialize, Serialize};

pub use groups::{ClipGroup, Misfit, UnfitClipRule};
pub use state::ClipState;
pub use text::{ClipProblem, InvalidClipRule};

use crate::glob::Glob;

/// The smallest bound. The squares of `f32` gradients below 1e-19 underflow, so that a norm of less than this may be
/// taken for zero.
pub const SMALLEST_BOUND: f64 = 1e-12;
/// The largest bound.
pub const LARGEST_BOUND: f64 = 1e30;
/// The smallest and the largest γ of [`ClipFunction::Automatic`].
const GAMMAS: [f64; 2] = [1e-6, 1e6];

/// How each unit's gradient is bounded before the sum. Its text form is
///
/// ```text
/// flat:C | per-layer:C | per-group:GLOB=C;GLOB=C;… | auto:C     then, after commas, options:
///     auto  gamma=G                                             (auto:C is flat:C,auto)
///     adaptive  quantile=Q  rate=R  count-noise=S
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClipRule {
    scope: ClipScope,
    function: ClipFunction,
    adaptive: Option<Adaptive>,
}

/// All parameters together, to a norm of 1.
impl Default for ClipRule {
    fn default() -> ClipRule {
        ClipRule { scope: ClipScope::Flat { bound: 1.0 }, function: ClipFunction::Threshold, adaptive: None }
    }
}

/// Which parameters are clipped together, and to which bound on their L2 norm.
#[derive(Clone, Debug, PartialEq)]
pub enum ClipScope {
    /// All parameters together (Abadi et al. 2016, <https://arxiv.org/abs/1607.00133>, Algorithm 1).
    Flat {
        /// The bound C.
        bound: f64,
    },
    /// Each of the model's K layers by itself, to `C/√K` (McMahan et al. 2018, <https://arxiv.org/abs/1710.06963>, §2).
    PerLayer {
        /// The bound C on all layers together.
        bound: f64,
    },
    /// The parameters that match each pattern by themselves.
    PerGroup {
        /// The patterns, each with its bound.
        bounds: Vec<(Glob, f64)>,
    },
}

impl ClipScope {
    /// The name in text.
    pub fn name(&self) -> &'static str {
        match self {
            ClipScope::Flat { .. } => "flat",
            ClipScope::PerLayer { .. } => "per-layer",
            ClipScope::PerGroup { .. } => "per-group",
        }
    }

    fn bounds(&self) -> Vec<f64> {
        match self {
            ClipScope::Flat { bound } | ClipScope::PerLayer { bound } => vec![*bound],
            ClipScope::PerGroup { bounds } => bounds.iter().map(|(_, bound)| *bound).collect(),
        }
    }
}

/// How a norm becomes a factor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipFunction {
    /// `min(1, C/‖g‖)`.
    Threshold,
    /// `C/(‖g‖ + γ)`, AUTO-S of Bu et al. 2022, <https://arxiv.org/abs/2206.07136>: every gradient is scaled to a norm
    /// below C.
    Automatic {
        /// Keeps the factor of a small gradient small.
        gamma: f64,
    },
}

impl ClipFunction {
    /// The γ that the paper recommends.
    pub const GAMMA: f64 = 0.01;
    /// The largest factor. The sides of an outer product are below 2e19, or their squares are not finite, so that none
    /// overflows that is multiplied by it.
    pub const LARGEST: f32 = 1e18;

    /// The factor for a gradient of L2 norm `norm`, such that their product is at most `bound`; 0 where the norm is NaN
    /// or infinite, so that such a gradient counts as zero.
    pub fn factor(self, norm: f32, bound: f32) -> f32 {
        let (norm, bound) = (f64::from(norm.abs()), f64::from(bound));
        let factor = match self {
            _ if !norm.is_finite() => 0.0,
            ClipFunction::Threshold if norm <= bound => 1.0,
            ClipFunction::Threshold => bound / norm,
            ClipFunction::Automatic { gamma } => bound / (norm + gamma),
        };
        (factor as f32).min(Self::LARGEST)
    }
}

/// Bounds that follow a quantile of the norms by noisy counts (Andrew et al. 2021, <https://arxiv.org/abs/1905.03871>).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adaptive {
    /// The fraction γ of units whose norm is to be below the bound.
    pub quantile: f64,
    /// The rate η of `C ← C·exp(−η(b̃ − γ))`.
    pub rate: f64,
    /// The noise multiplier of the counts, relative to their sensitivity; see [`Adaptive::count_multiplier`].
    pub count_noise: Option<f64>,
}

impl Default for Adaptive {
    fn default() -> Self {
        Adaptive { quantile: 0.5, rate: 0.2, count_noise: None }
    }
}

impl Adaptive {
    /// The noise multiplier of the counts of `groups` clip groups: the one that was asked for, else the
    /// [default](default_count_multiplier).
    pub fn count_multiplier(&self, expected_batch: f64, groups: usize) -> f64 {
        self.count_noise.unwrap_or_else(|| default_count_multiplier(expected_batch, groups))
    }
}

/// The L2 sensitivity `√K/2` of the counts of K clip groups to adding or removing one unit, which moves each of them by
/// a half.
pub fn count_sensitivity(groups: usize) -> f64 {
    (groups as f64).sqrt() / 2.0
}

/// The noise multiplier `L/(10√K)` at which the noise on each count has the standard deviation L/20 that Andrew et al.
/// recommend, L being the expected batch size.
pub fn default_count_multiplier(expected_batch: f64, groups: usize) -> f64 {
    expected_batch / 20.0 / count_sensitivity(groups)
}

impl ClipRule {
    /// A rule of its parts.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn new(
        scope: ClipScope,
        function: ClipFunction,
        adaptive: Option<Adaptive>,
    ) -> Result<ClipRule, InvalidClipRule> {
        let rule = ClipRule { scope, function, adaptive };
        match rule.problems() {
            problems if problems.is_empty() => Ok(rule),
            problems => Err(InvalidClipRule { text: rule.to_string(), problems }),
        }
    }

    /// The flat rule with bound `c`.
    ///
    /// # Errors
    /// When `c` is not a bound.
    pub fn flat(c: f64) -> Result<ClipRule, InvalidClipRule> {
        ClipRule::new(ClipScope::Flat { bound: c }, ClipFunction::Threshold, None)
    }

    /// Which parameters are clipped together.
    pub fn scope(&self) -> &ClipScope {
        &self.scope
    }

    /// How a norm becomes a factor.
    pub fn function(&self) -> ClipFunction {
        self.function
    }

    /// How the bounds move, if they do.
    pub fn adaptive(&self) -> Option<Adaptive> {
        self.adaptive
    }

    /// The L2 sensitivity of the sum of clipped gradients to adding or removing one unit, at the bounds that the rule
    /// states.
    pub fn sensitivity(&self) -> f64 {
        l2(&self.scope.bounds())
    }

    fn problems(&self) -> Vec<ClipProblem> {
        let mut problems = Vec::new();
        for bound in self.scope.bounds() {
            if !(SMALLEST_BOUND..=LARGEST_BOUND).contains(&bound) {
                problems.push(ClipProblem::Bound { text: format!("{bound:?}") });
            }
        }
        let mut expect = |option, value: f64, held: bool, range| {
            if !held {
                problems.push(ClipProblem::Range { option, value, range });
            }
        };
        if let ClipFunction::Automatic { gamma } = self.function {
            expect("gamma", gamma, (GAMMAS[0]..=GAMMAS[1]).contains(&gamma), "1e-6 to 1e6");
        }
        if let Some(Adaptive { quantile, rate, count_noise }) = self.adaptive {
            expect("quantile", quantile, quantile > 0.0 && quantile < 1.0, "above 0, below 1");
            expect("rate", rate, rate > 0.0 && rate <= 10.0, "above 0, up to 10");
            let noise = count_noise.unwrap_or(1.0);
            expect("count-noise", noise, noise > 0.0 && noise.is_finite(), "above 0, finite");
            if self.function != ClipFunction::Threshold {
                problems.push(ClipProblem::AdaptiveAuto);
            }
        }
        problems
    }
}

/// The L2 norm, of numbers whose squares may be out of range.
fn l2(values: &[f64]) -> f64 {
    let largest = values.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    if largest == 0.0 { 0.0 } else { largest * values.iter().map(|v| (v / largest).powi(2)).sum::<f64>().sqrt() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_threshold_shortens_what_is_longer() {
        let factor = |norm: f32| ClipFunction::Threshold.factor(norm, 0.5);
        assert_eq!([0.0, -0.0, 0.4, 0.5, f32::MIN_POSITIVE].map(factor), [1.0; 5]);
        assert_eq!(factor(2.0), 0.25);
        assert_eq!([f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(factor), [0.0; 3]);
    }

    #[test]
    fn automatic_clipping_scales_every_gradient() {
        let factor = |norm: f32| ClipFunction::Automatic { gamma: 0.01 }.factor(norm, 2.0);
        assert_eq!(factor(0.0), 200.0);
        assert_eq!(factor(0.99), 2.0);
        assert_eq!([f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(factor), [0.0; 3]);
    }

    proptest! {
        #[test]
        fn no_gradient_is_longer_than_the_bound(
            norm in 0.0..f32::MAX, small in 0.0f32..2.0, bound in 1e-12f32..1e30, gamma in 1e-6..1e6f64,
        ) {
            for function in [ClipFunction::Threshold, ClipFunction::Automatic { gamma }] {
                for norm in [norm, small, bound, bound * small] {
                    let factor = function.factor(norm, bound);
                    prop_assert!(factor.is_finite() && factor >= 0.0);
                    prop_assert!(f64::from(factor) * f64::from(norm) <= f64::from(bound) * (1.0 + 1e-6));
                }
            }
        }
    }

    #[test]
    fn sensitivity_is_that_of_all_groups_together() {
        let sensitivity = |text: &str| text.parse::<ClipRule>().unwrap().sensitivity();
        assert_eq!(sensitivity("flat:0.1"), 0.1);
        assert_eq!(sensitivity("auto:3"), 3.0);
        assert_eq!(sensitivity("per-layer:0.1"), 0.1);
        assert_eq!(sensitivity("per-group:a=3;b=4"), 5.0);
        assert_eq!(sensitivity("flat:1e-12"), 1e-12);
        assert_eq!(sensitivity("per-group:a=1e30;b=1e-12"), 1e30);
    }

    #[test]
    fn counts_have_the_papers_noise_by_default() {
        for groups in [1, 4, 9] {
            let std = default_count_multiplier(200.0, groups) * count_sensitivity(groups);
            assert!((std - 10.0).abs() < 1e-12);
        }
        let adaptive = Adaptive { count_noise: Some(7.0), ..Adaptive::default() };
        assert_eq!(adaptive.count_multiplier(200.0, 3), 7.0);
        assert_eq!(Adaptive::default().count_multiplier(200.0, 4), 10.0);
    }
}
