//! The measure by which `dpc tune` compares trials.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use miette::Result;
use serde::{Serialize, Serializer};

use super::train::Opened;
use crate::device::Device;
use crate::lower::program::Phase;
use crate::train::engine::Engine;
use crate::train::evaluate::{Evaluation, Scored, evaluate};

/// A figure of an evaluation, and whether smaller ones are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Score {
    key: &'static str,
    falls: bool,
}

const ACCURACY: Score = Score { key: "accuracy", falls: false };
const LOSS: Score = Score { key: "loss", falls: true };

/// All that there are, by their keys in JSON.
const SCORES: [Score; 8] = [
    ACCURACY,
    Score { key: "top5", falls: false },
    Score { key: "macro_f1", falls: false },
    Score { key: "roc_auc", falls: false },
    Score { key: "r2", falls: false },
    LOSS,
    Score { key: "rmse", falls: true },
    Score { key: "mae", falls: true },
];

impl Score {
    /// Its key in JSON.
    pub fn key(self) -> &'static str {
        self.key
    }

    /// Accuracy, where that is among `there`, and else the loss.
    pub fn usual(there: &[&str]) -> Score {
        if there.contains(&ACCURACY.key) { ACCURACY } else { LOSS }
    }

    /// What trials are compared by: larger is better. `None` where the evaluation has no such figure, or none that is a number.
    pub fn of(self, evaluation: &Evaluation) -> Option<f64> {
        let figure = evaluation.figures().into_iter().find(|figure| figure.key == self.key)?;
        Some(self.undirected(figure.value)).filter(|value| value.is_finite())
    }

    /// The figure of what trials are compared by, and the other way.
    pub fn undirected(self, value: f64) -> f64 {
        if self.falls { -value } else { value }
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key)
    }
}

impl Serialize for Score {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.key)
    }
}

impl FromStr for Score {
    type Err = String;

    fn from_str(text: &str) -> Result<Score, String> {
        let key = text.replace('-', "_");
        SCORES.into_iter().find(|score| score.key == key).ok_or_else(|| {
            let keys: Vec<&str> = SCORES.iter().map(|score| score.key).collect();
            format!("`{text}` is no measure; give one of {}", keys.join(", "))
        })
    }
}

/// The keys of the figures that the model has on the validation data, as it is before training.
pub fn measures(opened: &Opened, device: &dyn Device) -> Result<Vec<&'static str>> {
    let Opened { artifact, valid, .. } = opened;
    let (Some(valid), Some(scored)) = (valid, Scored::of(&artifact.manifest)) else { return Ok(Vec::new()) };
    let rows = artifact.manifest.max_batch.min(valid.records());
    let program = Arc::new(artifact.program.clone());
    let mut engine = Engine::new(device, program, &artifact.weights, rows, &[Phase::Forward])?;
    Ok(evaluate(&mut engine, valid, &scored)?.figures().iter().map(|figure| figure.key).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_is_better() {
        let json = r#"{"records":8,"loss":0.5,"accuracy":0.75,"rmse":2.0,"nonfinite_records":0}"#;
        let evaluation: Evaluation = serde_json::from_str(json).unwrap();
        let of = |text: &str| text.parse::<Score>().unwrap().of(&evaluation);
        assert_eq!(
            [of("accuracy"), of("loss"), of("rmse"), of("macro-f1")],
            [Some(0.75), Some(-0.5), Some(-2.0), None]
        );
        let json = r#"{"records":8,"loss":null,"nonfinite_records":8}"#;
        assert_eq!(LOSS.of(&serde_json::from_str(json).unwrap()), None);
        assert_eq!([Score::usual(&["loss"]), Score::usual(&["loss", "accuracy"])], [LOSS, ACCURACY]);
        assert!("speed".parse::<Score>().unwrap_err().contains("roc_auc"));
    }
}
