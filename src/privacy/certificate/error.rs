//! What can go wrong with a certificate.

use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

use super::VERSION;
use crate::files::FileError;
use crate::privacy::accountant::{InvalidInput, UnknownAccountant};

/// A certificate that could not be written or read.
#[derive(Debug, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum CertificateError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),
    #[error("{} is not a certificate", path.display())]
    #[diagnostic(code(dpc::privacy::certificate::parse), help("it was changed or cut short; restore it from a copy"))]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("the certificate {} has format version {version}, not {VERSION}", path.display())]
    #[diagnostic(code(dpc::privacy::certificate::version), help("check it with the version of dpc that wrote it"))]
    Version { path: PathBuf, version: u32 },
}

/// Steps that cannot be certified.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum NoCertificate {
    #[error("the {accountant} accountant only approximates the privacy loss")]
    #[diagnostic(
        code(dpc::privacy::certificate::approximation),
        help("a certificate rests on an upper bound: use the pld or rdp accountant")
    )]
    Approximation { accountant: &'static str },
    #[error("the ledger counts steps of trials, of which the best is to be chosen")]
    #[diagnostic(
        code(dpc::privacy::certificate::trial),
        help(
            "a trial has no certificate of its own, as which is best was found by looking at all of them: `dpc tune --resume` \
             ends the choice, and certifies what is chosen with what choosing costs"
        )
    )]
    Trial,
    #[error(transparent)]
    #[diagnostic(transparent)]
    Input(#[from] InvalidInput),
}

/// A certificate that could not be checked.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum VerifyError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Accountant(#[from] UnknownAccountant),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Steps(#[from] NoCertificate),
}
