//! How the learning rate changes over the steps of a run.
//!
//! In the words of the plan's schedules ([`Schedule`]), and `cosine[:to=0.01]` and `linear[:to=0.01]`, which go from 1 to
//! `to` (0 where it is left out) over the planned steps; `warmup=STEPS` may stand among the options of each, as in
//! `cosine:warmup=100` or `constant:warmup=100`. Step t, counted from 0, of a warm-up of W steps has the factor (t + 1)/W;
//! what follows counts its steps from there on. The factors are those of PyTorch's `StepLR`, `ExponentialLR`,
//! `CosineAnnealingLR` and `LinearLR`. They are public numbers, known before training: no privacy is paid for them.

use std::fmt;
use std::str::FromStr;

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::privacy::schedule::Schedule;

/// A factor of the learning rate for each logical step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LrSchedule {
    /// Steps of a rise to 1.
    warmup: u64,
    shape: Shape,
}

/// What follows the warm-up.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Factors(Schedule),
    Cosine { to: f64 },
    Linear { to: f64 },
}

impl Default for Shape {
    fn default() -> Self {
        Shape::Factors(Schedule::Constant)
    }
}

/// A schedule that could not be read.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
#[error("`{text}` is not a schedule of the learning rate")]
#[diagnostic(
    code(dpc::train::lr_schedule),
    help(
        "write constant, step:every=100,factor=0.9, exponential:factor=0.999, table:0=1,100=0.8, cosine or linear, the last \
         two with :to=0.01 if they are not to end at 0, each with warmup=100 among its options if wanted"
    )
)]
pub struct InvalidLrSchedule {
    text: String,
}

impl LrSchedule {
    /// 1 throughout.
    pub const CONSTANT: LrSchedule = LrSchedule { warmup: 0, shape: Shape::Factors(Schedule::Constant) };

    /// The factor of step number `step` of `steps` planned ones, counted from 0.
    pub fn at(&self, step: u64, steps: u64) -> f64 {
        if step < self.warmup {
            return (step + 1) as f64 / self.warmup as f64;
        }
        let (step, steps) = (step - self.warmup, steps.saturating_sub(self.warmup).max(1));
        let part = (step as f64 / steps as f64).min(1.0);
        match &self.shape {
            Shape::Factors(schedule) => schedule.at(step),
            Shape::Cosine { to } => to + (1.0 - to) * (1.0 + (std::f64::consts::PI * part).cos()) / 2.0,
            Shape::Linear { to } => 1.0 + (to - 1.0) * part,
        }
    }
}

impl FromStr for LrSchedule {
    type Err = InvalidLrSchedule;

    fn from_str(text: &str) -> Result<Self, InvalidLrSchedule> {
        parse(text).ok_or_else(|| InvalidLrSchedule { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<LrSchedule> {
    let (name, options) = text.split_once(':').unwrap_or((text, ""));
    let (mut warmup, mut rest) = (None, Vec::new());
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.strip_prefix("warmup=") {
            Some(steps) if warmup.is_none() => warmup = Some(steps.parse().ok()?),
            Some(_) => return None,
            None => rest.push(option),
        }
    }
    let to = || match &rest[..] {
        [] => Some(0.0),
        [to] => to.strip_prefix("to=")?.parse().ok().filter(|to: &f64| to.is_finite() && *to >= 0.0),
        _ => None,
    };
    let shape = match (name, rest.is_empty()) {
        ("cosine", _) => Shape::Cosine { to: to()? },
        ("linear", _) => Shape::Linear { to: to()? },
        (name, true) => Shape::Factors(name.parse().ok()?),
        (name, false) => Shape::Factors(format!("{name}:{}", rest.join(",")).parse().ok()?),
    };
    Some(LrSchedule { warmup: warmup.unwrap_or(0), shape })
}

impl fmt::Display for LrSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let curve = |name: &str, to: f64| if to == 0.0 { name.to_owned() } else { format!("{name}:to={to:?}") };
        let text = match &self.shape {
            Shape::Factors(schedule) => schedule.to_string(),
            Shape::Cosine { to } => curve("cosine", *to),
            Shape::Linear { to } => curve("linear", *to),
        };
        match self.warmup {
            0 => f.write_str(&text),
            warmup => write!(f, "{text}{}warmup={warmup}", if text.contains(':') { "," } else { ":" }),
        }
    }
}

impl TryFrom<String> for LrSchedule {
    type Error = InvalidLrSchedule;

    fn try_from(text: String) -> Result<Self, InvalidLrSchedule> {
        text.parse()
    }
}

impl From<LrSchedule> for String {
    fn from(schedule: LrSchedule) -> Self {
        schedule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Learning rates of `torch.optim.lr_scheduler`, by `models/schedules.py`.
    #[derive(Deserialize)]
    struct Golden {
        text: String,
        factors: Vec<f64>,
    }

    #[test]
    fn factors_are_those_of_pytorch() {
        let goldens = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/goldens/schedules.json"));
        let goldens: Vec<Golden> = serde_json::from_str(goldens).unwrap();
        assert!(goldens.len() > 10);
        for Golden { text, factors } in goldens {
            let schedule: LrSchedule = text.parse().unwrap();
            let steps = factors.len() as u64;
            for (step, expected) in (0..).zip(factors) {
                let found = schedule.at(step, steps);
                assert!((found - expected).abs() < 1e-12, "{text} at {step}: {found} is not {expected}");
            }
        }
    }

    #[test]
    fn reads_and_prints_the_same() {
        for text in
            ["constant", "constant:warmup=5", "cosine", "cosine:to=0.1,warmup=3", "step:every=3,factor=0.5,warmup=2"]
        {
            assert_eq!(text.parse::<LrSchedule>().unwrap().to_string(), text);
        }
        let reordered: LrSchedule = "table:warmup=2,0=1,7=0.5".parse().unwrap();
        assert_eq!(reordered.to_string(), "table:0=1.0,7=0.5,warmup=2");
        assert_eq!(LrSchedule::default(), LrSchedule::CONSTANT);
    }

    #[test]
    fn no_step_is_without_a_rate_and_none_passes_the_plan() {
        for text in ["cosine", "linear", "cosine:warmup=4", "linear:warmup=4"] {
            let schedule: LrSchedule = text.parse().unwrap();
            assert!((0..4).all(|step| schedule.at(step, 4) > 0.0), "{text}");
            assert!(schedule.at(u64::MAX, 4) >= 0.0, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_schedule() {
        for text in [
            "",
            "warmup=3",
            "cosine:to=-1",
            "cosine:to=nan",
            "cosine:from=1",
            "linear:to=0,to=1",
            "cosine:warmup=1,warmup=2",
            "constant:warmup=x",
            "step:every=3",
        ] {
            assert!(text.parse::<LrSchedule>().is_err(), "{text}");
        }
    }
}
