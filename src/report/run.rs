//! What a run's directory says of the run.

use std::path::{Path, PathBuf};

use miette::Diagnostic;
use thiserror::Error;

use super::layer::Layer;
use crate::artifact::Artifact;
use crate::files::{self, FileError};
use crate::privacy::certificate::{Certificate, CertificateError, VerifyError};
use crate::privacy::ledger::{Contents, LedgerError};
use crate::train::metrics::{MetricsLog, StepMetrics};
use crate::train::run_dir::RunDir;

/// A report that cannot be made.
#[derive(Debug, Error, Diagnostic)]
pub enum ReportError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Ledger(#[from] LedgerError),
    #[error("{} of no run: {}", if paths.len() == 1 { "the directory is" } else { "directories are" }, list(paths))]
    #[diagnostic(code(dpc::report::no_run), help("give directories that `dpc train --out` wrote"))]
    NoRun { paths: Vec<PathBuf> },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// A run as a report shows it.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its directory, as it was given.
    pub name: String,
    /// `None` where the run has not ended.
    pub certificate: Option<Certificate>,
    /// Where its ledger really is, and what that holds; `None` where it is not there any more.
    pub ledger: Option<(PathBuf, Contents)>,
    pub metrics: Vec<StepMetrics>,
    /// The flags that it was made by.
    pub config: Option<String>,
    /// The private graph of one of its layers, where it is reported alone and was private.
    pub layer: Option<Layer>,
}

impl Run {
    /// Reads the runs in `directories`.
    ///
    /// # Errors
    /// When one is of no run, or a file of it cannot be read.
    pub fn read_all(directories: &[PathBuf]) -> Result<Vec<Run>, ReportError> {
        let paths: Vec<PathBuf> =
            directories.iter().filter(|path| !RunDir::new(path).artifact().exists()).cloned().collect();
        if !paths.is_empty() {
            return Err(ReportError::NoRun { paths });
        }
        let mut runs = directories.iter().map(|directory| Run::read(directory)).collect::<Result<Vec<Run>, _>>()?;
        if let ([run], [directory]) = (&mut runs[..], directories)
            && run.guaranteed().is_some()
        {
            run.layer = Artifact::load(&RunDir::new(directory).artifact()).ok().as_ref().and_then(Layer::of);
        }
        Ok(runs)
    }

    fn read(path: &Path) -> Result<Run, ReportError> {
        let directory = RunDir::new(path);
        let certificate = directory.certificate();
        let certificate = certificate.exists().then(|| Certificate::read(&certificate)).transpose()?;
        let ledger = directory.ledger_used()?;
        let ledger = match ledger.exists() {
            true => Some((files::resolve(&ledger)?, Contents::read(&ledger)?)),
            false => None,
        };
        let config = directory.config();
        let config = config.exists().then(|| files::read(&config)).transpose()?;
        Ok(Run {
            name: path.display().to_string(),
            certificate,
            ledger,
            metrics: MetricsLog::read(&directory.metrics())?,
            config: config.map(|text| String::from_utf8_lossy(&text).into_owned()),
            layer: None,
        })
    }

    /// Its certificate, if that guarantees something.
    pub fn guaranteed(&self) -> Option<&Certificate> {
        self.certificate.as_ref().filter(|certificate| certificate.guarantee)
    }

    /// The last line of metrics with an evaluation.
    pub fn evaluated(&self) -> Option<&StepMetrics> {
        self.metrics.iter().rfind(|line| line.valid.is_some())
    }

    /// A figure of each line that has it, by the line's step.
    pub fn points(&self, of: impl Fn(&StepMetrics) -> Option<f64>) -> Vec<(f64, f64)> {
        self.metrics.iter().filter_map(|line| Some((line.step as f64, of(line)?))).collect()
    }
}
