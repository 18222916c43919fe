//! How often something is done in a run: every so many steps, or every so many epochs.

use std::fmt;
use std::str::FromStr;

use miette::Diagnostic;
use thiserror::Error;

/// `100` for a hundred logical steps, `1epoch` or `0.5epochs` for as many expected passes over the data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Every {
    /// So many logical steps, at least 1.
    Steps(u64),
    /// So many epochs, more than 0.
    Epochs(f64),
}

/// What is not an [`Every`].
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
#[error("`{text}` is not a number of steps or epochs")]
#[diagnostic(
    code(dpc::train::every),
    help("write a number of steps, as in 100, or of epochs, as in 1epoch or 0.5epochs")
)]
pub struct InvalidEvery {
    text: String,
}

impl Every {
    /// Whether step number `step`, counted from 1, ends such a stretch where each record enters a step at `rate`.
    pub fn is_due(&self, step: u64, rate: f64) -> bool {
        match self {
            Self::Steps(steps) => step.is_multiple_of(*steps),
            Self::Epochs(epochs) => {
                // Rounding must not move the end of an epoch by a step.
                let ended = |step: u64| (step as f64 * rate / epochs + 1e-9).floor();
                step > 0 && ended(step) > ended(step - 1)
            }
        }
    }
}

impl FromStr for Every {
    type Err = InvalidEvery;

    fn from_str(text: &str) -> Result<Self, InvalidEvery> {
        let epochs = text.strip_suffix("epochs").or_else(|| text.strip_suffix("epoch"));
        let found = match epochs {
            Some(number) => {
                let epochs = number.trim().parse().ok().filter(|epochs: &f64| epochs.is_finite() && *epochs > 0.0);
                epochs.map(Self::Epochs)
            }
            None => text.parse().ok().filter(|steps| *steps > 0).map(Self::Steps),
        };
        found.ok_or_else(|| InvalidEvery { text: text.to_owned() })
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(steps) => write!(f, "{steps}"),
            Self::Epochs(epochs) if *epochs == 1.0 => f.write_str("1epoch"),
            Self::Epochs(epochs) => write!(f, "{epochs}epochs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(text: &str, rate: f64) -> Vec<u64> {
        let every: Every = text.parse().unwrap();
        assert_eq!(every.to_string(), text);
        (1..=12).filter(|&step| every.is_due(step, rate)).collect()
    }

    #[test]
    fn steps_and_epochs_end_where_they_should() {
        assert_eq!(due("5", 0.1), [5, 10]);
        assert_eq!(due("1epoch", 0.1), [10]);
        assert_eq!(due("0.5epochs", 0.1), [5, 10]);
        // Three and a half steps an epoch, and an epoch that is shorter than a step.
        assert_eq!(due("1epoch", 2.0 / 7.0), [4, 7, 11]);
        assert_eq!(due("0.25epochs", 0.5), (1..=12).collect::<Vec<_>>());
    }

    #[test]
    fn refuses_what_is_neither() {
        for text in ["", "0", "-1", "1.5", "epoch", "0epochs", "nanepochs", "2 weeks"] {
            assert!(text.parse::<Every>().is_err(), "{text}");
        }
    }
}
