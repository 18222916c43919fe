//! What can be wrong with an ONNX file, and what to do about it.

use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

use super::opset::{NEWEST_OPSET, OLDEST_OPSET};

/// A problem with an ONNX file. Problems of one kind are reported together.
#[derive(Debug, Error, Diagnostic)]
pub enum OnnxError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    #[diagnostic(code(dpc::onnx::read), help("check that the file exists and is readable"))]
    Read {
        /// The model's path, or that of its external data.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },

    /// The bytes are not a protocol buffer with ONNX's messages.
    #[error("{} is not an ONNX model: decoding stopped at byte {offset} of {length}: {reason}", path.display())]
    #[diagnostic(code(dpc::onnx::not_a_model), help("{hint}"))]
    NotAModel {
        /// The model's path.
        path: PathBuf,
        /// Where the message that could not be decoded begins, or ends too early.
        offset: usize,
        /// The length of the file in bytes.
        length: usize,
        /// What the decoder said.
        reason: String,
        /// What the bytes look like.
        hint: String,
    },

    /// The model has no graph, no node or no output.
    #[error("{} has {what}", path.display())]
    #[diagnostic(code(dpc::onnx::empty), help("export the model again; a model needs nodes and at least one output"))]
    Empty {
        /// The model's path.
        path: PathBuf,
        /// What it lacks.
        what: &'static str,
    },

    /// The operator set of the default domain is too old or too new, or there is none.
    #[error("{} uses {}", path.display(), found.map_or("no version of the default operator set".to_owned(), |v| format!("operator set {v}")))]
    #[diagnostic(
        code(dpc::onnx::opset),
        help(
            "dpc reads operator sets {} to {}, and older files none of whose operators has changed since: export with \
             opset_version=20, or convert the file with onnx.version_converter.convert_version(onnx.load(path), 20)",
            OLDEST_OPSET,
            NEWEST_OPSET
        )
    )]
    Opset {
        /// The model's path.
        path: PathBuf,
        /// The version that the file names.
        found: Option<i64>,
    },

    /// Initialisers or inputs whose element type dpc cannot compute with.
    #[error("values with an element type that dpc does not read:\n{}", list(values))]
    #[diagnostic(
        code(dpc::onnx::element_type),
        help(
            "dpc reads float, double, float16, bfloat16, bool and the 8- to 64-bit integers; export the model in float32"
        )
    )]
    ElementType {
        /// `name: type` for each.
        values: Vec<String>,
    },

    /// Tensors whose data does not fit their declaration.
    #[error("malformed tensors:\n{}", list(tensors))]
    #[diagnostic(code(dpc::onnx::tensor), help("the file is damaged or was written wrongly; export the model again"))]
    MalformedTensors {
        /// `name: what is wrong` for each.
        tensors: Vec<String>,
    },

    /// Tensors whose data lie in another file, which is missing, too short or out of bounds.
    #[error("external data that cannot be used:\n{}", list(tensors))]
    #[diagnostic(
        code(dpc::onnx::external_data),
        help("keep the data files beside the model: their paths are relative to its directory and may not leave it")
    )]
    ExternalData {
        /// `name: what is wrong` for each.
        tensors: Vec<String>,
    },

    /// Nodes whose operands are not defined, are defined twice or form a cycle.
    #[error("the graph is not well formed:\n{}", list(problems))]
    #[diagnostic(code(dpc::onnx::wiring), help("onnx.checker.check_model(path) says more; export the model again"))]
    Wiring {
        /// One line for each problem.
        problems: Vec<String>,
    },

    /// Graph inputs that dpc has no use for.
    #[error("graph inputs that dpc cannot feed:\n{}", list(inputs))]
    #[diagnostic(code(dpc::onnx::input), help("every input has to be a tensor with a declared shape"))]
    Input {
        /// `name: what is wrong` for each.
        inputs: Vec<String>,
    },

    /// A file of initial values that holds none.
    #[error("{} holds no initial values: {what}", path.display())]
    #[diagnostic(
        code(dpc::onnx::initial_file),
        help("give a .safetensors file or an ONNX model, whose tensors have the names of this model's")
    )]
    InitialFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },

    /// Initial values of which none goes into the model.
    #[error(
        "no tensor of {} goes into the model, which has {}; the file has {}",
        path.display(), some(model), some(file)
    )]
    #[diagnostic(
        code(dpc::onnx::initial_unmatched),
        help(
            "tensors are matched by name and shape: rename those of the file as the model has them, which `dpc inspect MODEL.onnx` \
             prints"
        )
    )]
    InitialUnmatched {
        /// The file.
        path: PathBuf,
        /// `name shape` for each parameter of the model.
        model: Vec<String>,
        /// The same for each tensor of the file.
        file: Vec<String>,
    },

    /// Initial values that are NaN or infinite.
    #[error("initial values of {} that are NaN or infinite:\n{}", path.display(), list(tensors))]
    #[diagnostic(code(dpc::onnx::initial_nonfinite), help("no training begins there: mend the file, or take another"))]
    InitialNonfinite {
        /// The file.
        path: PathBuf,
        /// `name: how many` for each.
        tensors: Vec<String>,
    },

    /// `--padding-idx` that fits no table.
    #[error("padding rows of no table:\n{}", list(problems))]
    #[diagnostic(
        code(dpc::onnx::padding),
        help("`dpc check MODEL.onnx` lists the tables: those that `Gather.0` uses; ID is a row of the table")
    )]
    Padding {
        /// One line for each problem.
        problems: Vec<String>,
    },

    /// `--batch-axis` that fits no input.
    #[error("no batch axis as it was named:\n{}", list(axes))]
    #[diagnostic(
        code(dpc::onnx::batch_axis),
        help("`dpc inspect MODEL.onnx` prints the inputs; give --batch-axis INPUT=AXIS for each, counted from 0")
    )]
    BatchAxis {
        /// One line for each problem.
        axes: Vec<String>,
    },

    /// Symbolic axes besides the batch axis.
    #[error("symbolic axes besides the batch axis:\n{}", list(axes))]
    #[diagnostic(
        code(dpc::onnx::symbolic_axes),
        help(
            "dpc compiles for fixed shapes with a free batch: give each of these axes a size with the flag beside it, or export \
             with these axes fixed; where records differ in length give the largest, and pad the others in the data with what \
             the model does not heed, by a padding id, a mask or lengths"
        )
    )]
    SymbolicAxes {
        /// `input, axis and symbol`, and the flag that fixes it, for each.
        axes: Vec<String>,
    },

    /// `--dim` flags that name no axis of an input, or one that has another size.
    #[error("axes that cannot be fixed:\n{}", list(fixes))]
    #[diagnostic(
        code(dpc::onnx::fix),
        help(
            "`--dim SYMBOL=SIZE` is for every axis of a symbol, `--dim INPUT:AXIS=SIZE` for one axis, counted from 0; {}",
            known(symbols)
        )
    )]
    Fixes {
        /// `fix: what is wrong` for each.
        fixes: Vec<String>,
        /// The symbols of the inputs.
        symbols: Vec<String>,
    },

    /// `--fix batch-norm` that cannot be done.
    #[error("batch normalisation that cannot be rewritten:\n{}", list(problems))]
    #[diagnostic(
        code(dpc::onnx::batch_norm),
        help(
            "`--fix batch-norm=group` rewrites layers that are in training mode, and needs the number of channels in the \
             file; `frozen` and `instance` do not"
        )
    )]
    BatchNorm {
        /// One line for each problem.
        problems: Vec<String>,
    },

    /// An attribute that is absent, or has another type than the operator's.
    #[error("node `{node}` ({op_type}): attribute `{attribute}` {problem}")]
    #[diagnostic(code(dpc::onnx::attribute), help("onnx.checker.check_model(path) says more; export the model again"))]
    Attribute {
        /// The node's name.
        node: String,
        /// Its operator.
        op_type: String,
        /// The attribute's name.
        attribute: String,
        /// What is wrong.
        problem: String,
    },

    /// `--train` or `--freeze` patterns that match no float initialiser.
    #[error("patterns that match no float initialiser:\n{}", list(patterns))]
    #[diagnostic(
        code(dpc::onnx::pattern),
        help("`dpc inspect MODEL.onnx` prints the names; `*` matches any run of characters, `?` one")
    )]
    Patterns {
        /// `pattern: near names` for each.
        patterns: Vec<String>,
    },

    /// Nothing would be trained.
    #[error("the model has no trainable parameter{}", if *frozen { " that is not frozen" } else { "" })]
    #[diagnostic(
        code(dpc::onnx::no_parameters),
        help(
            "name the initialisers to train with --train GLOB; a model whose weights were folded has to be exported in training mode"
        )
    )]
    NoParameters {
        /// Whether `--freeze` took the last.
        frozen: bool,
    },

    /// Trained values that do not fit the model that they are exported into.
    #[error("trained values that do not fit the model:\n{}", list(values))]
    #[diagnostic(
        code(dpc::onnx::export_mismatch),
        help("the trained values and the source model come from different files; compile the model again")
    )]
    ExportMismatch {
        /// `name: what is wrong` for each.
        values: Vec<String>,
    },

    /// The exported model would not fit a protocol buffer.
    #[error("the exported model would take {bytes} bytes; a protocol buffer holds less than 2 GiB")]
    #[diagnostic(code(dpc::onnx::export_size), help("export the parameters alone: -o TRAINED.safetensors"))]
    ExportSize {
        /// The size of the encoded model.
        bytes: usize,
    },
}

fn known(symbols: &[String]) -> String {
    match symbols.is_empty() {
        true => "no input has a named symbolic axis".to_owned(),
        false => format!("the inputs have the symbols {}", symbols.join(", ")),
    }
}

/// The first of some names in a sentence.
fn some(items: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<String> = items.iter().take(SHOWN).map(|item| format!("`{item}`")).collect();
    match items.len().checked_sub(SHOWN + 1) {
        Some(more) => format!("{}, … ({} more)", shown.join(", "), more + 1),
        None if items.is_empty() => "none".to_owned(),
        None => shown.join(", "),
    }
}

/// One indented line for each item.
pub(crate) fn list(items: &[String]) -> String {
    items.iter().map(|item| format!("  - {item}")).collect::<Vec<_>>().join("\n")
}
