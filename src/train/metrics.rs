//! `metrics.jsonl`: one JSON object now and then, about the steps since the one before.
//!
//! ```json
//! {"step":120,"epoch":2.4,"epsilon":1.23,"noise_multiplier":1.1,"clip_bounds":[0.1],"learning_rate":0.5,
//!  "steps_per_second":13.3,"samples_per_second":3412.0,
//!  "valid":{"records":1000,"loss":0.47,"accuracy":0.91,"macro_f1":0.9,"nonfinite_records":0},
//!  "estimates":{"batch_size":255.1,"loss":0.44},
//!  "not_private":{"loss":0.41,"clipped_fraction":0.93,"nonfinite_units":0,"nonfinite_losses":0}}
//! ```
//!
//! What stands under `not_private` is worked out from the training data without noise: the
//! guarantee of the certificate does not cover it, and it is in the file only where the user asked for
//! that. `estimates` are noisy and paid for; they are there only where the plan has them. `valid` is on the validation data, which
//! are taken to be public, after steps that these were evaluated at.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::evaluate::Evaluation;
use crate::files::{self, FileError};

/// What is known after a logical step; rates and observations are over the steps since the last line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Logical steps taken.
    pub step: u64,
    /// Passes over the data in expectation: step times the sample rate.
    pub epoch: f64,
    /// ε spent so far at the run's δ; `None` for non-private training.
    pub epsilon: Option<f64>,
    /// The noise multiplier of the step; `None` for non-private training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_multiplier: Option<f64>,
    /// The bound of each clip group after what the step adapted, by what is paid for; none for non-private training.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clip_bounds: Vec<f64>,
    /// The learning rate of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Those of parameters that have their own, by pattern.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lr_for: BTreeMap<String, f64>,
    /// Logical steps over wall time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps_per_second: Option<f64>,
    /// Expected batch sizes over wall time.
    pub samples_per_second: f64,
    /// Of what is trained, on the validation data, after this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<Evaluation>,
    /// Over the steps since the last line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimates: Option<Estimated>,
    /// Over the steps since the last line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_private: Option<Observed>,
}

/// Noisy figures that the guarantee covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimated {
    /// The mean number of units in a batch.
    pub batch_size: f64,
    /// The mean loss of a unit, that of its records' own losses, each clamped; `None` where the estimated number of units is not positive.
    pub loss: Option<f64>,
}

/// Observations of the training data, which the guarantee does not cover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// The mean of the records' own losses, which training minimises, over those that were finite; `None` where there was
    /// none. A record without a label that counts has a loss of 0 in it. That of `dpc eval` is over all labels alike.
    pub loss: Option<f64>,
    /// The fraction of the units whose gradient was scaled down; `None` in non-private training.
    pub clipped_fraction: Option<f64>,
    /// Units whose gradient held a NaN or an infinity, and which therefore counted as zero. Non-private training knows no
    /// unit's gradient: there it is the number of those whose loss was not finite, all of which spoil the update, and `None`
    /// where it saw none, since a finite loss does not say that the gradient is.
    pub nonfinite_units: Option<u64>,
    /// Records whose loss was NaN or infinite and is not in `loss`.
    #[serde(default)]
    pub nonfinite_losses: u64,
}

/// The open `metrics.jsonl` of a run.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    /// Opens the log of a run that has taken `step` steps: lines of later steps, and lines that a
    /// crash cut short or damaged, are dropped.
    pub fn open(path: &Path, step: u64) -> Result<Self, FileError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(FileError::read(path, error)),
        };
        let text = String::from_utf8_lossy(&bytes);
        let kept: String = text
            .split_inclusive('\n')
            .filter(|line| serde_json::from_str(line).is_ok_and(|line: StepMetrics| line.step <= step))
            .collect();
        files::write_atomic(path, |file| file.write_all(kept.as_bytes()))?;
        let file = OpenOptions::new().append(true).open(path).map_err(|source| FileError::write(path, source))?;
        let path = path.to_owned();
        Ok(Self { path, file })
    }

    /// Every line of the log at `path` that can be read; none where there is no log.
    pub fn read(path: &Path) -> Result<Vec<StepMetrics>, FileError> {
        if !path.exists() {
            return Ok(Vec::new());
        }
        let bytes = files::read(path)?;
        Ok(String::from_utf8_lossy(&bytes).lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Appends one line; on an error the log is as before.
    pub fn write(&mut self, metrics: &StepMetrics) -> Result<(), FileError> {
        self.try_write(metrics).map_err(|source| FileError::write(&self.path, source))
    }

    fn try_write(&mut self, metrics: &StepMetrics) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(metrics)?;
        line.push(b'\n');
        let end = self.file.seek(SeekFrom::End(0))?;
        self.file.write_all(&line).inspect_err(|_| {
            // A line cut short would be dropped by the next `open` in any case.
            let _ = self.file.set_len(end);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(step: u64) -> StepMetrics {
        StepMetrics {
            step,
            epoch: 0.5,
            epsilon: Some(1.25),
            noise_multiplier: Some(1.0),
            clip_bounds: vec![0.5],
            learning_rate: Some(0.1),
            lr_for: BTreeMap::from([("a.*".to_owned(), 0.05)]),
            steps_per_second: Some(2.0),
            samples_per_second: 10.0,
            valid: None,
            estimates: Some(Estimated { batch_size: 31.5, loss: None }),
            not_private: Some(Observed { loss: Some(0.1), ..Observed::default() }),
        }
    }

    #[test]
    fn a_resumed_log_ends_at_its_step() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        let mut log = MetricsLog::open(&path, 0).unwrap();
        for step in 1..=3 {
            log.write(&at(step)).unwrap();
        }
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend(b"\xff\n{\"step\":4,\"ep");
        std::fs::write(&path, bytes).unwrap();
        let mut log = MetricsLog::open(&path, 2).unwrap();
        log.write(&at(3)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<StepMetrics> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines, [at(1), at(2), at(3)]);
    }
}
