//! BatchNormalization in training mode, in which records meet, rewritten to a normalisation of each record alone.
//!
//! The layer's scale and bias keep their names and values, and go on being trained; its running statistics are left out
//! where nothing else reads them. What is rewritten is the file's message, so that the trained model has it too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::aten;
use super::error::OnnxError;
use super::node::OnnxNode;
use super::proto::{AttributeProto, GraphProto, NodeProto, StringStringEntryProto, TensorProto};
use super::tensor::{Elem, f32_to_raw};

/// What takes the place of a normalisation over the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Substitute {
    /// GroupNormalization with gcd(32, C) groups of C channels.
    Group,
    /// InstanceNormalization.
    Instance,
    /// The layer in evaluation mode: its running statistics, as they are in the file.
    Frozen,
}

impl Substitute {
    fn name(self) -> &'static str {
        match self {
            Substitute::Group => "group",
            Substitute::Instance => "instance",
            Substitute::Frozen => "frozen",
        }
    }

    fn becomes(self) -> &'static str {
        match self {
            Substitute::Group => "group normalisation",
            Substitute::Instance => "instance normalisation",
            Substitute::Frozen => "normalisation by the running statistics in the file",
        }
    }
}

impl FromStr for Substitute {
    type Err = String;

    fn from_str(text: &str) -> Result<Substitute, String> {
        let all = [Substitute::Group, Substitute::Instance, Substitute::Frozen];
        let found = all.into_iter().find(|substitute| substitute.name() == text);
        found.ok_or_else(|| format!("`{text}` is none of group, instance and frozen"))
    }
}

impl fmt::Display for Substitute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether the module of a BatchNormalization was in training mode. PyTorch's newer exporter writes the inference form all
/// the same, and its metadata alone tell.
///
/// # Errors
///
/// [`OnnxError::Attribute`] where the mode is no integer.
pub fn trains(node: &OnnxNode, opset: i64) -> Result<bool, OnnxError> {
    let stated = match opset {
        14.. => node.int("training_mode", 0)? != 0,
        _ => node.output(1).is_some(),
    };
    // `batch_norm` and its kin have the flag after the running statistics; these two do not.
    let called = node.aten.as_ref().is_some_and(|call| match call.operator.as_str() {
        "_native_batch_norm_legit_no_training" => false,
        "_native_batch_norm_legit_functional" => true,
        operator if operator.contains("batch_norm") => call.arguments.get(5).is_some_and(|flag| flag == "True"),
        _ => false,
    });
    Ok(stated || called)
}

/// The entry of a rewritten model's metadata that says what was done to it.
const KEY: &str = "dpc.batch_norm";

/// Rewrites every BatchNormalization of `graph` that is in training mode, and says so in the model's metadata, its
/// `properties`; returns a note that says which.
///
/// # Errors
///
/// [`OnnxError::BatchNorm`] where there is none, and with every one that cannot be rewritten.
pub(super) fn apply(
    graph: &mut GraphProto,
    properties: &mut Vec<StringStringEntryProto>,
    opset: i64,
    substitute: Substitute,
) -> Result<String, OnnxError> {
    let mut rewriter = Rewriter {
        opset,
        substitute,
        taken: names(graph),
        tensors: tensors(graph),
        read: read(graph),
        nodes: Vec::new(),
    };
    let (mut found, mut problems, mut operands) = (Vec::new(), Vec::new(), BTreeSet::new());
    for node in std::mem::take(&mut graph.node) {
        let own = OnnxNode::from_proto(&node, label(&node).to_owned());
        if own.op_type != "BatchNormalization" || !own.domain.is_empty() || !trains(&own, opset)? {
            rewriter.nodes.push(node);
            continue;
        }
        match rewriter.rewrite(&node, &own) {
            Ok(()) => {
                found.push(own.name);
                operands.extend(own.inputs);
            }
            Err(problem) => problems.push(format!("node `{}`: {problem}", own.name)),
        }
    }
    graph.node = rewriter.nodes;
    if found.is_empty() && problems.is_empty() {
        problems.push("no BatchNormalization of the model is in training mode".to_owned());
    }
    if !problems.is_empty() {
        return Err(OnnxError::BatchNorm { problems });
    }
    let read = read(graph);
    let unread = |name: &str| operands.contains(name) && !read.contains(name);
    graph.initializer.retain(|tensor| !unread(tensor.name()));
    graph.input.retain(|input| !unread(input.name()));
    properties.retain(|entry| entry.key() != KEY);
    let value = format!("{substitute}: {}", found.join(", "));
    properties.push(StringStringEntryProto { key: Some(KEY.to_owned()), value: Some(value) });
    Ok(format!(
        "{} instead of batch normalisation in training mode, and so in the trained model: {}",
        substitute.becomes(),
        found.join(", ")
    ))
}

/// What a node is called in messages.
fn label(node: &NodeProto) -> &str {
    match (node.name(), node.output.first()) {
        ("", Some(output)) => output,
        (name, _) => name,
    }
}

/// The names of all values and nodes.
fn names(graph: &GraphProto) -> BTreeSet<String> {
    let nodes = graph.node.iter();
    let values = nodes.flat_map(|node| node.input.iter().chain(&node.output).chain(&node.name)).cloned();
    values.chain(graph.initializer.iter().map(|tensor| tensor.name().to_owned())).collect()
}

/// The names of the values that a node, within a body too, or the outside reads.
fn read(graph: &GraphProto) -> BTreeSet<String> {
    let outputs = graph.output.iter().map(|output| output.name().to_owned());
    let mut read: BTreeSet<String> = outputs.chain(graph.node.iter().flat_map(|node| node.input.clone())).collect();
    for attribute in graph.node.iter().flat_map(|node| &node.attribute) {
        attribute.g.iter().chain(&attribute.graphs).for_each(|body| read.extend(self::read(body)));
    }
    read
}

/// The dims and the element type of the tensors that the graph holds: initialisers, Constant nodes, and what is Identity of
/// one of them.
fn tensors(graph: &GraphProto) -> BTreeMap<String, (Vec<i64>, i32)> {
    let form = |tensor: &TensorProto| (tensor.dims.clone(), tensor.data_type());
    let mut tensors: BTreeMap<_, _> =
        graph.initializer.iter().map(|tensor| (tensor.name().to_owned(), form(tensor))).collect();
    for node in &graph.node {
        let value = node.attribute.iter().find(|attribute| attribute.name() == "value");
        let found = match node.op_type() {
            "Constant" => value.and_then(|attribute| attribute.t.as_ref()).map(form),
            "Identity" => node.input.first().and_then(|input| tensors.get(input)).cloned(),
            _ => None,
        };
        if let (Some(found), Some(output)) = (found, node.output.first()) {
            tensors.insert(output.clone(), found);
        }
    }
    tensors
}

/// The graph as far as it is written.
struct Rewriter {
    opset: i64,
    substitute: Substitute,
    taken: BTreeSet<String>,
    tensors: BTreeMap<String, (Vec<i64>, i32)>,
    /// What is read in the source.
    read: BTreeSet<String>,
    nodes: Vec<NodeProto>,
}

impl Rewriter {
    fn rewrite(&mut self, node: &NodeProto, own: &OnnxNode) -> Result<(), String> {
        let operand = |position: usize| own.input(position).map(str::to_owned).ok_or("it lacks an operand");
        let (x, scale, bias) = (operand(0)?, operand(1)?, operand(2)?);
        let y = own.output(0).ok_or("nobody reads it")?.to_owned();
        let epsilon = own.float("epsilon", 1e-5).map_err(|error| error.to_string())?;
        let plain = |op_type: &str, input: Vec<String>, attribute: Vec<AttributeProto>| {
            let mut made = NodeProto { op_type: Some(op_type.to_owned()), input, attribute, ..node.clone() };
            made.output.truncate(1);
            // That the module was in training mode is not said any more.
            aten::forget(&mut made);
            made
        };
        match self.substitute {
            Substitute::Instance => {
                self.nodes.push(plain("InstanceNormalization", vec![x, scale, bias], vec![float("epsilon", epsilon)]));
            }
            Substitute::Frozen => {
                let mode = |attribute: &&AttributeProto| attribute.name() != "training_mode";
                let attributes = node.attribute.iter().filter(mode).cloned().collect();
                self.nodes.push(plain("BatchNormalization", node.input.clone(), attributes));
            }
            Substitute::Group => {
                let (channels, elem) = self.channels(own)?;
                let groups = gcd(32, channels);
                match self.opset {
                    21.. => {
                        let attributes = vec![float("epsilon", epsilon), int("num_groups", groups)];
                        self.nodes.push(plain("GroupNormalization", vec![x, scale, bias], attributes));
                    }
                    9..21 => self.groups([x, scale, bias, y], (channels, groups), epsilon, elem),
                    _ => return Err("there is no form of group normalisation before operator set 9".to_owned()),
                }
            }
        }
        // The running statistics stay as they are.
        for (position, output) in own.outputs.iter().enumerate().skip(1) {
            if !self.read.contains(output) {
                continue;
            }
            let input = operand(if position % 2 == 1 { 3 } else { 4 })?;
            let name = Some(self.fresh(&format!("{output}/Identity")));
            self.nodes.push(NodeProto {
                op_type: Some("Identity".to_owned()),
                input: vec![input],
                output: vec![output.clone()],
                name,
                ..NodeProto::default()
            });
        }
        Ok(())
    }

    /// The channels that the node's operands have a number for each, and the element type.
    fn channels(&self, node: &OnnxNode) -> Result<(i64, i32), String> {
        let found = node.inputs.iter().skip(1).find_map(|input| self.tensors.get(input));
        let (dims, elem) = found.ok_or("its operands are computed, and the number of channels is not in the file")?;
        match dims[..] {
            [channels] if channels > 0 => Ok((channels, *elem)),
            _ => Err(format!("an operand has the shape {dims:?}, which is no vector of channels")),
        }
    }

    /// Group normalisation in the form for operator sets in which GroupNormalization is missing, or has a scale a group:
    /// the instance normalisation of the groups, then the affine map of the channels.
    fn groups(&mut self, [x, scale, bias, y]: [String; 4], (channels, groups): (i64, i64), epsilon: f32, elem: i32) {
        let mut make = |op_type: &str, input: &[&str], attribute: Vec<AttributeProto>, last: bool| {
            let output = if last { y.clone() } else { self.fresh(&format!("{y}/{}", op_type.to_lowercase())) };
            let name = Some(self.fresh(&format!("{y}/{op_type}")));
            self.nodes.push(NodeProto {
                op_type: Some(op_type.to_owned()),
                input: input.iter().map(|name| (*name).to_owned()).collect(),
                output: vec![output.clone()],
                name,
                attribute,
                ..NodeProto::default()
            });
            output
        };
        let filled = |value: f32| {
            let raw_data = Some(f32_to_raw(Elem::from_onnx(elem), &[value]).into());
            vec![tensor(TensorProto { dims: vec![1], data_type: Some(elem), raw_data, ..TensorProto::default() })]
        };
        let shape = make("Shape", &[&x], vec![], false);
        let cut = make("Constant", &[], vec![tensor(integers(&[0, groups, -1]))], false);
        let whole = make("Reshape", &[&x, &cut], vec![], false);
        let count = make("Constant", &[], vec![tensor(integers(&[groups]))], false);
        let ones = make("ConstantOfShape", &[&count], filled(1.0), false);
        let zeros = make("ConstantOfShape", &[&count], filled(0.0), false);
        let normal = make("InstanceNormalization", &[&whole, &ones, &zeros], vec![float("epsilon", epsilon)], false);
        let cut = make("Constant", &[], vec![tensor(integers(&[0, channels, -1]))], false);
        let normal = make("Reshape", &[&normal, &cut], vec![], false);
        let column = make("Constant", &[], vec![tensor(integers(&[channels, 1]))], false);
        let scale = make("Reshape", &[&scale, &column], vec![], false);
        let bias = make("Reshape", &[&bias, &column], vec![], false);
        let scaled = make("Mul", &[&normal, &scale], vec![], false);
        let shifted = make("Add", &[&scaled, &bias], vec![], false);
        make("Reshape", &[&shifted, &shape], vec![], true);
    }

    /// A name like `wanted` that nothing has.
    fn fresh(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        while !self.taken.insert(name.clone()) {
            name.push('_');
        }
        name
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn attribute(name: &str, kind: i32) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(kind), ..AttributeProto::default() }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, 1) }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, 2) }
}

/// The attribute `value`.
fn tensor(value: TensorProto) -> AttributeProto {
    AttributeProto { t: Some(value), ..attribute("value", 4) }
}

fn integers(values: &[i64]) -> TensorProto {
    TensorProto {
        dims: vec![values.len() as i64],
        data_type: Some(Elem::I64.to_onnx()),
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}
