//! Learning rates of parameters that differ from that of the others: `GLOB=RATE`, as in `encoder.*=0.1`.
//!
//! The rate takes the place of the run's for the parameters that fit, and its schedule multiplies it as well. Of several
//! patterns that a parameter fits the last counts. It multiplies what the noise has been added to, so it costs no privacy.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::glob::Glob;
use crate::lower::program::{Program, Role};

/// The learning rate of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Of the parameters that have none of their own, before the schedule.
    pub base: f64,
    /// What the schedule makes of every rate.
    pub factor: f64,
}

impl From<f64> for Rate {
    fn from(base: f64) -> Rate {
        Rate { base, factor: 1.0 }
    }
}

/// The learning rate of the parameters whose names fit a pattern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LrFor {
    glob: Glob,
    rate: f64,
}

/// What is not a pattern with a learning rate.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
#[error("`{text}` is not a pattern with a learning rate above 0")]
#[diagnostic(code(dpc::train::lr_for), help("write PATTERN=RATE, as in 'encoder.*=0.1'"))]
pub struct InvalidLrFor {
    text: String,
}

/// Patterns without a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
#[error("no trained parameter fits {}", patterns.join(", "))]
#[diagnostic(code(dpc::train::lr_for_nothing), help("what is trained: {}", trained.join(", ")))]
pub struct Unmatched {
    patterns: Vec<String>,
    trained: Vec<String>,
}

/// The learning rates of the parameters of `program` that have one of their own, by name.
///
/// # Errors
/// When a pattern fits no parameter that is trained.
pub fn resolve(rates: &[LrFor], program: &Program) -> Result<BTreeMap<String, f64>, Unmatched> {
    let trained = program.ids().filter_map(|id| match &program.buffer(id).role {
        Role::GradientSum(name) | Role::GridSum(name) => Some(name.clone()),
        _ => None,
    });
    let mut trained: Vec<String> = trained.collect();
    trained.sort();
    trained.dedup();
    let fits = |of: &LrFor| trained.iter().any(|name| of.glob.matches(name));
    let patterns: Vec<String> = rates.iter().filter(|of| !fits(of)).map(|of| format!("`{}`", of.glob)).collect();
    if !patterns.is_empty() {
        return Err(Unmatched { patterns, trained });
    }
    let rate = |name: &String| rates.iter().rfind(|of| of.glob.matches(name)).map(|of| of.rate);
    Ok(trained.into_iter().filter_map(|name| rate(&name).map(|rate| (name, rate))).collect())
}

impl LrFor {
    /// The pattern of the parameters' names.
    pub fn pattern(&self) -> String {
        self.glob.to_string()
    }

    /// Their learning rate, before the schedule.
    pub fn rate(&self) -> f64 {
        self.rate
    }
}

impl FromStr for LrFor {
    type Err = InvalidLrFor;

    fn from_str(text: &str) -> Result<Self, InvalidLrFor> {
        let invalid = || InvalidLrFor { text: text.to_owned() };
        let (glob, rate) = text.rsplit_once('=').filter(|(glob, _)| !glob.is_empty()).ok_or_else(invalid)?;
        let rate = rate.trim().parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0).ok_or_else(invalid)?;
        Ok(Self { glob: Glob::new(glob), rate })
    }
}

impl fmt::Display for LrFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.glob, self.rate)
    }
}

impl TryFrom<String> for LrFor {
    type Error = InvalidLrFor;

    fn try_from(text: String) -> Result<Self, InvalidLrFor> {
        text.parse()
    }
}

impl From<LrFor> for String {
    fn from(rate: LrFor) -> Self {
        rate.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::DType;
    use crate::lower::program::{Buffer, Extent};

    fn program(trained: &[&str]) -> Program {
        let role = |name: &&str| Role::GradientSum((*name).to_owned());
        let buffer = |role| Buffer { name: String::new(), dtype: DType::F32, len: Extent::fixed(1), role, slot: 0 };
        Program { buffers: trained.iter().map(role).map(buffer).collect(), ..Program::default() }
    }

    #[test]
    fn the_last_pattern_that_fits_counts() {
        let rates: Vec<LrFor> = ["a.*=0.5", "*.w=2e-3"].map(|text| text.parse().unwrap()).into();
        let found = resolve(&rates, &program(&["a.w", "a.b", "c.w", "c.b"])).unwrap();
        let expected = [("a.b", 0.5), ("a.w", 0.002), ("c.w", 0.002)].map(|(name, rate)| (name.to_owned(), rate));
        assert_eq!(found, BTreeMap::from(expected));
        assert_eq!(rates[1].to_string(), "*.w=0.002");
    }

    #[test]
    fn patterns_that_fit_nothing_are_told_at_once() {
        let rates: Vec<LrFor> = ["b=1", "a*=1", "c.?=1"].map(|text| text.parse().unwrap()).into();
        let error = resolve(&rates, &program(&["a.w"])).unwrap_err();
        assert_eq!(error.to_string(), "no trained parameter fits `b`, `c.?`");
    }

    #[test]
    fn refuses_what_is_no_rate() {
        for text in ["", "a", "=1", "a=", "a=0", "a=-1", "a=inf", "a=x"] {
            assert!(text.parse::<LrFor>().is_err(), "{text}");
        }
        assert_eq!("a=b=1".parse::<LrFor>().unwrap().to_string(), "a=b=1");
    }
}
