//! `dpc verify-certificate`: a certificate worked out again from its ledger.

use std::path::PathBuf;

use miette::{Diagnostic, Result};
use thiserror::Error;

use super::output;
use crate::artifact::Artifact;
use crate::files;
use crate::privacy::certificate::Certificate;
use crate::privacy::ledger::Contents;
use crate::train::run_dir::RunDir;

/// Check a run's certificate against its ledger
#[derive(clap::Args)]
pub struct Args {
    /// The run's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// The ledger, where the run did not keep its own
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
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

#[derive(Debug, Error, Diagnostic)]
#[error("the page {} does not say what the certificate says", path.display())]
#[diagnostic(code(dpc::certificate::page), help("remove it, and read certificate.json"))]
struct OtherPage {
    path: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    let directory = RunDir::new(&args.directory);
    let certificate = Certificate::read(&directory.certificate())?;
    let ledger = Contents::read(&args.ledger.clone().unwrap_or_else(|| directory.ledger()))?;
    let mut mismatches = certificate.mismatches(&ledger)?;
    if directory.artifact().exists() {
        let trained = Artifact::load(&directory.artifact())?.provenance()?;
        mismatches.extend(certificate.provenance_mismatches(&trained));
    }
    if !mismatches.is_empty() {
        let lines: Vec<String> = mismatches
            .iter()
            .map(|m| format!("{}: stated {}, recomputed {}", m.member, m.stated, m.recomputed))
            .collect();
        let differences = lines.join("\n");
        return Err(Mismatches { differences }.into());
    }
    if directory.certificate_page().exists() {
        let page = files::read(&directory.certificate_page())?;
        if page != certificate.page().as_bytes() {
            return Err(OtherPage { path: directory.certificate_page() }.into());
        }
    }
    for (what, path) in [("the model", directory.artifact()), ("the page", directory.certificate_page())] {
        if !path.exists() {
            output::note(format_args!("{what} was not checked: there is no {}", path.display()));
        }
    }
    output::line(format!(
        "the certificate holds for the {} steps of its ledger\n{}",
        certificate.steps, certificate.statement
    ))
}
