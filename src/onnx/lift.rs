//! Weights that a file writes as nodes, lifted into initialisers of the nodes' outputs' names.
//!
//! Some exporters (Paddle's, spox) write weights as Constant nodes. One that meets the data where a weight stands is
//! lifted; a bias or another operand only in a file that has no weight among its initialisers, for elsewhere such a
//! Constant is a literal of the model's source. PyTorch's older exporter merges initialisers that are equal and lets all
//! but one come from nodes `Identity_N` under their own names, while a weight that the module ties has one name only;
//! each is lifted, so that it is trained as what it was in the module, and not with those that it was equal to.
//! [`export`](super::export::export) puts the values of lifted weights where they came from.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::node::OnnxNode;
use super::parameters::{SlotKind, slots};
use super::proto::ModelProto;
use super::source::ValueInfo;
use super::tensor::{Elem, Tensor};

/// How a file writes an initialiser that it has not as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifted {
    /// As a Constant node, as all of its weights.
    Constant,
    /// As a Constant node, while its weights are initialisers.
    Literal,
    /// As the Identity of an initialiser that was equal to it.
    Copy,
    /// As an attribute of a [linear model](super::linear).
    Attribute,
}

/// The parts of a model that are read so far.
pub(super) struct Parts<'a> {
    pub(super) nodes: &'a mut Vec<OnnxNode>,
    pub(super) initializers: &'a mut BTreeMap<String, Tensor>,
    pub(super) elems: &'a mut HashMap<String, Elem>,
    pub(super) inputs: &'a [ValueInfo],
}

/// Moves the weights among the nodes to the initialisers; returns which, and how the file writes them.
pub(super) fn lift(model: &ModelProto, parts: Parts<'_>, notes: &mut Vec<String>) -> BTreeMap<String, Lifted> {
    let outputs: HashSet<&str> =
        model.graph.iter().flat_map(|graph| &graph.output).map(|output| output.name()).collect();
    let mut found = Vec::new();
    for (node, original) in copies(model, parts.nodes, parts.initializers, &outputs) {
        let elem = parts.elems.get(original).copied().unwrap_or(Elem::F32);
        found.push((node, parts.initializers[original].clone(), elem, Lifted::Copy));
    }
    if !found.is_empty() {
        let names: Vec<String> = found.iter().map(|(node, ..)| format!("`{}`", node.outputs[0])).collect();
        notes.push(format!(
            "each of these was equal to another initialiser when the model was exported, stands for it behind an Identity \
             node, and is taken as a parameter of its own: {}",
            names.join(", ")
        ));
    }
    found.extend(constants(parts.nodes, parts.initializers, parts.inputs, &outputs));
    let mut lifted = BTreeMap::new();
    let mut added = Vec::new();
    for (node, tensor, elem, how) in found {
        let name = &node.outputs[0];
        parts.elems.insert(name.clone(), elem);
        lifted.insert(name.clone(), how);
        added.push((name.clone(), tensor));
    }
    parts.initializers.extend(added);
    parts.nodes.retain(|node| !node.outputs.first().is_some_and(|output| lifted.contains_key(output)));
    lifted
}

/// The nodes that PyTorch's older exporter puts where it merges equal initialisers, with the one that is left.
fn copies<'a>(
    model: &ModelProto,
    nodes: &'a [OnnxNode],
    initializers: &BTreeMap<String, Tensor>,
    outputs: &HashSet<&str>,
) -> Vec<(&'a OnnxNode, &'a str)> {
    if model.producer_name() != "pytorch" {
        return Vec::new();
    }
    let names: BTreeSet<&str> = model.graph.iter().flat_map(|graph| &graph.node).map(|node| node.name()).collect();
    let numbered = |name: &str| {
        name.strip_prefix("Identity_").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    let mut readers: HashMap<&str, usize> = HashMap::new();
    nodes.iter().flat_map(|node| &node.inputs).for_each(|input| *readers.entry(input).or_default() += 1);
    let copies = nodes.iter().filter(|node| {
        node.op_type == "Identity"
            && node.domain.is_empty()
            && names.contains(node.name.as_str())
            && numbered(&node.name)
            && node.output(0).is_some_and(|output| !outputs.contains(output) && !output.starts_with('/'))
    });
    let weight = |name: &str| initializers.get(name).is_some_and(|t| t.floats().is_some() && !t.dims.is_empty());
    copies
        .filter_map(|node| Some((node, node.input(0)?)))
        .filter(|(_, original)| weight(original) && readers[original] > 1)
        .collect()
}

/// The Constant nodes that stand where weights do.
fn constants<'a>(
    nodes: &'a [OnnxNode],
    initializers: &BTreeMap<String, Tensor>,
    inputs: &[ValueInfo],
    outputs: &HashSet<&str>,
) -> Vec<(&'a OnnxNode, Tensor, Elem, Lifted)> {
    let uses = Uses::of(nodes, inputs);
    let mut found = Vec::new();
    for node in nodes.iter().filter(|node| node.op_type == "Constant" && node.domain.is_empty()) {
        let Some(output) = node.output(0).filter(|output| !outputs.contains(output)) else { continue };
        let Some(proto) = node.attributes().find(|a| a.name() == "value").and_then(|a| a.t.as_ref()) else { continue };
        if !Elem::from_onnx(proto.data_type()).is_float() || proto.dims.is_empty() {
            continue;
        }
        let (Some(kinds), Ok(Some(tensor))) = (uses.kinds(output), node.tensor("value")) else { continue };
        if !kinds.is_empty() && !tensor.is_empty() {
            found.push((node, tensor, Elem::from_onnx(proto.data_type()), kinds));
        }
    }
    if found.is_empty() {
        return Vec::new();
    }
    let slots = slots::find(nodes, inputs, initializers);
    let elsewhere = slots.values().flatten().any(|slot| slot.kind == SlotKind::Weight);
    found.retain(|(.., kinds)| !elsewhere || kinds.contains(&SlotKind::Weight));
    let how = if elsewhere { Lifted::Literal } else { Lifted::Constant };
    found.into_iter().map(|(node, tensor, elem, _)| (node, tensor, elem, how)).collect()
}

/// Who reads each value.
struct Uses<'a> {
    readers: HashMap<&'a str, Vec<(&'a OnnxNode, usize)>>,
    /// The values that depend on the inputs.
    fed: HashSet<&'a str>,
}

impl<'a> Uses<'a> {
    fn of(nodes: &'a [OnnxNode], inputs: &'a [ValueInfo]) -> Self {
        let mut readers: HashMap<&str, Vec<(&OnnxNode, usize)>> = HashMap::new();
        for node in nodes {
            for (position, input) in node.inputs.iter().enumerate().filter(|(_, input)| !input.is_empty()) {
                readers.entry(input).or_default().push((node, position));
            }
        }
        Uses { readers, fed: slots::reached_by_inputs(nodes, inputs) }
    }

    /// What a value holds for each node with data that it reaches, moved about at most; `None` where something is
    /// computed from it, or where it can be no parameter.
    fn kinds(&self, value: &str) -> Option<BTreeSet<SlotKind>> {
        const MOVES: [&str; 8] =
            ["Identity", "Cast", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout"];
        let mut kinds = BTreeSet::new();
        let mut open = vec![value];
        while let Some(value) = open.pop() {
            for &(node, position) in self.readers.get(value).into_iter().flatten() {
                let fed = node.outputs.iter().any(|output| self.fed.contains(output.as_str()));
                let kind = slots::kind(node, position);
                let state = kind == SlotKind::Operand && matches!(node.op_type.as_str(), "LSTM" | "GRU" | "RNN");
                match fed {
                    true if kind == SlotKind::Other || state => return None,
                    true => _ = kinds.insert(kind),
                    false if position == 0 && MOVES.contains(&node.op_type.as_str()) => {
                        open.extend(node.outputs.first().map(String::as_str));
                    }
                    false => return None,
                }
            }
        }
        Some(kinds)
    }
}
