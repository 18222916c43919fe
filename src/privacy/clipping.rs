//! The clip rule: how the norm of a sample's gradient becomes the factor that bounds it.
//!
//! This is the definition that the device kernels are tested against.

use std::fmt;
use std::str::FromStr;

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How each sample's gradient is scaled before the sum. Written `flat:C` in text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ClipRule {
    /// One bound on the L2 norm of the gradient over all parameters together
    /// (Abadi et al. 2016, <https://arxiv.org/abs/1607.00133>, Algorithm 1).
    Flat {
        /// The bound C, finite and positive.
        c: f64,
    },
}

impl ClipRule {
    /// The flat rule with bound `c`.
    ///
    /// # Errors
    /// When `c` is not a finite positive number.
    pub fn flat(c: f64) -> Result<ClipRule, InvalidClipRule> {
        if c.is_finite() && c > 0.0 {
            Ok(ClipRule::Flat { c })
        } else {
            Err(InvalidClipRule { text: format!("flat:{c}") })
        }
    }

    /// The L2 sensitivity of the sum of clipped gradients to adding or removing one record.
    pub fn sensitivity(self) -> f64 {
        match self {
            ClipRule::Flat { c } => c,
        }
    }

    /// The factor in `[0, 1]` for a gradient of L2 norm `norm`: `min(1, C/norm)`, and 0 where the norm
    /// is NaN or infinite, so that such a gradient counts as zero.
    pub fn factor(self, norm: f32) -> f32 {
        match self {
            ClipRule::Flat { c } if norm.is_finite() => (c / f64::from(norm.abs())).min(1.0) as f32,
            ClipRule::Flat { .. } => 0.0,
        }
    }
}

/// A clip rule that could not be read.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
#[error("`{text}` is not a clip rule")]
#[diagnostic(code(dpc::privacy::clip_rule), help("write `flat:C` with a finite bound C > 0, for example `flat:1.0`"))]
pub struct InvalidClipRule {
    text: String,
}

impl FromStr for ClipRule {
    type Err = InvalidClipRule;

    fn from_str(text: &str) -> Result<ClipRule, InvalidClipRule> {
        let invalid = || InvalidClipRule { text: text.to_owned() };
        let bound = text.strip_prefix("flat:").ok_or_else(invalid)?;
        let c = bound.parse().map_err(|_| invalid())?;
        ClipRule::flat(c).map_err(|_| invalid())
    }
}

impl fmt::Display for ClipRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClipRule::Flat { c } => write!(f, "flat:{c:?}"),
        }
    }
}

impl TryFrom<String> for ClipRule {
    type Error = InvalidClipRule;

    fn try_from(text: String) -> Result<ClipRule, InvalidClipRule> {
        text.parse()
    }
}

impl From<ClipRule> for String {
    fn from(rule: ClipRule) -> String {
        rule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_the_same_bound() {
        for c in [1.0, 0.1, 1e-30, 1e30, 1.0 / 3.0] {
            let rule = ClipRule::flat(c).unwrap();
            assert_eq!(rule.to_string().parse(), Ok(rule));
        }
        assert_eq!("flat:1".parse(), ClipRule::flat(1.0));
        assert_eq!(ClipRule::flat(1.0).unwrap().to_string(), "flat:1.0");
    }

    #[test]
    fn refuses_what_is_not_a_bound() {
        for text in ["", "flat", "flat:", "flat:x", "flat:0", "flat:-1", "flat:nan", "flat:inf", "fluffy:1"] {
            assert!(text.parse::<ClipRule>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_factor_bounds_every_gradient() {
        let rule = ClipRule::flat(0.5).unwrap();
        assert_eq!(rule.factor(0.0), 1.0);
        assert_eq!(rule.factor(0.5), 1.0);
        assert_eq!(rule.factor(0.4), 1.0);
        assert_eq!(rule.factor(2.0), 0.25);
        assert_eq!(rule.factor(f32::MIN_POSITIVE), 1.0);
        assert!(f64::from(rule.factor(f32::MAX)) * f64::from(f32::MAX) <= 0.5 * (1.0 + 1e-6));
        for norm in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(rule.factor(norm), 0.0);
        }
    }
}
