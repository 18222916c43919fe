//! What an import rule sees of the model.

mod marks;
mod refuse;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::axes::{Axes, Axis};
use super::beyond::Supposed;
use super::own_rows::OwnRow;
use super::{Refusal, Value};
use crate::graph::{DType, NodeId, Origin, Type, TypeError};
use crate::lower::scalar::Func;
use crate::onnx::{Dim, Elem, Facts, Int, OnnxNode, Parameter, Source, Tensor, TensorData};
use crate::ops::Graph;
use crate::ops::elementwise::Elementwise;
use crate::ops::movement::Reshape;
use crate::ops::{Op, leaf};

/// What an import rule works with: the model, the graph so far, and the values made so far.
pub struct Import<'s> {
    pub(super) source: &'s Source,
    pub(super) facts: Cow<'s, Facts>,
    pub(super) graph: Graph,
    pub(super) values: HashMap<String, Value>,
    pub(super) constants: BTreeSet<String>,
    /// Values that are computed from the number of records and nothing else; an op that combines one with data is refused.
    pub(super) counts: BTreeSet<String>,
    /// Values that name records, see [`super::own_rows`].
    pub(super) own_rows: BTreeMap<String, OwnRow>,
    /// Whether the rule at work hands those on, as its op only moves elements.
    pub(super) moves_own_rows: bool,
    /// The layer of the dropout that random numbers make, see `rules::random`.
    pub(super) random: BTreeMap<String, u32>,
    /// Masks of dropouts: floats, where the file has booleans.
    pub(super) masks: BTreeSet<String>,
    /// Values that a refused node would yield and of which nothing else is known.
    pub(super) refused: BTreeSet<String>,
    /// Values behind a refused node, by their inferred type: their readers are looked at all the same.
    pub(super) supposed: BTreeMap<String, Supposed>,
    /// What the rule at work has asked for of those.
    pub(super) read_supposed: Supposed,
    pub(super) parameters: BTreeMap<&'s str, &'s Parameter>,
    pub(super) origin: Origin,
    pub(super) ids: BTreeMap<String, usize>,
    pub(super) notes: Vec<String>,
    pub(super) dropouts: u32,
    /// The dropouts that the file does not switch on.
    pub(super) silent_dropouts: Vec<String>,
    pub(super) batched_model: bool,
}

impl<'s> Import<'s> {
    pub(super) fn new(source: &'s Source, parameters: &'s [Parameter]) -> Self {
        Import {
            source,
            facts: source.facts_for(parameters),
            graph: Graph::default(),
            values: HashMap::new(),
            constants: BTreeSet::new(),
            counts: BTreeSet::new(),
            own_rows: BTreeMap::new(),
            random: BTreeMap::new(),
            masks: BTreeSet::new(),
            moves_own_rows: false,
            refused: BTreeSet::new(),
            supposed: BTreeMap::new(),
            read_supposed: Supposed::Nothing,
            parameters: parameters.iter().map(|p| (p.name.as_str(), p)).collect(),
            origin: Origin::default(),
            ids: BTreeMap::new(),
            notes: Vec::new(),
            dropouts: 0,
            silent_dropouts: Vec::new(),
            batched_model: false,
        }
    }

    /// Takes down what an op from outside has been found to yield, so that shape inference goes on from there.
    pub(super) fn learn(&mut self, name: &str, value: &Value) {
        let elem = match self.graph.ty(value.node).dtype {
            DType::F32 => Elem::F32,
            DType::I32 => Elem::I64,
            DType::Bool => Elem::Bool,
        };
        let size = |axis: &Axis| match (axis.is_batched(), self.source.fixed_batch) {
            (false, _) => Dim::Known(axis.per_record()),
            (true, None) => Dim::Batch(axis.per_record()),
            (true, Some(batch)) => Dim::Known(axis.per_record().saturating_mul(batch)),
        };
        let dims = value.axes.0.iter().map(size).collect();
        self.facts.to_mut().learn(name, elem, dims);
    }

    /// Infers what a node yields, where that waited for an op from outside.
    pub(super) fn infer_behind_custom(&mut self, node: &OnnxNode) {
        if node.domain.is_empty() && self.facts.is_behind_custom(node) {
            self.facts.to_mut().infer_node(node, self.source.opset);
        }
    }

    /// Whether all a node yields is known now and has nothing to do with records or parameters: shape arithmetic and
    /// literals. Such a node makes no graph node; its value is materialised where a rule asks for it.
    pub(super) fn is_constant(&self, node: &OnnxNode) -> bool {
        let facts = &self.facts;
        let known = |o: &String| facts.ints(o).is_some() || facts.constant(o).is_some();
        let outputs_known = node.outputs.iter().filter(|o| !o.is_empty()).all(known);
        if !node.domain.is_empty() {
            return false;
        }
        let shape_only = matches!(node.op_type.as_str(), "Shape" | "Size");
        // Not those of a weight's first values, which training changes; the number of records is none of them.
        let counts = |ints: &[Int]| ints.iter().any(|int| matches!(int, Int::Batch(_)));
        let fixed = |o: &String| facts.ints(o).is_some_and(|ints| counts(ints) || facts.constant(o).is_some());
        let ints_only = node.outputs.iter().filter(|o| !o.is_empty()).all(fixed);
        shape_only
            || node.op_type == "Constant"
            || (outputs_known && (ints_only || node.inputs.iter().filter(|i| !i.is_empty()).all(|i| self.inert(i))))
    }

    /// Whether a node works on the number of records, or on what was computed from it, and on constants only.
    pub(super) fn counts_records(&self, node: &OnnxNode) -> bool {
        let counts = |i: &String| {
            let ints = self.facts.ints(i);
            self.counts.contains(i) || ints.is_some_and(|ints| ints.iter().any(|i| matches!(i, Int::Batch(_))))
        };
        let mut inputs = node.inputs.iter().filter(|i| !i.is_empty());
        inputs.clone().any(counts) && inputs.all(|i| counts(i) || self.inert(i))
    }

    /// Whether a value has nothing to do with records or parameters.
    fn inert(&self, name: &str) -> bool {
        let trained = self.parameters.get(name).is_some_and(|parameter| parameter.trainable);
        let literal = |t: &Tensor| t.floats().is_none() || (!trained && self.facts.constant(name).is_some());
        self.constants.contains(name) || self.source.initializers.get(name).is_some_and(literal)
    }

    /// A value by its ONNX name, materialised from an initialiser or a known constant where need be.
    pub(super) fn named(&mut self, name: &str) -> Result<Option<Value>, String> {
        if let Some(value) = self.values.get(name) {
            return Ok(Some(value.clone()));
        }
        let value = if let Some(tensor) = self.source.initializers.get(name) {
            match (self.parameters.get(name), &tensor.data) {
                (Some(p), TensorData::F32(_)) => {
                    let op = leaf::Parameter { name: name.into(), dims: tensor.dims.clone(), trainable: p.trainable };
                    let node = self.graph.add(op, &[], Origin::value(name)).map_err(|e| e.to_string())?;
                    Some(Value { node, axes: Axes::shared(&tensor.dims) })
                }
                _ => Some(self.constant(tensor, name)?),
            }
        } else if let Some(tensor) = self.facts.constant(name).cloned() {
            Some(self.constant(&tensor, name)?)
        } else {
            let attribute =
                self.source.nodes.iter().find(|n| n.op_type == "Constant" && n.outputs.iter().any(|o| o == name));
            match attribute.map(|n| n.tensor("value")) {
                Some(Ok(Some(tensor))) => Some(self.constant(&tensor, name)?),
                Some(Err(e)) => return Err(e.to_string()),
                _ => None,
            }
        };
        if let Some(value) = &value {
            self.values.insert(name.into(), value.clone());
        }
        Ok(value)
    }

    fn constant(&mut self, tensor: &Tensor, name: &str) -> Result<Value, String> {
        let data = match &tensor.data {
            TensorData::F32(v) => leaf::Data::F32(v.clone().into()),
            TensorData::I64(v) => leaf::Data::I32(
                v.iter()
                    .map(|&x| i32::try_from(x).map_err(|_| format!("constant `{name}` holds {x}, beyond 32 bits")))
                    .collect::<Result<Vec<_>, _>>()?
                    .into(),
            ),
            TensorData::Bool(v) => leaf::Data::I32(v.iter().map(|&b| b as i32).collect::<Vec<_>>().into()),
        };
        let op = leaf::Constant { dims: tensor.dims.clone(), data };
        let mut node = self.graph.add(op, &[], Origin::default()).map_err(|e| e.to_string())?;
        if matches!(tensor.data, TensorData::Bool(_)) {
            node = self.truth(node).map_err(|e| e.to_string())?;
        }
        Ok(Value { node, axes: Axes::shared(&tensor.dims) })
    }

    /// The booleans that integers stand for, in the file and in data.
    pub(super) fn truth(&mut self, integers: NodeId) -> Result<NodeId, TypeError> {
        self.graph.add(Elementwise::call(Func::I32ToBool), &[integers], Origin::default())
    }

    /// Input `i` of a node, which must be there.
    pub fn value(&mut self, node: &OnnxNode, i: usize) -> Result<Value, Refusal> {
        self.optional(node, i)?.ok_or_else(|| self.invalid(node, format!("input {i} is missing")))
    }

    /// [`Import::value`], also if it has no elements.
    pub fn value_or_nothing(&mut self, node: &OnnxNode, i: usize) -> Result<Value, Refusal> {
        self.any(node, i)?.ok_or_else(|| self.invalid(node, format!("input {i} is missing")))
    }

    /// Input `i` of a node, if it is there. One without elements is refused: no kernel is for nothing.
    pub fn optional(&mut self, node: &OnnxNode, i: usize) -> Result<Option<Value>, Refusal> {
        let value = self.any(node, i)?;
        match &value {
            Some(Value { axes, .. }) if axes.hold_nothing() => {
                let name = node.input(i).unwrap_or_default();
                let why = format!("its operand `{name}` of dims {axes} has no elements");
                Err(self.unsupported(node, &why))
            }
            _ => Ok(value),
        }
    }

    /// The name of the initialiser that input `i` of a node is.
    pub fn stored(&self, node: &OnnxNode, i: usize) -> Option<String> {
        node.input(i).filter(|name| self.source.initializers.contains_key(*name)).map(str::to_owned)
    }

    /// Whether every reader of a node's result compares it.
    pub fn is_only_compared(&self, node: &OnnxNode) -> bool {
        let reads = |reader: &&OnnxNode| node.outputs.iter().any(|output| reader.inputs.contains(output));
        self.source.nodes.iter().filter(reads).all(|reader| reader.op_type == "Less")
    }

    /// [`Import::value`], also if it names records: for a rule that reads each record's own row by it, or writes to it.
    pub fn value_or_own_row(&mut self, node: &OnnxNode, i: usize) -> Result<Value, Refusal> {
        self.moves_own_rows = true;
        let value = self.value(node, i);
        self.moves_own_rows = false;
        value
    }

    fn any(&mut self, node: &OnnxNode, i: usize) -> Result<Option<Value>, Refusal> {
        let Some(name) = node.input(i) else { return Ok(None) };
        self.note_supposed(name);
        if self.counts.contains(name) {
            return Err(self.mixes(
                node,
                format!("`{name}` is computed from the number of records in the batch"),
                "use a constant instead; losses and their means are attached by dpc",
            ));
        }
        if self.random.contains_key(name) || self.masks.contains(name) {
            return Err(self.unsupported(node, "random numbers of another use than a dropout's"));
        }
        match self.own_rows.get(name).filter(|_| !self.moves_own_rows) {
            Some(OwnRow::Offset(_)) => {
                return Err(self.mixes(
                    node,
                    format!("`{name}` numbers the elements of all records together"),
                    "use such numbers to unpool (MaxUnpool), or take from them those of each plane's first element",
                ));
            }
            Some(OwnRow::Number | OwnRow::Index) => {
                return Err(self.mixes(
                    node,
                    format!("`{name}` is the number of the record in the batch"),
                    "index a value by Range(0, N) as it is, or better by nothing: a record is alone",
                ));
            }
            None => {}
        }
        match self.named(name) {
            Ok(Some(value)) => Ok(Some(value)),
            Ok(None) => {
                Err(self.unsupported(node, &format!("the value `{name}` is not known when the model is compiled")))
            }
            Err(why) => Err(self.invalid(node, why)),
        }
    }

    /// Integers that must be known now, such as axes; `None` if the input is absent. A batch size among them is refused.
    pub fn ints(&self, node: &OnnxNode, i: usize) -> Result<Option<Vec<i64>>, Refusal> {
        let Some(name) = node.input(i) else { return Ok(None) };
        if let Some(ints) = self.source.initializers.get(name).and_then(Tensor::ints) {
            return Ok(Some(ints.to_vec()));
        }
        let Some(ints) = self.facts.ints(name) else {
            return Err(
                self.unsupported(node, &format!("the integers `{name}` are not known when the model is compiled"))
            );
        };
        ints.iter()
            .map(|i| match i {
                Int::Known(n) => Ok(*n),
                Int::Batch(_) => {
                    Err(self.mixes(node, format!("`{name}` is computed from the batch size"), "use a constant instead"))
                }
            })
            .collect::<Result<Vec<_>, _>>()
            .map(Some)
    }

    /// A single float that must be known now, such as a dropout ratio; `None` if the input is absent.
    pub fn float(&self, node: &OnnxNode, i: usize) -> Result<Option<f32>, Refusal> {
        let Some(name) = node.input(i) else { return Ok(None) };
        let tensor = self.source.initializers.get(name).or_else(|| self.facts.constant(name));
        match tensor.and_then(Tensor::floats) {
            Some([x]) => Ok(Some(*x)),
            _ => Err(self.unsupported(node, &format!("the number `{name}` is not known when the model is compiled"))),
        }
    }

    /// Floats that are known now, such as scales; `None` if the input is absent, of integers or not known.
    pub fn known_floats(&self, node: &OnnxNode, i: usize) -> Option<&[f32]> {
        let name = node.input(i)?;
        self.source.initializers.get(name).or_else(|| self.facts.constant(name)).and_then(Tensor::floats)
    }

    /// The tensor that input `i` of a node is in every batch, if it depends on nothing but shapes and constants.
    pub fn known(&self, node: &OnnxNode, i: usize) -> Option<&Tensor> {
        self.facts.constant(node.input(i)?)
    }

    /// Integers that may hold multiples of the batch size, such as a shape; `None` if the input is absent or not known.
    pub fn symbolic(&self, node: &OnnxNode, i: usize) -> Option<&[Int]> {
        self.facts.ints(node.input(i)?)
    }

    /// The dims of input `i` of a node, if they are known.
    pub fn input_dims(&self, node: &OnnxNode, i: usize) -> Option<&[Dim]> {
        self.facts.shape(node.input(i)?)
    }

    /// The parameter that input `i` of a node is, possibly transposed or handed on.
    pub fn parameter(&self, node: &OnnxNode, i: usize) -> Option<&'s Parameter> {
        let mut name = node.input(i)?;
        while let Some(maker) = self.source.nodes.iter().find(|n| n.outputs.iter().any(|o| o == name)) {
            if !matches!(maker.op_type.as_str(), "Identity" | "Cast" | "Transpose") {
                return None;
            }
            name = maker.input(0)?;
        }
        self.parameters.get(name).copied()
    }

    /// Whether input `i` of a node is an initialiser of zeros that is not trained.
    pub fn stays_zero(&self, node: &OnnxNode, i: usize) -> bool {
        let Some(name) = node.input(i) else { return false };
        let trained = self.parameters.get(name).is_some_and(|parameter| parameter.trainable);
        let values = self.source.initializers.get(name).and_then(Tensor::floats);
        !trained && values.is_some_and(|values| values.iter().all(|value| *value == 0.0))
    }

    /// The node that makes input `i` of a node.
    pub fn producer(&self, node: &OnnxNode, i: usize) -> Option<&'s OnnxNode> {
        let name = node.input(i)?;
        self.source.nodes.iter().find(|n| n.outputs.iter().any(|o| o == name))
    }

    /// Notes that a model input holds ids into a table of `rows` rows.
    pub fn declare_ids(&mut self, input: &str, rows: usize) {
        let least = self.ids.entry(input.into()).or_insert(rows);
        *least = rows.min(*least);
    }

    /// Notes what the user should know of how a node is taken.
    pub fn note(&mut self, sentence: String) {
        self.notes.push(sentence);
    }

    /// The number of records that the shapes of the file are for, where its fixed batch axis is taken as free.
    pub fn fixed_batch(&self) -> Option<usize> {
        self.source.fixed_batch
    }

    /// The opset of the model.
    pub fn opset(&self) -> i64 {
        self.source.opset
    }

    /// The dims that shape inference gives the output `i` of a node.
    pub fn output_dims(&self, node: &OnnxNode, i: usize) -> Result<Vec<Dim>, Refusal> {
        let shape = node.output(i).and_then(|name| self.facts.shape(name));
        shape.map(<[Dim]>::to_vec).ok_or_else(|| self.unsupported(node, "its output shape is not known"))
    }

    /// The element type that inference gives the output `i` of a node.
    pub fn output_elem(&self, node: &OnnxNode, i: usize) -> Option<Elem> {
        node.output(i).and_then(|name| self.facts.dtype(name))
    }

    /// Appends a graph node that carries the ONNX node's name.
    pub fn emit(&mut self, node: &OnnxNode, op: impl Into<Op>, operands: &[NodeId]) -> Result<NodeId, Refusal> {
        self.graph.add(op, operands, self.origin.clone()).map_err(|e| self.invalid(node, e.to_string()))
    }

    /// A graph node under axes that hold the same elements in the same order for one record.
    pub fn relabel(&mut self, node: &OnnxNode, id: NodeId, axes: Axes) -> Result<Value, Refusal> {
        let dims = axes.per_record();
        let id = if self.ty(id).dims == dims { id } else { self.emit(node, Reshape { dims }, &[id])? };
        Ok(Value { node: id, axes })
    }

    /// The type of a graph node.
    pub fn ty(&self, id: NodeId) -> &Type {
        self.graph.ty(id)
    }

    /// Notes that a dropout is off, as the file does not switch it on.
    pub fn silence_dropout(&mut self, node: &OnnxNode) {
        self.silent_dropouts.push(format!("`{}`", node.name));
    }

    pub(super) fn note_silent_dropouts(&mut self) {
        if !self.silent_dropouts.is_empty() {
            let nodes = self.silent_dropouts.join(", ");
            self.notes.push(format!(
                "the file does not switch on the dropouts {nodes} (no training_mode): they are off; export the module in \
                 training mode, and attention with a Dropout of its own, if they should drop"
            ));
        }
    }

    /// A number for the next dropout of the model.
    pub fn next_dropout(&mut self) -> u32 {
        self.dropouts += 1;
        self.dropouts - 1
    }

    /// The graph so far, for rules that look at what stands behind an operand.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The graph so far, for rules that add host inputs.
    pub fn graph_mut(&mut self) -> &mut Graph {
        &mut self.graph
    }

    /// An axis attribute or input counted from the front.
    pub fn axis(&self, node: &OnnxNode, axis: i64, rank: usize) -> Result<usize, Refusal> {
        let at = if axis < 0 { axis + rank as i64 } else { axis };
        usize::try_from(at)
            .ok()
            .filter(|&a| a < rank)
            .ok_or_else(|| self.invalid(node, format!("axis {axis} is outside a value of rank {rank}")))
    }
}
