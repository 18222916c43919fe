//! Why an audit could not be made.

use miette::Diagnostic;
use thiserror::Error;

use crate::artifact::ArtifactError;
use crate::compile::CompileError;
use crate::lower::emit::EmitError;
use crate::lower::scalar::IllTyped;
use crate::onnx::OnnxError;
use crate::privacy::accountant::InvalidInput;
use crate::privacy::clipping::InvalidClipRule;
use crate::privacy::keys::EntropyError;
use crate::privacy::plan::InvalidPlan;
use crate::privacy::sampler::UnitMismatch;
use crate::train::data::DataError;
use crate::train::engine::EngineError;
use crate::train::step::StepError;

/// An audit that could not be made.
#[derive(Debug, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum AuditError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Onnx(#[from] OnnxError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Emit(#[from] EmitError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Clip(#[from] InvalidClipRule),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Plan(#[from] InvalidPlan),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Units(#[from] UnitMismatch),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Entropy(#[from] EntropyError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Accounting(#[from] InvalidInput),

    #[error(transparent)]
    #[diagnostic(code(dpc::internal))]
    Expr(#[from] IllTyped),

    #[error("the artifact has no loss")]
    #[diagnostic(code(dpc::audit::loss), help("compile the model with --loss"))]
    NoLoss,
}
