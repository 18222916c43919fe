//! What a run has made so far: the one place that says which parameters of a run's directory are the trained ones.

use std::path::{Path, PathBuf};

use miette::Diagnostic;
use thiserror::Error;

use super::checkpoint::{CheckpointError, Checkpoints};
use super::run_dir::RunDir;
use super::terms::plan_at;
use crate::artifact::{Artifact, ArtifactError};
use crate::privacy::certificate::{Certificate, CertificateError};

/// The model of a run, with its parameters as they are at the last checkpoint, or their moving averages where the run keeps those.
#[derive(Clone, Debug)]
pub struct TrainedRun {
    /// The artifact that is trained, with the trained parameters in place of those before training.
    pub artifact: Artifact,
    /// Logical steps taken.
    pub step: u64,
    /// Logical steps planned, where the checkpoint says so in a way that this version of dpc reads.
    pub planned: Option<u64>,
    /// What the certificate states; `None` where the run has none, as it has not ended.
    pub statement: Option<String>,
}

/// A directory without a trained model.
#[derive(Debug, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum TrainedError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Artifact(#[from] ArtifactError),

    #[error(transparent)]
    #[diagnostic(transparent)]
    Checkpoint(#[from] CheckpointError),

    #[error(transparent)]
    #[diagnostic(transparent)]
    Certificate(#[from] CertificateError),

    #[error("{} is no directory of a run: it holds no model", path.display())]
    #[diagnostic(code(dpc::run_directory), help("give what `dpc train --out DIR` wrote, an artifact or an ONNX file"))]
    NoRun { path: PathBuf },

    #[error("{} holds no checkpoint", path.display())]
    #[diagnostic(code(dpc::export::untrained), help("train first: dpc train M.dpc --out {}", path.display()))]
    Untrained { path: PathBuf },
}

impl TrainedRun {
    /// Reads the run in `directory`.
    ///
    /// # Errors
    /// When there is no run, or one of its files cannot be read.
    pub fn open(directory: &Path) -> Result<Self, TrainedError> {
        let path = directory.to_owned();
        let directory = RunDir::new(directory);
        if !directory.artifact().exists() {
            return Err(TrainedError::NoRun { path });
        }
        let mut artifact = Artifact::load(&directory.artifact())?;
        let Some(checkpoint) = Checkpoints::at(&directory.checkpoints()).latest()? else {
            return Err(TrainedError::Untrained { path });
        };
        let statement = match directory.certificate().exists() {
            true => Some(Certificate::read(&directory.certificate())?.statement),
            false => None,
        };
        let planned = plan_at(&checkpoint).map(|plan| plan.planned_steps);
        artifact.weights.extend(checkpoint.parameters);
        artifact.weights.extend(checkpoint.averages);
        Ok(Self { artifact, step: checkpoint.step, planned, statement })
    }

    /// How far the run is, in words.
    pub fn progress(&self) -> String {
        match self.planned {
            Some(planned) => format!("step {} of {planned}", self.step),
            None => format!("step {}", self.step),
        }
    }

    /// Why this is not what the run was to make, in words; `None` where it is.
    pub fn unfinished(&self) -> Option<String> {
        let short = self.planned.is_some_and(|planned| self.step < planned);
        match (&self.statement, short) {
            (Some(_), false) => None,
            (Some(_), true) => Some(format!("unfinished: {}, where the ε asked for was spent", self.progress())),
            (None, _) => Some(format!("unfinished: {}, without a certificate", self.progress())),
        }
    }
}
