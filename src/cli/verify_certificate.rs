//! `dpc verify-certificate`: a certificate worked out again from its ledger.

use std::path::PathBuf;

use miette::{Diagnostic, Result};
use thiserror::Error;

use super::output;
use crate::privacy::certificate::Certificate;
use crate::privacy::ledger::Contents;
use crate::train::run_dir::RunDir;

/// Check a run's certificate against its ledger
#[derive(clap::Args)]
pub struct Args {
    /// The run's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the certificate does not hold:\n{differences}")]
#[diagnostic(
    code(dpc::certificate::mismatch),
    help("the ledger or the certificate was changed after the run, or the run went on; trust the ledger")
)]
struct Mismatches {
    differences: String,
}

pub fn run(args: &Args) -> Result<()> {
    let directory = RunDir::new(&args.directory);
    let certificate = Certificate::read(&directory.certificate())?;
    let ledger = Contents::read(&directory.ledger())?;
    let mismatches = certificate.mismatches(&ledger)?;
    if !mismatches.is_empty() {
        let lines: Vec<String> = mismatches
            .iter()
            .map(|m| format!("{}: stated {}, recomputed {}", m.member, m.stated, m.recomputed))
            .collect();
        let differences = lines.join("\n");
        return Err(Mismatches { differences }.into());
    }
    output::line(format!(
        "the certificate holds for the {} steps of its ledger\n{}",
        certificate.steps, certificate.statement
    ))
}
