//! What an audit found, for people and as JSON.

use std::fmt;

use serde::Serialize;

/// One thing that was measured, and between which numbers it has to be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What was measured.
    pub name: String,
    /// The figure.
    pub figure: f64,
    /// The least that it may be.
    pub at_least: Option<f64>,
    /// The most that it may be.
    pub at_most: Option<f64>,
    /// Whether it is in its bounds; a figure that is not a number is not.
    pub passed: bool,
    /// How it was measured, or where it came from.
    pub detail: String,
}

impl Check {
    fn new(name: &str, figure: f64, [at_least, at_most]: [Option<f64>; 2]) -> Check {
        let passed = at_least.is_none_or(|least| figure >= least) && at_most.is_none_or(|most| figure <= most);
        Check {
            name: name.to_owned(),
            figure,
            at_least,
            at_most,
            passed: passed && !figure.is_nan(),
            detail: String::new(),
        }
    }

    /// `figure` must be at most `bound`.
    pub fn at_most(name: &str, figure: f64, bound: f64) -> Check {
        Check::new(name, figure, [None, Some(bound)])
    }

    /// `figure` must be within `margin` of `centre`.
    pub fn near(name: &str, figure: f64, centre: f64, margin: f64) -> Check {
        Check::new(name, figure, [Some(centre - margin), Some(centre + margin)])
    }

    /// `figure` must be within bounds.
    pub fn within(name: &str, figure: f64, [at_least, at_most]: [f64; 2]) -> Check {
        Check::new(name, figure, [Some(at_least), Some(at_most)])
    }

    /// `figure` is shown and decides nothing.
    pub fn shown(name: &str, figure: f64) -> Check {
        Check::new(name, figure, [None, None])
    }

    /// The check with a remark.
    pub fn with(self, detail: impl fmt::Display) -> Check {
        Check { detail: detail.to_string(), ..self }
    }

    /// The check with a remark where it has none.
    pub fn with_default(self, detail: impl fmt::Display) -> Check {
        if self.detail.is_empty() { self.with(detail) } else { self }
    }

    /// How far out the figure is: 0 amid its bounds, 1 at one of them, infinite where it is not a number.
    pub fn strain(&self) -> f64 {
        let most = self.at_most.unwrap_or(f64::INFINITY);
        let least = self.at_least.unwrap_or(-most);
        let strain = (self.figure - 0.5 * (least + most)).abs() / (0.5 * (most - least));
        if strain.is_nan() { f64::INFINITY } else { strain }
    }

    fn bound(&self) -> String {
        match (self.at_least, self.at_most) {
            (None, None) => String::new(),
            (None, Some(most)) => format!("≤ {}", number(most)),
            (Some(least), None) => format!("≥ {}", number(least)),
            (Some(least), Some(most)) if least == -most => format!("± {}", number(most)),
            (Some(least), Some(most)) => {
                format!("{} ± {}", number(0.5 * (least + most)), number(0.5 * (most - least)))
            }
        }
    }

    fn verdict(&self) -> &'static str {
        match (self.at_least.or(self.at_most), self.passed) {
            (None, true) => "",
            (_, true) => "pass",
            (_, false) => "FAIL",
        }
    }
}

/// A number to seven digits.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if !(1e-4..1e6).contains(&size) => format!("{value:.2e}"),
        size => {
            let decimals = (6 - size.log10().floor() as i32).clamp(0, 7) as usize;
            let text = format!("{value:.decimals$}");
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text,
            }
        }
    }
}

/// A confidence in words.
pub fn percent(confidence: f64) -> String {
    format!("{} %", number(100.0 * confidence))
}

/// Checks of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Section {
    /// What they are about.
    pub title: String,
    /// The device they ran on; none where there is none in it.
    pub device: Option<String>,
    /// The checks.
    pub checks: Vec<Check>,
}

impl Section {
    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.passed)
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.device.as_ref().map(|device| format!(" on {device}")).unwrap_or_default();
        writeln!(f, "{}{device}", self.title)?;
        let width = self.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
        for check in &self.checks {
            let (name, figure, bound, verdict) = (&check.name, number(check.figure), check.bound(), check.verdict());
            let line = format!("  {name:<width$}  {figure:>10}  {bound:<14}  {verdict:<4}  {}", check.detail);
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// What became of a plan that was broken on purpose.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Broken {
    /// What was done to it.
    pub name: String,
    /// The device it ran on.
    pub device: String,
    /// Whether any check failed; none where the model has nothing to break in this way.
    pub caught: Option<bool>,
    /// The checks that failed.
    pub by: Vec<Check>,
}

impl Broken {
    /// Whether the audit passed it.
    pub fn survived(&self) -> bool {
        self.caught == Some(false)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.caught {
            None => "does not apply".to_owned(),
            Some(false) => "SURVIVED".to_owned(),
            Some(true) => {
                let by = |check: &Check| format!("{} {} ({})", check.name, number(check.figure), check.bound());
                let shown: Vec<String> = self.by.iter().take(2).map(by).collect();
                let more = self.by.len().saturating_sub(shown.len());
                let more = if more > 0 { format!(", and {more} more") } else { String::new() };
                format!("caught: {}{more}", shown.join(", "))
            }
        };
        write!(f, "  {:<44} {verdict}", self.name)
    }
}

/// Everything that an audit found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The software, as `dpc 0.1.0`.
    pub software: String,
    /// SHA-256 of the source model.
    pub source_model: String,
    /// SHA-256 of the program.
    pub program: String,
    /// What was claimed and how it was audited.
    pub claim: String,
    /// Whether every check passed and every broken plan was caught.
    pub passed: bool,
    /// The checks.
    pub sections: Vec<Section>,
    /// The broken plans, where there were any.
    pub mutations: Vec<Broken>,
    /// Seconds that it took.
    pub seconds: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\nsource {}\nprogram {}\n", self.claim, self.source_model, self.program)?;
        for section in &self.sections {
            writeln!(f, "{section}")?;
        }
        for (i, broken) in self.mutations.iter().enumerate() {
            if i == 0 || self.mutations[i - 1].device != broken.device {
                writeln!(f, "Plans broken on purpose on {}", broken.device)?;
            }
            writeln!(f, "{broken}")?;
        }
        if !self.mutations.is_empty() {
            writeln!(f)?;
        }
        let failed: usize = self.sections.iter().map(|section| section.failures().count()).sum();
        let survived = self.mutations.iter().filter(|broken| broken.survived()).count();
        let total: usize = self.sections.iter().map(|section| section.checks.len()).sum();
        match self.passed {
            true => write!(f, "passed: {total} checks in {:.0} s", self.seconds),
            false => write!(f, "FAILED: {failed} of {total} checks, {survived} broken plans not caught"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_held_to_their_bounds() {
        assert!(Check::at_most("a", 1.0, 1.0).passed);
        assert!(!Check::at_most("a", 1.1, 1.0).passed);
        assert!(!Check::at_most("a", f64::NAN, 1.0).passed);
        assert!(!Check::at_most("a", f64::INFINITY, 1.0).passed);
        assert!(Check::near("a", 0.9, 1.0, 0.2).passed);
        assert!(!Check::near("a", 0.7, 1.0, 0.2).passed);
        assert!(!Check::shown("a", f64::NAN).passed);
    }

    #[test]
    fn numbers_read_well() {
        let texts = [0.0, 1.0, 4.377_178_1, 1.000_001, -0.25, 1e-7, 1234.5, 2e9, f64::INFINITY].map(number);
        assert_eq!(texts, ["0", "1", "4.377178", "1.000001", "-0.25", "1.00e-7", "1234.5", "2.00e9", "inf"]);
    }

    #[test]
    fn a_section_reads_line_by_line() {
        let checks = vec![
            Check::at_most("largest change", 0.999_999_9, 1.000_001).with("a record of NaN"),
            Check::near("deviation", 1.2, 1.0, 0.1),
            Check::shown("lower bound at 95 %", 3.9),
        ];
        let section = Section { title: "Noise".to_owned(), device: Some("cpu".to_owned()), checks };
        insta::assert_snapshot!(section.to_string(), @r"
        Noise on cpu
          largest change        0.9999999  ≤ 1.000001      pass  a record of NaN
          deviation                   1.2  1 ± 0.1         FAIL
          lower bound at 95 %         3.9
        ");
    }
}
