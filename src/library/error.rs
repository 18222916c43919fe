//! What can go wrong from memory.

use miette::Diagnostic;
use thiserror::Error;

use crate::artifact::{ArtifactError, BuildError};
use crate::compile::CompileError;
use crate::onnx::OnnxError;
use crate::privacy::accountant::InvalidInput;
use crate::privacy::certificate::NoCertificate;
use crate::privacy::keys::EntropyError;
use crate::privacy::ledger::LedgerError;
use crate::privacy::request::RequestError;
use crate::train::agreement::AgreementError;
use crate::train::augment::AugmentError;
use crate::train::checkpoint::CheckpointError;
use crate::train::data::DataError;
use crate::train::engine::EngineError;
use crate::train::finite;
use crate::train::lr_for::Unmatched;
use crate::train::step::StepError;

/// Everything that can go wrong.
#[derive(Debug, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum Error {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Onnx(#[from] OnnxError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Compile(#[from] Box<CompileError>),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Entropy(#[from] EntropyError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Agreement(#[from] AgreementError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Augment(#[from] AugmentError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    LrFor(#[from] Unmatched),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Accounting(#[from] InvalidInput),
    #[error(transparent)]
    #[diagnostic(transparent)]
    NoCertificate(#[from] NoCertificate),

    /// The model was compiled without a loss.
    #[error("the model has no loss")]
    #[diagnostic(code(dpc::library::loss), help("compile it with one, as by Options::private"))]
    NoLoss,

    /// ε is spent.
    #[error("the ledger leaves nothing of ε = {target}: its steps and one more would cost {reached:.4}")]
    #[diagnostic(
        code(dpc::library::spent),
        help("ask for a larger ε, or more noise; a ledger counts all runs on the same data")
    )]
    Spent { target: f64, reached: f64 },

    /// The checkpoint is of another run.
    #[error("the run of the checkpoint was started otherwise: {}", what.join("; "))]
    #[diagnostic(code(dpc::library::other_run), help("go on with what it was started with, or begin another run"))]
    OtherRun { what: Vec<String> },

    /// There is no checkpoint of a run with correlated noise.
    #[error("a run with correlated noise goes on by the noise of its last steps too, which a checkpoint does not hold")]
    #[diagnostic(
        code(dpc::library::correlated),
        help("train it to its end in one go, or by `dpc train`, which keeps that noise in a file of its own")
    )]
    Correlated,

    /// The run has diverged.
    #[error("after step {step} what is trained is not finite any more: {}", finite::list(what))]
    #[diagnostic(
        code(dpc::library::not_finite),
        help("begin again with a smaller learning rate; the steps stay in the ledger")
    )]
    NotFinite { step: u64, what: Vec<String> },
}

impl From<CompileError> for Error {
    fn from(error: CompileError) -> Error {
        Error::Compile(Box::new(error))
    }
}
