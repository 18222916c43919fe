//! `dpc verify-certificate`: a certificate worked out again from its ledger.

use std::path::PathBuf;

use miette::{Diagnostic, Result};
use thiserror::Error;

use super::output;
use crate::artifact::Artifact;
use crate::files;
use crate::privacy::certificate::Certificate;
use crate::privacy::ledger::Contents;
use crate::train::checkpoint::Checkpoints;
use crate::train::run_dir::RunDir;
use crate::train::terms::ledger_at;

/// Check a run's certificate against its ledger
///
/// Fails where the certificate does not hold. Where other runs were counted in the ledger since, it held for its steps:
/// that, and what holds for all of them together, is said, and the command ends with exit code 1 and the error
/// dpc::certificate::grown, since the certificate is no longer all that holds for the data.
#[derive(clap::Args)]
pub struct Args {
    /// The run's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// The ledger, where the one that the run used is not where it was
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
#[error("the run in {} goes on after its certificate: its last checkpoint knows {found} lines of the ledger, the certificate {stated}", path.display())]
#[diagnostic(
    code(dpc::certificate::run_went_on),
    help("the certificate is of an earlier state of the run; `dpc train --resume` ends it with a new one")
)]
struct WentOn {
    path: PathBuf,
    found: u64,
    stated: u64,
}

/// Not a certificate that does not hold, but one that a script should not take for all that holds.
#[derive(Debug, Error, Diagnostic)]
#[error("the certificate held, and its ledger counts {steps} more {} since", if *steps == 1 { "step" } else { "steps" })]
#[diagnostic(
    code(dpc::certificate::grown),
    help(
        "this is no forgery: the steps are those of other runs on the same data. What holds for the data as a whole is what is \
         said of all steps together, as in the certificate of the last of these runs"
    )
)]
struct Grown {
    steps: u64,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the ledger {} is not there", path.display())]
#[diagnostic(
    code(dpc::certificate::no_ledger),
    help("a run that shares a ledger keeps none of its own: say where that is by --ledger FILE")
)]
struct NoLedger {
    path: PathBuf,
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
    let path = match &args.ledger {
        Some(path) => path.clone(),
        None => directory.ledger_used()?,
    };
    if !path.exists() {
        return Err(NoLedger { path }.into());
    }
    let ledger = Contents::read(&path)?;
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
    let checkpoint = Checkpoints::at(&directory.checkpoints()).latest()?;
    if let Some(head) = checkpoint.as_ref().and_then(ledger_at)
        && head.entries > certificate.ledger.entries
    {
        let (path, found, stated) = (args.directory.clone(), head.entries, certificate.ledger.entries);
        return Err(WentOn { path, found, stated }.into());
    }
    if directory.certificate_page().exists() {
        let page = files::read(&directory.certificate_page())?;
        if page != certificate.page().as_bytes() {
            return Err(OtherPage { path: directory.certificate_page() }.into());
        }
    }
    let unchecked = [
        ("the model", !directory.artifact().exists(), directory.artifact()),
        ("the page", !directory.certificate_page().exists(), directory.certificate_page()),
        ("whether the run went on", checkpoint.is_none(), directory.checkpoints()),
    ];
    for (what, missing, path) in unchecked {
        if missing {
            output::note(format_args!("{what} was not checked: there is no {}", path.display()));
        }
    }
    let growth = certificate.growth(&ledger)?;
    let of = match &certificate.selection {
        Some(selection) => {
            format!("choice of the best of a random number of trials ({}) in its ledger", selection.trials)
        }
        None => format!("{} steps of its ledger", certificate.steps),
    };
    let holds = if growth.is_some() { "held when it was written, for the" } else { "holds for the" };
    output::line(format!("the certificate {holds} {of}\n{}", certificate.statement))?;
    if let Some(growth) = growth {
        output::line(&growth)?;
        return Err(Grown { steps: growth.steps }.into());
    }
    Ok(())
}
