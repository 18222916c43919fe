//! What can go wrong while training.

use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

use crate::artifact::ArtifactError;
use crate::files::FileError;
use crate::privacy::accountant::InvalidInput;
use crate::privacy::certificate::{CertificateError, NoCertificate};
use crate::privacy::keys::EntropyError;
use crate::privacy::ledger::LedgerError;
use crate::ranks::RanksError;
use crate::train::agreement::AgreementError;
use crate::train::checkpoint::CheckpointError;
use crate::train::engine::EngineError;
use crate::train::finite;
use crate::train::lr_for;
use crate::train::noise_state::NoiseStateError;
use crate::train::step::StepError;

#[derive(Debug, Error, Diagnostic)]
pub enum TrainError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    NoiseState(#[from] NoiseStateError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    NoCertificate(#[from] NoCertificate),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Accounting(#[from] InvalidInput),
    #[error(transparent)]
    #[diagnostic(transparent)]
    LrFor(#[from] lr_for::Unmatched),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Entropy(#[from] EntropyError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Ranks(#[from] RanksError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Agreement(#[from] AgreementError),

    #[error("{} holds a run already", path.display())]
    #[diagnostic(code(dpc::train::exists), help("go on with it by --resume, or give another directory by --out"))]
    Exists { path: PathBuf },

    #[error("{} holds no run to go on with", path.display())]
    #[diagnostic(
        code(dpc::train::no_run),
        help("begin one by leaving out --resume, or give the directory of the run by --out")
    )]
    NoRun { path: PathBuf },

    #[error("the run in {} is in use by another process", path.display())]
    #[diagnostic(code(dpc::train::in_use), help("wait for it to end, or give another directory by --out"))]
    InUse { path: PathBuf },

    #[error("the ledger {} leaves nothing of ε = {target}: its steps and one more would cost {reached:.4}", path.display())]
    #[diagnostic(
        code(dpc::train::spent),
        help("give a larger --epsilon, or more noise; a ledger counts all runs on the same data")
    )]
    Spent { path: PathBuf, target: f64, reached: f64 },

    #[error(
        "after step {step} what is trained is not finite any more: {}; the last checkpoint in {} is of step {saved}",
        finite::list(what), path.display()
    )]
    #[diagnostic(
        code(dpc::train::not_finite),
        help(
            "begin again with a smaller --lr; without privacy one record that is not finite is enough, so remove such \
             records from the data. --resume goes on from the last checkpoint; the steps after it stay in the ledger"
        )
    )]
    NotFinite { path: PathBuf, step: u64, saved: u64, what: Vec<String> },

    #[error("{from} holds numbers that are not finite, in {}", finite::list(what))]
    #[diagnostic(
        code(dpc::train::not_finite_at_start),
        help(
            "keep parameters that are meant to hold infinities, such as masks, out of training by --freeze when the model \
             is compiled; where it is a checkpoint, remove its file to go on from the one before"
        )
    )]
    NotFiniteAtStart { from: String, what: Vec<String> },

    #[error("the run in {} was started otherwise: {}", path.display(), what.join("; "))]
    #[diagnostic(
        code(dpc::train::resume),
        help("resume with what it was started with, or give another directory by --out")
    )]
    OtherRun { path: PathBuf, what: Vec<String> },
}
