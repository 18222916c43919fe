//! The model, read, checked and ready for the compiler.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use prost::Message;
use prost::bytes::{Buf, Bytes};

use super::batch_norm::{self, Substitute};
use super::error::OnnxError;
use super::exporter::Exporter;
use super::facts::Facts;
use super::fix::{self, AxisFix};
use super::lift::{self, Lifted};
use super::node::OnnxNode;
use super::opset::opset;
use super::parameters::{self, Parameter};
use super::proto::{GraphProto, ModelProto, TensorProto};
use super::tensor::{Elem, Tensor};
use super::{as_strided, embedding_bag, external, flatten, inputs, linear, wiring};

/// The size of an axis. `N` is the number of samples in a physical batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

/// The axis of an input that holds the records. Written `INPUT=AXIS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchAxis {
    /// The input's name.
    pub input: String,
    /// The axis, counted from 0.
    pub axis: usize,
}

impl FromStr for BatchAxis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let split = text.rsplit_once('=').and_then(|(input, axis)| Some((input, axis.parse().ok()?)));
        let (input, axis) = split.ok_or_else(|| format!("`{text}` should be INPUT=AXIS, as in input=0"))?;
        Ok(Self { input: input.to_owned(), axis })
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
    /// What takes the place of batch normalisation in training mode; that is refused otherwise.
    pub batch_norm: Option<Substitute>,
}

/// A model, ready for the compiler.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file's message, with external data taken in and axes fixed.
    pub model: ModelProto,
    /// The file's bytes, or those of `model` where it is another. Either way they stand for themselves.
    pub bytes: Bytes,
    /// The program that wrote the file.
    pub exporter: Exporter,
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
    /// The number of records that every shape in the file is for, where its batch axis has a fixed size that is taken as
    /// free.
    pub fixed_batch: Option<usize>,
    /// The element types that the file gives the initialisers.
    elems: HashMap<String, Elem>,
    /// What the file says of results of operators that are not ONNX's own.
    declared: Vec<ValueInfo>,
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
        if let Some(substitute) = reading.batch_norm {
            notes.push(batch_norm::apply(graph, &mut model.metadata_props, opset, substitute)?);
        }
        let external = graph.initializer.iter().any(external::is_external);
        let mut initializers = external::initializers(graph, path, &mut notes)?;
        let inputs = inputs::inputs(graph, &initializers, &mut notes)?;
        notes.extend(other_precision(graph, &inputs));
        let flat = flatten::flatten(graph, &model.functions, &initializers, opset);
        let flat = match as_strided::recognise(&flat) {
            Some(recognised) => Cow::Owned(recognised),
            None => flat,
        };
        let flat = match embedding_bag::recognise(&flat, opset) {
            Some((recognised, found)) => {
                notes.extend(found);
                Cow::Owned(recognised)
            }
            None => flat,
        };
        let (flat, attributes) = match linear::expand(&flat, &mut initializers) {
            Some((expanded, attributes)) => (Cow::Owned(expanded), attributes),
            None => (flat, BTreeMap::new()),
        };
        let mut nodes = wiring::nodes(&flat, &initializers, &inputs)?;
        let elem = |tensor: &TensorProto| (tensor.name().to_owned(), Elem::from_onnx(tensor.data_type()));
        let mut elems = graph.initializer.iter().map(elem).collect();
        let parts =
            lift::Parts { nodes: &mut nodes, initializers: &mut initializers, elems: &mut elems, inputs: &inputs };
        let mut lifted = lift::lift(&model, parts, &mut notes);
        lifted.extend(attributes);
        let bytes = match external || !reading.fixes.is_empty() || reading.batch_norm.is_some() {
            true => {
                let bytes = model.encode_to_vec().into();
                // Its tensors are then parts of `bytes`, and not held twice.
                model = decode(&bytes, path)?;
                bytes
            }
            false => bytes,
        };
        let exporter = Exporter::of(&model);
        let declared = model.graph.as_ref().map(|graph| inputs::foreign(graph, &inputs)).unwrap_or_default();
        let (facts, outputs, path) = (Facts::default(), Vec::new(), path.to_owned());
        let mut source = Source {
            exporter,
            opset,
            nodes,
            initializers,
            lifted,
            elems,
            declared,
            inputs,
            outputs,
            facts,
            path,
            notes,
            model,
            bytes,
            fixed_batch: None,
        };
        source.infer(&parameters::constants(&source));
        Ok(source)
    }

    /// Takes axes of fixed size as the batch axis: for each `(input, axis)` of `axes`, that axis of that input. What the
    /// file computes is then taken for what it computes of so many records; what is known of the values stays as the file
    /// has it.
    ///
    /// # Errors
    ///
    /// [`OnnxError::BatchAxis`] with every input or axis that is not there, and sizes that differ.
    pub fn free_batch(&mut self, axes: &[BatchAxis]) -> Result<(), OnnxError> {
        let mut problems = Vec::new();
        let mut sizes = BTreeSet::new();
        for BatchAxis { input, axis } in axes {
            let found = self.inputs.iter_mut().find(|info| info.name == *input);
            match found.map(|info| (info.dims.get(*axis).copied(), info)) {
                None => problems.push(format!("`{input}`: there is no such input")),
                Some((None, info)) => problems.push(format!("`{input}`: it has {} axes", info.dims.len())),
                Some((Some(Dim::Batch(_)), _)) => {}
                Some((Some(Dim::Known(size)), info)) => {
                    sizes.insert(size);
                    info.dims[*axis] = Dim::Batch(1);
                }
            }
        }
        if sizes.len() > 1 {
            problems.push(format!("the axes have different sizes: {sizes:?}"));
        }
        if self.inputs.iter().any(|info| info.dims.iter().filter(|dim| matches!(dim, Dim::Batch(_))).count() > 1) {
            problems.push("an input has the batch on two axes".to_owned());
        }
        if !problems.is_empty() {
            return Err(OnnxError::BatchAxis { axes: problems });
        }
        self.fixed_batch = sizes.first().copied();
        Ok(())
    }

    /// The batch axes that the user names; where none is named and no input has a free axis, the [usual](Self::usual_batch),
    /// with a note.
    ///
    /// # Errors
    ///
    /// As [`Source::free_batch`].
    pub fn take_batch(&mut self, named: &[BatchAxis]) -> Result<(), OnnxError> {
        let usual = if named.is_empty() { self.usual_batch() } else { None };
        self.free_batch(usual.as_deref().unwrap_or(named))?;
        if let (Some(axes), Some(size)) = (usual, self.fixed_batch) {
            let inputs: Vec<String> = axes.iter().map(|axis| format!("`{}`", axis.input)).collect();
            self.notes.push(format!(
                "the file was exported for a batch of {size}: axis 0 of {} is taken as the batch (--batch-axis INPUT=AXIS \
                 takes another); the trained model will have the fixed batch again; to free it, {}",
                inputs.join(", "),
                self.exporter.freeing_batch()
            ));
        }
        Ok(())
    }

    /// The axis of each input that is the batch in most models, the first, if no input has a free one and all have one of
    /// the same size. `None` where that cannot be said.
    pub fn usual_batch(&self) -> Option<Vec<BatchAxis>> {
        let leading: BTreeSet<Option<&Dim>> = self.inputs.iter().map(|input| input.dims.first()).collect();
        let free = self.inputs.iter().flat_map(|input| &input.dims).any(|dim| matches!(dim, Dim::Batch(_)));
        match (free, leading.len(), leading.first()) {
            (false, 1, Some(Some(Dim::Known(1..)))) => {
                Some(self.inputs.iter().map(|input| BatchAxis { input: input.name.clone(), axis: 0 }).collect())
            }
            _ => None,
        }
    }

    /// Whether an initialiser is stored in a type that nothing computes with: it is a constant.
    pub fn is_narrow(&self, name: &str) -> bool {
        matches!(self.elems.get(name), Some(Elem::Other(_)))
    }

    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&OnnxNode> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// What is known of each value if these parameters are trained: shape inference takes what is surely no parameter for
    /// a constant, and the user may train it all the same.
    pub fn facts_for(&self, parameters: &[Parameter]) -> Cow<'_, Facts> {
        let mut constants = parameters::constants(self);
        let before = constants.len();
        parameters.iter().filter(|parameter| parameter.trainable).for_each(|parameter| {
            constants.remove(&parameter.name);
        });
        if constants.len() == before {
            return Cow::Borrowed(&self.facts);
        }
        Cow::Owned(self.inferred(&constants))
    }

    fn inferred(&self, constants: &BTreeSet<String>) -> Facts {
        let mut inputs = self.inputs.clone();
        if let Some(size) = self.fixed_batch {
            for dim in inputs.iter_mut().flat_map(|input| &mut input.dims).filter(|dim| matches!(dim, Dim::Batch(_))) {
                *dim = Dim::Known(size);
            }
        }
        let stored = (&self.initializers, &self.elems, constants);
        Facts::infer(&self.nodes, stored, &inputs, &self.declared, self.opset)
    }

    /// Infers what is known of each value, and of the outputs.
    pub(super) fn infer(&mut self, constants: &BTreeSet<String>) {
        self.facts = self.inferred(constants);
        let outputs = self.model.graph.iter().flat_map(|graph| &graph.output).map(|output| OutputInfo {
            name: output.name().to_owned(),
            dtype: self.facts.dtype(output.name()),
            dims: self.facts.shape(output.name()).map(<[Dim]>::to_vec),
        });
        self.outputs = outputs.collect();
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
