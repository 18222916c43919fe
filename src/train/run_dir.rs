//! The directory of a run: what `dpc train --out` writes and `dpc export` reads.

use std::io::Write;
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

    /// The run whose artifact is the file at `path`; `None` where it is of no run.
    pub fn of_artifact(path: &Path) -> Option<Self> {
        let directory = Self::new(path.parent()?);
        (directory.checkpoints().is_dir() && directory.artifact().file_name() == path.file_name()).then_some(directory)
    }

    /// The artifact that is trained, with its values before training. Earlier versions of dpc named it as if it were the
    /// result.
    pub fn artifact(&self) -> PathBuf {
        let [named, earlier] = ["untrained.dpc", "model.dpc"].map(|name| self.0.join(name));
        if !named.exists() && earlier.exists() { earlier } else { named }
    }

    /// Where the run's ledger is: what [`RunDir::ledger_path`] says, and else in the directory.
    pub fn ledger_used(&self) -> Result<PathBuf, FileError> {
        let path = self.ledger_path();
        if !path.exists() {
            return Ok(self.ledger());
        }
        let text = String::from_utf8_lossy(&files::read(&path)?).into_owned();
        Ok(self.0.join(text.trim_end_matches('\n')))
    }

    /// Notes that the run's ledger is at `ledger`, from the directory on where that is possible, so that both can be moved
    /// together.
    pub fn use_ledger(&self, ledger: &Path) -> Result<(), FileError> {
        let [ledger, own] = [ledger, &self.ledger()].map(files::resolve);
        let (ledger, own) = (ledger?, own?);
        if ledger == own {
            return files::remove(&self.ledger_path());
        }
        let text = format!("{}\n", files::relative(&files::resolve(&self.0)?, &ledger).display());
        files::write_atomic(&self.ledger_path(), |file| file.write_all(text.as_bytes()))
    }

    /// The path of a ledger that is not in the directory.
    pub fn ledger_path(&self) -> PathBuf {
        self.0.join("ledger.path")
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

    /// The flags that the run was made by.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_artifact_of_an_earlier_version_is_found() {
        let place = tempfile::tempdir().unwrap();
        let directory = RunDir::new(place.path());
        assert!(directory.artifact().ends_with("untrained.dpc"));
        std::fs::write(place.path().join("model.dpc"), "").unwrap();
        assert!(directory.artifact().ends_with("model.dpc"));
        assert!(RunDir::of_artifact(&directory.artifact()).is_none());
        std::fs::create_dir(directory.checkpoints()).unwrap();
        assert!(RunDir::of_artifact(&directory.artifact()).is_some());
        std::fs::write(place.path().join("untrained.dpc"), "").unwrap();
        assert!(directory.artifact().ends_with("untrained.dpc"));
        assert!(RunDir::of_artifact(&place.path().join("model.dpc")).is_none());
    }

    #[test]
    fn a_shared_ledger_is_found_where_both_were_moved() {
        let place = tempfile::tempdir().unwrap();
        let (one, other) = (place.path().join("one"), place.path().join("other"));
        let directory = RunDir::new(&one.join("a/run"));
        std::fs::create_dir_all(directory.path()).unwrap();
        assert_eq!(directory.ledger_used().unwrap(), directory.ledger());
        std::fs::write(one.join("all.ledger"), "").unwrap();
        directory.use_ledger(&one.join("all.ledger")).unwrap();
        assert!(std::fs::canonicalize(directory.ledger_used().unwrap()).unwrap().ends_with("one/all.ledger"));
        std::fs::rename(&one, &other).unwrap();
        let moved = RunDir::new(&other.join("a/run"));
        assert!(std::fs::canonicalize(moved.ledger_used().unwrap()).unwrap().ends_with("other/all.ledger"));
        moved.use_ledger(&moved.ledger()).unwrap();
        assert_eq!(moved.ledger_used().unwrap(), moved.ledger());
    }
}
