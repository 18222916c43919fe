//! The text form of clip rules.

use std::fmt;
use std::str::FromStr;

use miette::Diagnostic;
use thiserror::Error;

use super::{Adaptive, ClipFunction, ClipRule, ClipScope};
use crate::glob::Glob;

/// A clip rule that could not be read.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
#[error("`{text}` is not a clip rule ({})", list(problems))]
#[diagnostic(
    code(dpc::privacy::clip_rule),
    help(
        "write `flat:C`, `per-layer:C`, `per-group:GLOB=C;GLOB=C` or `auto:C` with bounds C > 0, and after commas \
         `auto`, `gamma=G`, `adaptive`, `quantile=Q`, `rate=R` or `count-noise=S`, for example `flat:1.0`"
    )
)]
pub struct InvalidClipRule {
    pub(super) text: String,
    /// Everything that is wrong with it.
    pub problems: Vec<ClipProblem>,
}

fn list(problems: &[ClipProblem]) -> String {
    problems.iter().map(ClipProblem::to_string).collect::<Vec<_>>().join("; ")
}

/// One thing wrong with a clip rule.
#[derive(Clone, Debug, PartialEq, Error)]
#[allow(missing_docs)]
pub enum ClipProblem {
    #[error("there is no scope `{scope}`")]
    Scope { scope: String },
    #[error("the bound `{text}` is not a number from 1e-12 to 1e30")]
    Bound { text: String },
    #[error("`{text}` is not GLOB=C")]
    Group { text: String },
    #[error("there is no option `{text}`")]
    Option { text: String },
    #[error("`{text}` is given twice")]
    Twice { text: String },
    #[error("`{text}` is not a number")]
    Number { text: String },
    #[error("{option} is {value}, and it must be {range}")]
    Range { option: &'static str, value: f64, range: &'static str },
    #[error("`{option}` needs `{needs}`")]
    Needs { option: String, needs: &'static str },
    #[error("automatic clipping has no threshold to adapt")]
    AdaptiveAuto,
}

impl FromStr for ClipRule {
    type Err = InvalidClipRule;

    fn from_str(text: &str) -> Result<ClipRule, InvalidClipRule> {
        let mut problems = Vec::new();
        let mut pieces = text.split(',').map(str::trim);
        let (scope, bound) = pieces.next().and_then(|piece| piece.split_once(':')).unwrap_or((text, ""));
        let parsed = parse_scope(scope, bound, &mut problems);
        let options = Options::parse(pieces, scope == "auto", &mut problems);
        let Some(scope) = parsed.filter(|_| problems.is_empty()) else {
            return Err(InvalidClipRule { text: text.to_owned(), problems });
        };
        let gamma = options.gamma.unwrap_or(ClipFunction::GAMMA);
        let function = if options.auto { ClipFunction::Automatic { gamma } } else { ClipFunction::Threshold };
        let usual = Adaptive::default();
        let adaptive = options.adaptive.then(|| Adaptive {
            quantile: options.quantile.unwrap_or(usual.quantile),
            rate: options.rate.unwrap_or(usual.rate),
            count_noise: options.count_noise,
        });
        ClipRule::new(scope, function, adaptive)
            .map_err(|error| InvalidClipRule { text: text.to_owned(), problems: error.problems })
    }
}

fn parse_scope(scope: &str, bound: &str, problems: &mut Vec<ClipProblem>) -> Option<ClipScope> {
    let mut number = |text: &str| {
        let parsed = text.parse::<f64>().ok();
        if parsed.is_none() {
            problems.push(ClipProblem::Bound { text: text.to_owned() });
        }
        parsed
    };
    match scope {
        "flat" | "auto" => Some(ClipScope::Flat { bound: number(bound)? }),
        "per-layer" => Some(ClipScope::PerLayer { bound: number(bound)? }),
        "per-group" => {
            let mut bounds = Vec::new();
            for text in bound.split(';') {
                match text.rsplit_once('=') {
                    Some((glob, bound)) if !glob.is_empty() => bounds.push((Glob::new(glob), number(bound)?)),
                    _ => {
                        problems.push(ClipProblem::Group { text: text.to_owned() });
                        return None;
                    }
                }
            }
            Some(ClipScope::PerGroup { bounds })
        }
        _ => {
            problems.push(ClipProblem::Scope { scope: scope.to_owned() });
            None
        }
    }
}

/// The options of a rule as they are written.
#[derive(Default)]
struct Options {
    auto: bool,
    gamma: Option<f64>,
    adaptive: bool,
    quantile: Option<f64>,
    rate: Option<f64>,
    count_noise: Option<f64>,
}

impl Options {
    fn parse<'a>(pieces: impl Iterator<Item = &'a str>, auto: bool, problems: &mut Vec<ClipProblem>) -> Options {
        let mut options = Options { auto, ..Options::default() };
        for piece in pieces {
            let text = || piece.to_owned();
            let (name, value) = piece.split_once('=').map_or((piece, None), |(name, value)| (name, Some(value)));
            let number = match (name, value) {
                ("auto", None) if !options.auto => {
                    options.auto = true;
                    continue;
                }
                ("adaptive", None) if !options.adaptive => {
                    options.adaptive = true;
                    continue;
                }
                ("auto" | "adaptive", None) => {
                    problems.push(ClipProblem::Twice { text: text() });
                    continue;
                }
                ("gamma", Some(_)) => &mut options.gamma,
                ("quantile", Some(_)) => &mut options.quantile,
                ("rate", Some(_)) => &mut options.rate,
                ("count-noise", Some(_)) => &mut options.count_noise,
                _ => {
                    problems.push(ClipProblem::Option { text: text() });
                    continue;
                }
            };
            match value.and_then(|value| value.parse().ok()) {
                Some(_) if number.is_some() => problems.push(ClipProblem::Twice { text: name.to_owned() }),
                Some(value) => *number = Some(value),
                None => problems.push(ClipProblem::Number { text: text() }),
            }
        }
        let mut needs = |option: &str, given: bool, needs, held: bool| {
            if given && !held {
                problems.push(ClipProblem::Needs { option: option.to_owned(), needs });
            }
        };
        needs("gamma", options.gamma.is_some(), "auto", options.auto);
        needs("quantile", options.quantile.is_some(), "adaptive", options.adaptive);
        needs("rate", options.rate.is_some(), "adaptive", options.adaptive);
        needs("count-noise", options.count_noise.is_some(), "adaptive", options.adaptive);
        options
    }
}

/// Every number is written out, so that a text means the same should a default change.
impl fmt::Display for ClipRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.scope, self.function) {
            (ClipScope::Flat { bound }, ClipFunction::Automatic { gamma }) => {
                write!(f, "auto:{bound:?},gamma={gamma:?}")?;
            }
            (ClipScope::Flat { bound }, ClipFunction::Threshold) => write!(f, "flat:{bound:?}")?,
            (scope, function) => {
                write!(f, "{}:", scope.name())?;
                match scope {
                    ClipScope::Flat { bound } | ClipScope::PerLayer { bound } => write!(f, "{bound:?}")?,
                    ClipScope::PerGroup { bounds } => {
                        let texts: Vec<String> = bounds.iter().map(|(glob, c)| format!("{glob}={c:?}")).collect();
                        f.write_str(&texts.join(";"))?;
                    }
                }
                if let ClipFunction::Automatic { gamma } = function {
                    write!(f, ",auto,gamma={gamma:?}")?;
                }
            }
        }
        if let Some(Adaptive { quantile, rate, count_noise }) = self.adaptive {
            write!(f, ",adaptive,quantile={quantile:?},rate={rate:?}")?;
            if let Some(noise) = count_noise {
                write!(f, ",count-noise={noise:?}")?;
            }
        }
        Ok(())
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

    fn parse(text: &str) -> ClipRule {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn problems(text: &str) -> Vec<ClipProblem> {
        text.parse::<ClipRule>().expect_err(text).problems
    }

    #[test]
    fn reads_and_prints_the_same_rule() {
        for (text, printed) in [
            ("flat:1", "flat:1.0"),
            ("flat:0.3333333333333333", "flat:0.3333333333333333"),
            ("auto:1", "auto:1.0,gamma=0.01"),
            ("flat:2,auto,gamma=0.5", "auto:2.0,gamma=0.5"),
            ("per-layer:1", "per-layer:1.0"),
            ("per-layer:1,auto", "per-layer:1.0,auto,gamma=0.01"),
            ("per-group:conv*=0.5;fc?.weight=2", "per-group:conv*=0.5;fc?.weight=2.0"),
            ("per-group:a=b=1,auto", "per-group:a=b=1.0,auto,gamma=0.01"),
            ("flat:1, adaptive", "flat:1.0,adaptive,quantile=0.5,rate=0.2"),
            (
                "per-layer:1e-3,adaptive,count-noise=12,quantile=0.75,rate=0.1",
                "per-layer:0.001,adaptive,quantile=0.75,rate=0.1,count-noise=12.0",
            ),
        ] {
            assert_eq!(parse(text).to_string(), printed);
            assert_eq!(parse(printed), parse(text));
            let json = serde_json::to_string(&parse(text)).unwrap();
            assert_eq!(serde_json::from_str::<ClipRule>(&json).unwrap(), parse(text));
        }
    }

    #[test]
    fn refuses_what_is_not_a_bound() {
        for text in ["", "flat", "flat:", "flat:x", "flat:0", "flat:-1", "flat:nan", "flat:inf", "flat:1e-13"] {
            assert!(text.parse::<ClipRule>().is_err(), "{text}");
        }
        for text in ["fluffy:1", "per-group:", "per-group:=1", "per-group:a", "per-group:a=1;", "per-layer:0"] {
            assert!(text.parse::<ClipRule>().is_err(), "{text}");
        }
    }

    #[test]
    fn reports_every_problem_at_once() {
        let found = problems("fluffy:1,gamma=1,rate=x,auto,auto,speed=2,rate=1,rate=2");
        let text = |text: &str| text.to_owned();
        assert_eq!(
            found,
            [
                ClipProblem::Scope { scope: text("fluffy") },
                ClipProblem::Number { text: text("rate=x") },
                ClipProblem::Twice { text: text("auto") },
                ClipProblem::Option { text: text("speed=2") },
                ClipProblem::Twice { text: text("rate") },
                ClipProblem::Needs { option: text("rate"), needs: "adaptive" },
            ]
        );
        assert_eq!(problems("flat:0,adaptive,quantile=1,rate=-1,count-noise=0").len(), 4);
        assert_eq!(problems("auto:1,gamma=0").len(), 1);
        assert_eq!(problems("auto:1,adaptive"), [ClipProblem::AdaptiveAuto]);
        assert_eq!(problems("flat:1,gamma=1"), [ClipProblem::Needs { option: text("gamma"), needs: "auto" }]);
    }
}
