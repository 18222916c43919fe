//! The model, read, checked and ready for the compiler.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use prost::Message;
use prost::bytes::{Buf, Bytes};

use super::error::OnnxError;
use super::facts::Facts;
use super::node::OnnxNode;
use super::proto::{GraphProto, ModelProto, TensorProto};
use super::tensor::{Elem, Tensor};
use super::{external, inputs, wiring};

/// The size of an axis. `N` is the number of samples in a physical batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A fixed size.
    Known(usize),
    /// `k·N`.
    Batch(usize),
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Known(size) => write!(f, "{size}"),
            Dim::Batch(1) => f.write_str("N"),
            Dim::Batch(factor) => write!(f, "{factor}·N"),
        }
    }
}

/// A graph input.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueInfo {
    /// The ONNX name.
    pub name: String,
    /// The declared element type.
    pub dtype: Elem,
    /// The declared shape, with its symbols resolved.
    pub dims: Vec<Dim>,
}

/// A graph output. Type and shape are unknown where inference met an operator without a rule on the way.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputInfo {
    /// The ONNX name.
    pub name: String,
    /// The element type.
    pub dtype: Option<Elem>,
    /// The shape.
    pub dims: Option<Vec<Dim>>,
}

/// A model, ready for the compiler.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file's message, with external data taken in.
    pub model: ModelProto,
    /// The file's bytes; with external data, the model that has taken it in. Either way they stand for themselves.
    pub bytes: Bytes,
    /// The version of the default operator set.
    pub opset: i64,
    /// The nodes that an output depends on, in topological order.
    pub nodes: Vec<OnnxNode>,
    /// The constants that the file stores, external ones included.
    pub initializers: BTreeMap<String, Tensor>,
    /// The inputs that have to be fed, in the file's order.
    pub inputs: Vec<ValueInfo>,
    /// The outputs, in the file's order.
    pub outputs: Vec<OutputInfo>,
    /// What is known of each value.
    pub facts: Facts,
    /// Where the file was read from.
    pub path: PathBuf,
    /// What the user should know of how the file was read, one sentence each.
    pub notes: Vec<String>,
}

impl Source {
    /// Reads the model at `path`, with external data from its directory.
    ///
    /// # Errors
    ///
    /// Any [`OnnxError`] of reading; problems of one kind are reported together.
    pub fn open(path: &Path) -> Result<Source, OnnxError> {
        let bytes = std::fs::read(path).map_err(|source| OnnxError::Read { path: path.to_owned(), source })?;
        Source::from_bytes(bytes.into(), path)
    }

    /// Reads the model in `bytes`; `path` says where it stands, for external data and for messages.
    ///
    /// # Errors
    ///
    /// As [`Source::open`].
    pub fn from_bytes(bytes: Bytes, path: &Path) -> Result<Source, OnnxError> {
        let mut model = decode(&bytes, path)?;
        let mut notes = Vec::new();
        let unread = bytes.len().saturating_sub(model.encoded_len());
        if unread > 0 {
            notes.push(format!(
                "the file has {unread} bytes more than dpc reads: it may hold fields newer than IR version 14, which an \
                 export lacks"
            ));
        }
        let opset = opset(&model, path, &mut notes);
        let empty = |what| OnnxError::Empty { path: path.to_owned(), what };
        let graph = model.graph.as_mut().ok_or_else(|| empty("no graph"))?;
        if graph.node.is_empty() {
            return Err(empty("a graph without nodes"));
        }
        if graph.output.is_empty() {
            return Err(empty("a graph without outputs"));
        }
        let opset = opset?;
        let external = graph.initializer.iter().any(external::is_external);
        let initializers = external::initializers(graph, path, &mut notes)?;
        let inputs = inputs::inputs(graph, &initializers, &mut notes)?;
        notes.extend(other_precision(graph, &inputs));
        let nodes = wiring::nodes(graph, &initializers, &inputs)?;
        let elem = |tensor: &TensorProto| (tensor.name().to_owned(), Elem::from_onnx(tensor.data_type()));
        let elems = graph.initializer.iter().map(elem).collect();
        let facts = Facts::infer(&nodes, &initializers, &elems, &inputs, opset);
        let outputs = graph
            .output
            .iter()
            .map(|output| OutputInfo {
                name: output.name().to_owned(),
                dtype: facts.dtype(output.name()),
                dims: facts.shape(output.name()).map(<[Dim]>::to_vec),
            })
            .collect();
        let bytes = match external {
            true => model.encode_to_vec().into(),
            false => bytes,
        };
        Ok(Source { opset, nodes, initializers, inputs, outputs, facts, path: path.to_owned(), notes, model, bytes })
    }
}

/// That a model of other floats is computed in float32, if it is.
fn other_precision(graph: &GraphProto, inputs: &[ValueInfo]) -> Option<String> {
    let stored = graph.initializer.iter().map(|tensor| Elem::from_onnx(tensor.data_type()));
    let elems: Vec<Elem> = stored.chain(inputs.iter().map(|input| input.dtype)).collect();
    let names = [(Elem::F16, "float16"), (Elem::Bf16, "bfloat16"), (Elem::F64, "float64")];
    let found: Vec<&str> = names.iter().filter(|(elem, _)| elems.contains(elem)).map(|(_, name)| *name).collect();
    (!found.is_empty()).then(|| {
        format!(
            "the model has numbers of {}: dpc computes and trains in float32, and an export rounds what is trained to the \
             types of the source",
            found.join(" and ")
        )
    })
}

fn decode(bytes: &Bytes, path: &Path) -> Result<ModelProto, OnnxError> {
    let mut rest = bytes.clone();
    let mut model = ModelProto::default();
    match model.merge(&mut rest) {
        Ok(()) => Ok(model),
        Err(error) => Err(OnnxError::NotAModel {
            path: path.to_owned(),
            offset: bytes.len() - rest.remaining(),
            length: bytes.len(),
            reason: error.to_string(),
            hint: hint(bytes).to_owned(),
        }),
    }
}

/// What bytes that are no model look like.
fn hint(bytes: &[u8]) -> &'static str {
    match bytes {
        [b'P', b'K', 3, 4, ..] => {
            "this is a zip archive, as torch.save and dpc compile write them; give the .onnx file"
        }
        _ if bytes.starts_with(b"version https://git-lfs") => "this is a Git LFS pointer; run `git lfs pull`",
        _ if bytes.starts_with(b"<") => "this is a web page or XML; download the raw file",
        _ => "the file is truncated or of another format; export or download it again",
    }
}

/// The version of the default operator set.
fn opset(model: &ModelProto, path: &Path, notes: &mut Vec<String>) -> Result<i64, OnnxError> {
    let found = model.opset_import.iter().find(|set| matches!(set.domain(), "" | "ai.onnx")).map(|set| set.version());
    match found {
        Some(version) if version >= OLDEST_OPSET => {
            if version > NEWEST_OPSET {
                notes.push(format!(
                    "operator set {version} is newer than {NEWEST_OPSET}, the newest that dpc is tested with; \
                     operators that changed since are read as they were"
                ));
            }
            Ok(version)
        }
        found => Err(OnnxError::Opset { path: path.to_owned(), found }),
    }
}

const OLDEST_OPSET: i64 = 13;
const NEWEST_OPSET: i64 = 23;
