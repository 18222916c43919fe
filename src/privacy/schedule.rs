//! Schedules: how a number of the plan, the noise multiplier or the clip bound, changes over the steps.
//!
//! A schedule gives a factor for each logical step, known before training starts and independent of the
//! data. Written `constant`, `step:every=100,factor=0.9`, `exponential:factor=0.999` or
//! `table:0=1,100=0.8`, where a table's factor holds from its step on.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A factor for each logical step, finite and positive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Schedule {
    /// 1 throughout.
    #[default]
    Constant,
    /// `factor^⌊t/every⌋`.
    Step {
        /// Steps between changes, at least 1.
        every: u64,
        /// What each change multiplies by.
        factor: f64,
    },
    /// `factor^t`.
    Exponential {
        /// What each step multiplies by.
        factor: f64,
    },
    /// The factor of the last row at or before t; the first row is that of step 0.
    Table(Vec<(u64, f64)>),
}

impl Schedule {
    /// The factor of step number `step`, counted from 0.
    pub fn at(&self, step: u64) -> f64 {
        match self {
            Schedule::Constant => 1.0,
            Schedule::Step { every, factor } => power(*factor, step / every),
            Schedule::Exponential { factor } => power(*factor, step),
            Schedule::Table(rows) => {
                let row = rows.iter().take_while(|(from, _)| *from <= step).last();
                row.map_or(1.0, |(_, factor)| *factor)
            }
        }
    }

    /// The factors of `steps` in order, each with the number of steps in a row that have it.
    pub fn runs(&self, steps: Range<u64>) -> Vec<(f64, u64)> {
        let mut runs = Vec::new();
        let mut step = steps.start;
        while step < steps.end {
            let next = self.next_change(step).unwrap_or(steps.end).min(steps.end);
            runs.push((self.at(step), next - step));
            step = next;
        }
        runs
    }

    /// The first step after `step` that may have another factor.
    fn next_change(&self, step: u64) -> Option<u64> {
        match self {
            Schedule::Constant => None,
            Schedule::Step { every, .. } => (step / every + 1).checked_mul(*every),
            Schedule::Exponential { .. } => step.checked_add(1),
            Schedule::Table(rows) => rows.iter().map(|(from, _)| *from).find(|from| *from > step),
        }
    }

    fn is_valid(&self) -> bool {
        let positive = |factor: f64| factor.is_finite() && factor > 0.0;
        match self {
            Schedule::Constant => true,
            Schedule::Step { every, factor } => *every > 0 && positive(*factor),
            Schedule::Exponential { factor } => positive(*factor),
            Schedule::Table(rows) => {
                rows.first().is_some_and(|(from, _)| *from == 0)
                    && rows.is_sorted_by(|a, b| a.0 < b.0)
                    && rows.iter().all(|(_, factor)| positive(*factor))
            }
        }
    }
}

/// `base^exponent`, kept positive and finite however many steps there are.
fn power(base: f64, exponent: u64) -> f64 {
    libm::pow(base, exponent as f64).clamp(1e-100, 1e100)
}

/// A schedule that could not be read.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
#[error("`{text}` is not a schedule")]
#[diagnostic(
    code(dpc::privacy::schedule),
    help(
        "write constant, step:every=100,factor=0.9, exponential:factor=0.999, or table:0=1,100=0.8 with rising steps from 0; factors are above 0"
    )
)]
pub struct InvalidSchedule {
    text: String,
}

impl FromStr for Schedule {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Schedule, InvalidSchedule> {
        let schedule = parse(text).filter(Schedule::is_valid);
        schedule.ok_or_else(|| InvalidSchedule { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<Schedule> {
    let (name, rest) = text.split_once(':').unwrap_or((text, ""));
    let pairs: Vec<(&str, &str)> =
        rest.split(',').filter(|part| !part.is_empty()).map(|part| part.split_once('=')).collect::<Option<_>>()?;
    match (name, &pairs[..]) {
        ("constant", []) => Some(Schedule::Constant),
        ("step", [("every", every), ("factor", factor)] | [("factor", factor), ("every", every)]) => {
            Some(Schedule::Step { every: every.parse().ok()?, factor: factor.parse().ok()? })
        }
        ("exponential", [("factor", factor)]) => Some(Schedule::Exponential { factor: factor.parse().ok()? }),
        ("table", rows) => {
            let rows = rows.iter().map(|(step, factor)| Some((step.parse().ok()?, factor.parse().ok()?)));
            Some(Schedule::Table(rows.collect::<Option<_>>()?))
        }
        _ => None,
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Schedule::Constant => f.write_str("constant"),
            Schedule::Step { every, factor } => write!(f, "step:every={every},factor={factor:?}"),
            Schedule::Exponential { factor } => write!(f, "exponential:factor={factor:?}"),
            Schedule::Table(rows) => {
                let rows: Vec<String> = rows.iter().map(|(step, factor)| format!("{step}={factor:?}")).collect();
                write!(f, "table:{}", rows.join(","))
            }
        }
    }
}

impl TryFrom<String> for Schedule {
    type Error = InvalidSchedule;

    fn try_from(text: String) -> Result<Schedule, InvalidSchedule> {
        text.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> String {
        schedule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 4] =
        ["constant", "step:every=3,factor=0.5", "exponential:factor=0.9", "table:0=1.0,2=0.25,7=2.0"];

    fn schedule(text: &str) -> Schedule {
        text.parse().unwrap()
    }

    #[test]
    fn reads_and_prints_the_same() {
        for text in TEXTS {
            assert_eq!(schedule(text).to_string(), text);
        }
    }

    #[test]
    fn factors_hold_from_their_step_on() {
        let factors = |text: &str| -> Vec<f64> { (0..8).map(|step| schedule(text).at(step)).collect() };
        assert_eq!(factors(TEXTS[0]), [1.0; 8]);
        assert_eq!(factors(TEXTS[1]), [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25]);
        assert_eq!(factors(TEXTS[3]), [1.0, 1.0, 0.25, 0.25, 0.25, 0.25, 0.25, 2.0]);
        assert!((schedule(TEXTS[2]).at(2) - 0.81).abs() < 1e-15);
        assert!(schedule("exponential:factor=0.5").at(u64::MAX) > 0.0);
    }

    #[test]
    fn runs_are_the_factors_of_the_steps() {
        for text in TEXTS {
            let schedule = schedule(text);
            for steps in [0..0, 0..1, 0..7, 0..20, 3..4, 5..20, 20..20] {
                let runs = schedule.runs(steps.clone());
                let flat: Vec<f64> = runs.iter().flat_map(|&(factor, n)| vec![factor; n as usize]).collect();
                let expected: Vec<f64> = steps.map(|step| schedule.at(step)).collect();
                assert_eq!(flat, expected, "{text}");
            }
        }
        assert_eq!(schedule("constant").runs(0..1 << 60), [(1.0, 1 << 60)]);
    }

    #[test]
    fn refuses_what_is_not_a_schedule() {
        for text in [
            "",
            "cosine",
            "constant:1",
            "step:every=0,factor=0.5",
            "step:every=3",
            "exponential:factor=0",
            "exponential:factor=nan",
            "table:",
            "table:1=1",
            "table:0=1,0=2",
            "table:0=-1",
        ] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }
}
