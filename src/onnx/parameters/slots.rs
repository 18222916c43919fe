//! Where initialisers meet the data.
//!
//! An initialiser is followed forward through the nodes that no graph input reaches, whatever they compute, up to the
//! operands of the nodes that one does. Those operands are its slots.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::onnx::node::OnnxNode;
use crate::onnx::source::{Dim, Source, ValueInfo};
use crate::onnx::tensor::Tensor;

/// An operand of a node that also reads data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// The node's name.
    pub node: String,
    /// Its operator.
    pub op_type: String,
    /// The operand's position.
    pub position: usize,
    /// What such an operand holds.
    pub kind: SlotKind,
}

/// What an operand holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SlotKind {
    /// A weight, whatever it is called.
    Weight,
    /// A bias, or the scale or bias of a normalisation.
    Bias,
    /// A parameter or a constant: only the name can tell.
    Operand,
    /// No parameter: running statistics, bounds, scales of a resize.
    Other,
}

/// The slots that each float initialiser of `source` reaches, in the order of the nodes.
pub(super) fn of(source: &Source) -> BTreeMap<String, Vec<Slot>> {
    let fed = reached_by_inputs(&source.nodes, &source.inputs);
    let mut slots = find(&source.nodes, &source.inputs, &source.initializers);
    for slot in slots.values_mut().flatten().filter(|slot| slot.op_type == "Add") {
        let node = source.node(&slot.node);
        if node.is_some_and(|node| is_added_bias(source, &fed, node, slot.position)) {
            slot.kind = SlotKind::Bias;
        }
    }
    slots
}

/// The slots that each float initialiser reaches, in the order of the nodes, by the nodes' operators alone.
pub(in crate::onnx) fn find(
    nodes: &[OnnxNode],
    inputs: &[ValueInfo],
    initializers: &BTreeMap<String, Tensor>,
) -> BTreeMap<String, Vec<Slot>> {
    let fed = reached_by_inputs(nodes, inputs);
    // For each constant value, the initialisers that it is made of.
    let mut origins: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    for (name, tensor) in initializers {
        if tensor.floats().is_some() {
            origins.insert(name, BTreeSet::from([name.as_str()]));
        }
    }
    let mut slots: BTreeMap<String, Vec<Slot>> = BTreeMap::new();
    for node in nodes {
        if !carries_elements(node) {
            continue;
        }
        if node.outputs.iter().any(|output| fed.contains(output.as_str())) {
            for (position, input) in node.inputs.iter().enumerate() {
                for origin in origins.get(input.as_str()).into_iter().flatten() {
                    slots.entry((*origin).to_owned()).or_default().push(Slot {
                        node: node.name.clone(),
                        op_type: node.op_type.clone(),
                        position,
                        kind: kind(node, position),
                    });
                }
            }
        } else if !matches!(node.op_type.as_str(), "DequantizeLinear" | "QuantizeLinear") {
            // What is stored as small integers stays as it is, its scale too.
            let made_of: BTreeSet<&str> =
                node.inputs.iter().filter_map(|input| origins.get(input.as_str())).flatten().copied().collect();
            for output in &node.outputs {
                origins.insert(output, made_of.clone());
            }
        }
    }
    slots
}

/// The values whose elements depend on a graph input's.
pub(in crate::onnx) fn reached_by_inputs<'a>(nodes: &'a [OnnxNode], inputs: &'a [ValueInfo]) -> HashSet<&'a str> {
    let mut fed: HashSet<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
    for node in nodes.iter().filter(|node| carries_elements(node)) {
        if node.inputs.iter().any(|input| fed.contains(input.as_str())) {
            fed.extend(node.outputs.iter().filter(|output| !output.is_empty()).map(String::as_str));
        }
    }
    fed
}

/// Whether results depend on the elements of operands, not on their shapes alone.
fn carries_elements(node: &OnnxNode) -> bool {
    !matches!(node.op_type.as_str(), "Shape" | "Size")
}

/// What the operand in this position holds.
pub(in crate::onnx) fn kind(node: &OnnxNode, position: usize) -> SlotKind {
    use SlotKind::{Bias, Operand, Other, Weight};
    match (node.op_type.as_str(), position) {
        ("Gemm" | "MatMul", 0 | 1) | ("Conv" | "ConvTranspose", 1) | ("Gather", 0) | ("Einsum", _) => Weight,
        ("LSTM" | "GRU" | "RNN", 1..=3) | ("LSTM", 7) => Weight,
        ("Gemm" | "Conv" | "ConvTranspose", 2) | ("PRelu", 1) => Bias,
        ("LayerNormalization" | "GroupNormalization" | "InstanceNormalization" | "BatchNormalization", 1 | 2) => Bias,
        ("RMSNormalization" | "SimplifiedLayerNormalization", 1) => Bias,
        ("Add" | "Sub" | "Mul" | "Div" | "Sum" | "Concat", _) => Operand,
        ("LSTM" | "GRU" | "RNN", 5 | 6) => Operand,
        _ => Other,
    }
}

/// Whether a vector is added to what a layer with weights yields, possibly moved: how Keras, and PyTorch's linear layers of
/// more than two axes, write a bias.
fn is_added_bias(source: &Source, fed: &HashSet<&str>, node: &OnnxNode, position: usize) -> bool {
    const MOVEMENT: [&str; 6] = ["Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"];
    let shape = node.input(position).and_then(|name| source.facts.shape(name)).unwrap_or_default();
    let vector = shape.iter().filter(|dim| **dim != Dim::Known(1)).count() == 1;
    let maker = |name: &str| source.nodes.iter().find(|maker| maker.outputs.iter().any(|output| output == name));
    let mut layer = node.input(1 - position.min(1)).and_then(maker);
    while let Some(moved) = layer.filter(|maker| MOVEMENT.contains(&maker.op_type.as_str())) {
        layer = moved.input(0).and_then(maker);
    }
    let constant = |name: &String| !name.is_empty() && !fed.contains(name.as_str());
    vector
        && layer.is_some_and(|layer| {
            matches!(layer.op_type.as_str(), "MatMul" | "Gemm" | "Conv" | "ConvTranspose")
                && layer.inputs.iter().take(2).any(constant)
        })
}

/// `Gemm.1 of /fc1/Gemm and 2 more`.
pub(super) fn describe(slots: &[Slot]) -> String {
    match slots {
        [] => "it meets no data".to_owned(),
        [slot] => format!("{}.{} of {}", slot.op_type, slot.position, slot.node),
        [slot, rest @ ..] => format!("{}.{} of {} and {} more", slot.op_type, slot.position, slot.node, rest.len()),
    }
}
