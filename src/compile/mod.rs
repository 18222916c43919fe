//! The pipeline: from a model to a program, one pass after the other, verified in between.

mod fold;
mod grid;
mod phases;
mod pipeline;

use miette::Diagnostic;
use thiserror::Error;

use crate::graph::{TypeError, Violation};
use crate::import::custom::CustomOps;
use crate::import::{Proved, Refusal, Refused, prove_with_ops};
use crate::lower::LowerError;
use crate::lower::cost::CostModel;
use crate::lower::program::Program;
use crate::lower::target::{Targets, Unrunnable};
use crate::onnx::{Dim, OnnxError, Parameter, Source};
use crate::ops::Graph;
use crate::ops::VjpError;
use crate::options::optimizer::OptimizerSpec;
use crate::options::{Loss, LossKind, NoiseKind, NormChoice, Precision};
use crate::passes::attach_loss::{LossError, LossInfo};
use crate::passes::privatize::Choice;
use crate::privacy::clipping::{ClipGroup, ClipRule, UnfitClipRule};
use crate::privacy::grid::Grid;
pub use pipeline::{Compilation, PIPELINE, Pass, Stage};

/// What a user chooses about a compilation.
#[derive(Clone, Debug)]
pub struct Options {
    /// The loss, or `None` for a program that only runs forward.
    pub loss: Option<Loss>,
    /// The output of a loss of one term that names none; the only one by default.
    pub output: Option<String>,
    /// The clip rule.
    pub clip: ClipRule,
    /// How norms are computed.
    pub norm: NormChoice,
    /// What the cheapest norms are found by.
    pub costs: CostModel,
    /// The optimizer.
    pub optimizer: OptimizerSpec,
    /// What is kept for the backward pass, and for the sums over the batch, is kept in.
    pub precision: Precision,
    /// In how many views each record is seen, whose mean gradient is clipped as one: rows of a batch that follow each other.
    pub views: usize,
    /// Whether per-sample gradients are results of the private phase.
    pub per_sample: bool,
    /// What private sums and their noise are; see [`crate::privacy::grid`].
    pub noise: NoiseKind,
}

impl Options {
    /// Private training by the loss, with one clip bound of 1, SGD, and the cheapest norms.
    pub fn private(loss: Loss) -> Options {
        Options {
            loss: Some(loss),
            output: None,
            clip: ClipRule::default(),
            norm: NormChoice::Auto,
            costs: CostModel::default(),
            optimizer: OptimizerSpec::default(),
            precision: Precision::default(),
            views: 1,
            per_sample: false,
            noise: NoiseKind::default(),
        }
    }
}

/// A compiled model with the graph of every stage.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The proved forward pass, its interface and its loss.
    pub proved: Proved,
    /// What the loss takes.
    pub loss: Option<LossInfo>,
    /// The forward graph with the loss.
    pub graph: Graph,
    /// With the gradient of every trained parameter.
    pub gradients: Graph,
    /// The parameters that are clipped together.
    pub clip_groups: Vec<ClipGroup>,
    /// With the gradients rewritten.
    pub private: Graph,
    /// How each norm is computed.
    pub choices: Vec<Choice>,
    /// The program that devices run.
    pub program: Program,
    /// The grid of its private sums, if they are of integers.
    pub grid: Option<Grid>,
}

/// Why a model was not compiled.
#[derive(Debug, Error, Diagnostic)]
pub enum CompileError {
    /// The file cannot be read or is not a model.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Onnx(#[from] OnnxError),
    /// The model mixes records, or uses what dpc does not have.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Refused(#[from] Refused),
    /// No input has a batch axis, so there is nothing to train on.
    #[error("no input of the model has a free batch axis: {inputs}")]
    #[diagnostic(
        code(dpc::compile::no_batch),
        help(
            "{remedy}; or say which axis of fixed size holds the records, with --batch-axis INPUT=AXIS for each input"
        )
    )]
    NoBatch {
        /// The inputs with their axes.
        inputs: String,
        /// How to export with one.
        remedy: &'static str,
    },
    /// The model was exported for a fixed number of records, and is not the same for any other.
    #[error("no input of the model has a free batch axis, and the axis that was taken for it cannot be one: {inputs}")]
    #[diagnostic(
        code(dpc::compile::fixed_batch),
        help("{remedy}; --batch-axis INPUT=AXIS takes another axis of fixed size for the batch")
    )]
    FixedBatch {
        /// The inputs with their axes.
        inputs: String,
        /// How to export with a free one.
        remedy: &'static str,
        /// What does not fit.
        #[related]
        problems: Vec<Refusal>,
    },
    /// The loss does not fit the model.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Loss(#[from] LossError),
    /// Some ops on the way to the loss have no derivative.
    #[error("the model cannot be differentiated: {}", list(.0))]
    #[diagnostic(
        code(dpc::differentiate),
        help("freeze the parameters before these ops with --freeze, or rewrite this part of the model")
    )]
    Vjp(Vec<VjpError>),
    /// No parameter is trained.
    #[error("nothing to train: no trained parameter reaches the loss")]
    #[diagnostic(
        code(dpc::compile::nothing_to_train),
        help("name parameters with --train GLOB; `dpc inspect` lists them")
    )]
    NothingToTrain,
    /// The clip rule does not fit the parameters.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Clip(#[from] UnfitClipRule),
    /// There are too many parameters for exact sums.
    #[error("the model has too many parameters for exact sums")]
    #[diagnostic(code(dpc::compile::grid), help("compile it with --noise float, or train fewer parameters"))]
    Grid,
    /// No kernel for some op.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Lower(#[from] LowerError),
    /// A program that some device cannot run.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Unrunnable(#[from] Unrunnable),
    /// A dispatch breaks the contract of its kernel.
    #[error("internal error: {0}")]
    #[diagnostic(code(dpc::internal), help("this is a defect of dpc; please report it with the model"))]
    Contract(String),
    /// A pass built a node that does not type-check.
    #[error("internal error: {0}")]
    #[diagnostic(code(dpc::internal), help("this is a defect of dpc; please report it with the model"))]
    Type(#[from] TypeError),
    /// A pass broke an invariant of the graph.
    #[error("internal error: {}", list(.0))]
    #[diagnostic(code(dpc::internal), help("this is a defect of dpc; please report it with the model"))]
    Violations(Vec<Violation>),
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(|i| i.to_string()).collect::<Vec<_>>().join("; ")
}

/// Proves the model, having made sure that there is a batch to train on.
fn proved(
    source: &Source,
    parameters: &[Parameter],
    options: &Options,
    ops: &CustomOps,
) -> Result<Proved, CompileError> {
    let own = source.with_record_losses(&own_losses(options));
    let (source, notes) = own.as_ref().map_or((source, &[][..]), |(source, notes)| (source, notes));
    let dims = |dims: &[Dim]| dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ");
    let inputs = source.inputs.iter().map(|input| format!("`{}` [{}]", input.name, dims(&input.dims)));
    let inputs = inputs.collect::<Vec<_>>().join(", ");
    let remedy = source.exporter.freeing_batch();
    let batched = source.inputs.iter().flat_map(|input| &input.dims).any(|dim| matches!(dim, Dim::Batch(_)));
    if options.loss.is_some() && !batched {
        return Err(CompileError::NoBatch { inputs, remedy });
    }
    let proved =
        prove_with_ops(source, parameters, &wanted(options), ops).map_err(|refused| match source.fixed_batch {
            Some(_) => CompileError::FixedBatch { inputs, remedy, problems: refused.problems },
            None => refused.into(),
        });
    proved.map(|mut proved| {
        proved.notes.extend_from_slice(notes);
        proved
    })
}

/// The outputs that are losses themselves.
fn own_losses(options: &Options) -> Vec<String> {
    let own = options.loss.iter().flat_map(|loss| &loss.terms).filter(|term| matches!(term.kind, LossKind::Output(_)));
    own.filter_map(|term| term.output.clone()).collect()
}

/// The outputs that the loss is computed from; none where that is every one there is, or not said.
fn wanted(options: &Options) -> Vec<String> {
    let terms = options.loss.iter().flat_map(|loss| &loss.terms);
    let named: Option<Vec<String>> = terms.map(|term| term.output.clone().or_else(|| options.output.clone())).collect();
    named.unwrap_or_default()
}

/// Compiles a model for each of the targets.
///
/// # Errors
/// What stands in the way, see [`CompileError`].
pub fn compile(
    source: &Source,
    parameters: &[Parameter],
    options: &Options,
    targets: Targets<'_>,
) -> Result<Compiled, CompileError> {
    compile_seen(source, parameters, options, targets, &mut |_, _| {})
}

/// Compiles a model that may use ops from outside.
///
/// # Errors
/// As [`compile`].
pub fn compile_with_ops(
    source: &Source,
    parameters: &[Parameter],
    options: &Options,
    targets: Targets<'_>,
    ops: &CustomOps,
) -> Result<Compiled, CompileError> {
    pipeline::run((source, parameters, ops), options, targets, &mut |_, _| {})
}

/// Compiles a model and shows every pass of the [`PIPELINE`] that has run: the pass and what has been made.
///
/// # Errors
/// As [`compile`].
pub fn compile_seen(
    source: &Source,
    parameters: &[Parameter],
    options: &Options,
    targets: Targets<'_>,
    seen: &mut dyn FnMut(&Pass, &mut Compilation<'_>),
) -> Result<Compiled, CompileError> {
    pipeline::run((source, parameters, &CustomOps::default()), options, targets, seen)
}
