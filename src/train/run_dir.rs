//! The directory of a run: what `dpc train --out` writes and `dpc export` reads.

use std::path::{Path, PathBuf};

use crate::files::{self, FileError};

/// The files of a run.
#[derive(Clone, Debug)]
pub struct RunDir(PathBuf);

impl RunDir {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The artifact that is trained, with its values before training.
    pub fn artifact(&self) -> PathBuf {
        self.0.join("model.dpc")
    }

    pub fn ledger(&self) -> PathBuf {
        self.0.join("ledger.jsonl")
    }

    pub fn certificate(&self) -> PathBuf {
        self.0.join("certificate.json")
    }

    /// The certificate as a page for people.
    pub fn certificate_page(&self) -> PathBuf {
        self.0.join("certificate.md")
    }

    pub fn metrics(&self) -> PathBuf {
        self.0.join("metrics.jsonl")
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// What a process that writes to the directory has locked.
    pub fn lock(&self) -> PathBuf {
        self.0.join("run.lock")
    }

    /// Removes what killed processes left half written. For the process that has the directory locked.
    pub fn remove_temporaries(&self) -> Result<(), FileError> {
        files::remove_temporaries(&self.checkpoints())?;
        files::remove_temporaries(&self.0)
    }
}
