//! The model, read, checked and ready for the compiler.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use prost::Message;
use prost::bytes::{Buf, Bytes};

use super::error::OnnxError;
use super::facts::Facts;
use super::fix::{self, AxisFix};
use super::lift::{self, Lifted};
use super::node::OnnxNode;
use super::proto::{ModelProto, TensorProto};
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

/// What the user says of how a file is to be read.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Symbolic axes that get a size.
    pub fixes: Vec<AxisFix>,
}

/// A model, ready for the compiler.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file's message, with external data taken in and axes fixed.
    pub model: ModelProto,
    /// The file's bytes, or those of `model` where it is another. Either way they stand for themselves.
    pub bytes: Bytes,
    /// The version of the default operator set.
    pub opset: i64,
    /// The nodes that an output depends on, in topological order.
    pub nodes: Vec<OnnxNode>,
    /// The constants that the file stores, external ones and weights that it writes as nodes included.
    pub initializers: BTreeMap<String, Tensor>,
    /// The initialisers that the file writes as nodes, which are not among `nodes`.
    pub lifted: BTreeMap<String, Lifted>,
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
        Source::open_as(path, &Reading::default())
    }

    /// Reads the model at `path` as the user says.
    ///
    /// # Errors
    ///
    /// As [`Source::open`], and [`OnnxError::Fixes`].
    pub fn open_as(path: &Path, reading: &Reading) -> Result<Source, OnnxError> {
        let bytes = std::fs::read(path).map_err(|source| OnnxError::Read { path: path.to_owned(), source })?;
        Source::from_bytes_as(bytes.into(), path, reading)
    }

    /// Reads the model in `bytes`; `path` says where it stands, for external data and for messages.
    ///
    /// # Errors
    ///
    /// As [`Source::open`].
    pub fn from_bytes(bytes: Bytes, path: &Path) -> Result<Source, OnnxError> {
        Source::from_bytes_as(bytes, path, &Reading::default())
    }

    fn from_bytes_as(bytes: Bytes, path: &Path, reading: &Reading) -> Result<Source, OnnxError> {
        let mut model = decode(&bytes, path)?;
        let mut notes = Vec::new();
        let unread = bytes.len().saturating_sub(model.encoded_len());
        if unread > 0 {
            notes.push(format!(
                "the file has {unread} bytes more than dpc reads: it may hold fields newer than IR version 14, which an \
                 export lacks"
            ));
        }
        let opset = opset(&model, path);
        let empty = |what| OnnxError::Empty { path: path.to_owned(), what };
        let graph = model.graph.as_mut().ok_or_else(|| empty("no graph"))?;
        if graph.node.is_empty() {
            return Err(empty("a graph without nodes"));
        }
        if graph.output.is_empty() {
            return Err(empty("a graph without outputs"));
        }
        let opset = opset?;
        fix::apply(graph, &reading.fixes)?;
        let external = graph.initializer.iter().any(external::is_external);
        let mut initializers = external::initializers(graph, path, &mut notes)?;
        let inputs = inputs::inputs(graph, &initializers, &mut notes)?;
        let mut nodes = wiring::nodes(graph, &initializers, &inputs)?;
        let elem = |tensor: &TensorProto| (tensor.name().to_owned(), Elem::from_onnx(tensor.data_type()));
        let mut elems = graph.initializer.iter().map(elem).collect();
        let outputs = graph.output.iter().map(|output| output.name().to_owned()).collect::<Vec<_>>();
        let parts =
            lift::Parts { nodes: &mut nodes, initializers: &mut initializers, elems: &mut elems, inputs: &inputs };
        let lifted = lift::lift(&model, parts, &mut notes);
        let facts = Facts::infer(&nodes, &initializers, &elems, &inputs, opset);
        let outputs = outputs
            .into_iter()
            .map(|name| OutputInfo { dtype: facts.dtype(&name), dims: facts.shape(&name).map(<[Dim]>::to_vec), name })
            .collect();
        let bytes = match external || !reading.fixes.is_empty() {
            true => model.encode_to_vec().into(),
            false => bytes,
        };
        Ok(Source {
            opset,
            nodes,
            initializers,
            lifted,
            inputs,
            outputs,
            facts,
            path: path.to_owned(),
            notes,
            model,
            bytes,
        })
    }
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
fn opset(model: &ModelProto, path: &Path) -> Result<i64, OnnxError> {
    let found = model.opset_import.iter().find(|set| matches!(set.domain(), "" | "ai.onnx")).map(|set| set.version());
    match found {
        Some(version @ OLDEST_OPSET..=NEWEST_OPSET) => Ok(version),
        found => Err(OnnxError::Opset { path: path.to_owned(), found }),
    }
}

/// The first version with today's broadcasting, and with no `is_test` in operators that behave otherwise in training.
pub const OLDEST_OPSET: i64 = 7;

/// The last version whose operators were compared with those before, one by one.
pub const NEWEST_OPSET: i64 = 28;
