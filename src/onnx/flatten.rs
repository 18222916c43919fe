//! Graphs within a graph, written out into it: the branch of an If whose condition the file knows, the turns of a Loop or a
//! Scan whose number it knows, the bodies of [local functions](https://onnx.ai/onnx/repo-docs/IR.html#functions), and with
//! them sequences of tensors, which are lists of names here.
//!
//! A value of a body is called after the node that the body belongs to, and a name that only hands another value on stands
//! for that value, so that a weight that goes round a loop is one weight. A node whose condition or number depends on the data
//! stays as it is, and is refused later.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::node::OnnxNode;
use super::proto::{AttributeProto, DimensionValue, FunctionProto, GraphProto, NodeProto, TensorProto, TypeValue};
use super::tensor::{Tensor, TensorData};

/// Nodes that a graph is written out to at most.
const MOST_NODES: usize = 1 << 16;

/// How deep graphs and functions stand within each other at most.
const DEEPEST: usize = 16;

/// The graph with the bodies of its nodes in the place of these nodes.
pub(super) fn flatten<'g>(
    graph: &'g GraphProto,
    functions: &[FunctionProto],
    initializers: &BTreeMap<String, Tensor>,
    opset: i64,
) -> Cow<'g, GraphProto> {
    let calls = |node: &NodeProto| functions.iter().any(|function| called(function, node));
    let holds = |node: &NodeProto| node.attribute.iter().any(|attribute| attribute.g.is_some());
    if !graph.node.iter().any(|node| calls(node) || holds(node) || sequences::makes(node)) {
        return Cow::Borrowed(graph);
    }
    let known = |(name, tensor): (&String, &Tensor)| Some((name.clone(), integers(tensor)?));
    let mut flat = Flat {
        functions,
        opset,
        nodes: Vec::new(),
        known: initializers.iter().filter_map(known).collect(),
        lists: HashMap::new(),
        written: HashSet::new(),
        sizes: sizes(graph, initializers),
    };
    let mut scope = Scope { names: HashMap::new(), place: String::new(), depth: 0 };
    match flat.write(&graph.node, &mut scope) {
        // A sequence is no result of a model.
        Some(()) if graph.output.iter().any(|output| flat.lists.contains_key(output.name())) => Cow::Borrowed(graph),
        Some(()) => Cow::Owned(GraphProto { node: flat.nodes, ..graph.clone() }),
        None => Cow::Borrowed(graph),
    }
}

/// What the file has of a node's name: the same for all turns of a loop.
pub(super) fn without_turns(name: &str) -> String {
    let mut parts = name.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| match part.split_once("]/") {
        Some((turn, rest)) if turn.bytes().all(|byte| byte.is_ascii_digit()) => text + "/" + rest,
        _ => text + "[" + part,
    })
}

fn called(function: &FunctionProto, node: &NodeProto) -> bool {
    !node.domain().is_empty() && function.domain() == node.domain() && function.name() == node.op_type()
}

/// The elements of integers and booleans, where they are few.
fn integers(tensor: &Tensor) -> Option<Vec<i64>> {
    match &tensor.data {
        TensorData::I64(values) if values.len() <= 8 => Some(values.clone()),
        TensorData::Bool(values) if values.len() <= 8 => Some(values.iter().map(|&value| value.into()).collect()),
        _ => None,
    }
}

/// What the names of a body stand for.
#[derive(Clone)]
struct Scope {
    names: HashMap<String, String>,
    /// What its own values are called after; empty for the graph itself.
    place: String,
    depth: usize,
}

impl Scope {
    fn resolve(&self, name: &str) -> String {
        self.names.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    /// The scope of a body within this one.
    fn within(&self, place: String) -> Scope {
        Scope { names: self.names.clone(), place, depth: self.depth + 1 }
    }
}

/// The nodes written so far.
struct Flat<'a> {
    functions: &'a [FunctionProto],
    opset: i64,
    nodes: Vec<NodeProto>,
    /// Integers that the file knows.
    known: HashMap<String, Vec<i64>>,
    /// Sequences: the names of their elements.
    lists: HashMap<String, Vec<String>>,
    /// Those of them that there is a node for.
    written: HashSet<String>,
    /// What the file says of the axes of values: sizes, or `None` where they are symbolic.
    sizes: HashMap<String, Vec<Option<usize>>>,
}

impl Flat<'_> {
    /// Writes nodes; `None` where that would be too many.
    fn write(&mut self, nodes: &[NodeProto], scope: &mut Scope) -> Option<()> {
        for (index, node) in nodes.iter().enumerate() {
            let mut own = node.clone();
            if own.name().is_empty() && !scope.place.is_empty() {
                own.name = Some(format!("{}_{index}", own.op_type()));
            }
            own.input.iter_mut().for_each(|name| *name = scope.resolve(name));
            if self.sequence(&own, scope).is_some() {
                continue;
            }
            let before = self.nodes.len();
            match self.body(&own, scope) {
                Some(results) => self.hand_on(&node.output, &results, scope),
                None => {
                    if self.nodes.len() > before {
                        self.nodes.truncate(before);
                        let made = |name: &String| self.nodes.iter().any(|node| node.output.contains(name));
                        self.written.retain(made);
                    }
                    self.keep(own, scope);
                }
            }
            if self.nodes.len() > MOST_NODES {
                return None;
            }
        }
        Some(())
    }

    /// Writes a node as it is, and the sequences that it reads as nodes.
    fn keep(&mut self, mut node: NodeProto, scope: &mut Scope) {
        for name in &node.input {
            if let Some(list) = self.lists.get(name).filter(|_| self.written.insert(name.clone())) {
                let op = if list.is_empty() { "SequenceEmpty" } else { "SequenceConstruct" };
                let (input, output) = (list.clone(), vec![name.clone()]);
                self.nodes.push(NodeProto { name: Some(name.clone()), input, output, ..operator(op) });
            }
        }
        if !scope.place.is_empty() {
            node.name = Some(format!("{}/{}", scope.place, node.name()));
            for name in node.output.iter_mut().filter(|name| !name.is_empty()) {
                let own = format!("{}/{name}", scope.place);
                scope.names.insert(std::mem::replace(name, own.clone()), own);
            }
        }
        let reads = OnnxNode::from_proto(&node, String::new());
        let value = match node.op_type() {
            "Constant" => reads.tensor("value").ok().flatten().and_then(|tensor| integers(&tensor)).or_else(|| {
                reads.has("value_int").then(|| reads.require_int("value_int").ok().map(|value| vec![value]))?
            }),
            "Cast" | "Identity" | "Squeeze" | "Unsqueeze" => {
                node.input.first().and_then(|name| self.known.get(name)).cloned()
            }
            op => self.computed(op, &node),
        };
        if let (Some(value), Some(name)) = (value, node.output.first()) {
            self.known.insert(name.clone(), value);
        }
        self.nodes.push(node);
    }

    /// Makes `results` the values of the outputs of a node that was written out.
    fn hand_on(&mut self, outputs: &[String], results: &[String], scope: &mut Scope) {
        for (output, result) in outputs.iter().zip(results).filter(|(output, _)| !output.is_empty()) {
            if let (true, Some(list)) = (scope.place.is_empty(), self.lists.get(result).cloned()) {
                self.lists.insert(output.clone(), list);
            } else if scope.place.is_empty() {
                let input = vec![result.clone()];
                let name = Some(format!("{output}/result"));
                let identity = NodeProto { name, input, output: vec![output.clone()], ..operator("Identity") };
                self.keep(identity, scope);
            } else {
                scope.names.insert(output.clone(), result.clone());
            }
        }
    }

    /// Writes out what a node holds, and returns its results; `None` where it holds nothing, or cannot be written out.
    fn body(&mut self, node: &NodeProto, scope: &Scope) -> Option<Vec<String>> {
        if scope.depth >= DEEPEST {
            return None;
        }
        let place = [&scope.place[..], node.output.iter().find(|name| !name.is_empty())?].join("/");
        let place = place.trim_start_matches('/').to_owned();
        if let Some(function) = self.functions.iter().find(|function| called(function, node)) {
            return self.call(function, node, scope.within(place));
        }
        let graph = |name: &str| node.attribute.iter().find(|a| a.name() == name).and_then(|a| a.g.as_ref());
        match node.op_type() {
            "Identity" if !scope.place.is_empty() => Some(node.input.clone()),
            "If" => {
                let condition = self.known.get(node.input.first()?)?.first().copied()?;
                let branch = graph(if condition != 0 { "then_branch" } else { "else_branch" })?;
                self.graph(branch, scope.within(place))
            }
            "Loop" => self.turns(node, graph("body")?, scope, &place),
            "Scan" if self.opset >= 9 => self.scan(node, graph("body")?, scope, &place),
            _ => None,
        }
    }

    fn graph(&mut self, graph: &GraphProto, mut scope: Scope) -> Option<Vec<String>> {
        for tensor in &graph.initializer {
            let value = AttributeProto {
                name: Some("value".to_owned()),
                r#type: Some(4),
                t: Some(TensorProto { name: None, ..tensor.clone() }),
                ..AttributeProto::default()
            };
            let output = vec![tensor.name().to_owned()];
            self.keep(NodeProto { output, attribute: vec![value], ..operator("Constant") }, &mut scope);
        }
        self.write(&graph.node, &mut scope)?;
        Some(graph.output.iter().map(|output| scope.resolve(output.name())).collect())
    }

    fn call(&mut self, function: &FunctionProto, node: &NodeProto, mut scope: Scope) -> Option<Vec<String>> {
        scope.names = function
            .input
            .iter()
            .enumerate()
            .map(|(i, name)| (name.clone(), node.input.get(i).cloned().unwrap_or_default()))
            .collect();
        let given = |name: &str| {
            let own = node.attribute.iter().find(|attribute| attribute.name() == name);
            own.or_else(|| function.attribute_proto.iter().find(|attribute| attribute.name() == name))
        };
        let mut nodes = function.node.clone();
        for node in &mut nodes {
            node.attribute = std::mem::take(&mut node.attribute)
                .into_iter()
                .filter_map(|attribute| match attribute.ref_attr_name() {
                    "" => Some(attribute),
                    name => given(name).map(|own| AttributeProto { name: attribute.name.clone(), ..own.clone() }),
                })
                .collect();
        }
        self.write(&nodes, &mut scope)?;
        Some(function.output.iter().map(|name| scope.resolve(name)).collect())
    }

    /// An integer or a boolean of this name.
    fn constant(&mut self, name: &str, value: i64, boolean: bool) -> String {
        let tensor = match boolean {
            true => TensorProto { data_type: Some(9), int32_data: vec![value as i32], ..TensorProto::default() },
            false => TensorProto { data_type: Some(7), int64_data: vec![value], ..TensorProto::default() },
        };
        let value_of = AttributeProto {
            name: Some("value".to_owned()),
            r#type: Some(4),
            t: Some(tensor),
            ..AttributeProto::default()
        };
        let (named, output) = (Some(name.to_owned()), vec![name.to_owned()]);
        self.nodes.push(NodeProto { name: named, output, attribute: vec![value_of], ..operator("Constant") });
        self.known.insert(name.to_owned(), vec![value]);
        name.to_owned()
    }

    /// Values one after the other along a new axis.
    fn stack(&mut self, name: &str, parts: &[String], along: i64) -> String {
        let axes = AttributeProto {
            name: Some("axes".to_owned()),
            r#type: Some(7),
            ints: vec![along],
            ..AttributeProto::default()
        };
        let zero = format!("{name}/axes");
        if self.opset >= 13 {
            let tensor =
                TensorProto { data_type: Some(7), dims: vec![1], int64_data: vec![along], ..TensorProto::default() };
            let value = AttributeProto {
                t: Some(tensor),
                r#type: Some(4),
                name: Some("value".to_owned()),
                ..AttributeProto::default()
            };
            let output = vec![zero.clone()];
            self.nodes.push(NodeProto {
                name: Some(zero.clone()),
                output,
                attribute: vec![value],
                ..operator("Constant")
            });
        }
        let mut slices = Vec::new();
        for (k, part) in parts.iter().enumerate() {
            let slice = format!("{name}/{k}");
            let (input, attribute) = match self.opset {
                13.. => (vec![part.clone(), zero.clone()], vec![]),
                _ => (vec![part.clone()], vec![axes.clone()]),
            };
            let output = vec![slice.clone()];
            self.nodes.push(NodeProto { name: Some(slice.clone()), input, output, attribute, ..operator("Unsqueeze") });
            slices.push(slice);
        }
        self.concat(name, slices, along)
    }

    /// Values one after the other along an axis.
    fn concat(&mut self, name: &str, input: Vec<String>, axis: i64) -> String {
        let (named, output, attribute) = (Some(name.to_owned()), vec![name.to_owned()], vec![integer("axis", axis)]);
        self.nodes.push(NodeProto { name: named, input, output, attribute, ..operator("Concat") });
        name.to_owned()
    }

    /// What a function of single integers yields, as conditions of loops are computed.
    fn computed(&self, op: &str, node: &NodeProto) -> Option<Vec<i64>> {
        let operand = |i: usize| match self.known.get(node.input.get(i)?)?[..] {
            [value] => Some(value),
            _ => None,
        };
        if op == "Not" {
            return Some(vec![(operand(0)? == 0).into()]);
        }
        let (a, b) = (operand(0)?, operand(1)?);
        Some(vec![match op {
            "Add" => a.checked_add(b)?,
            "Sub" => a.checked_sub(b)?,
            "Mul" => a.checked_mul(b)?,
            "Less" => (a < b).into(),
            "LessOrEqual" => (a <= b).into(),
            "Greater" => (a > b).into(),
            "GreaterOrEqual" => (a >= b).into(),
            "Equal" => (a == b).into(),
            "And" => (a != 0 && b != 0).into(),
            "Or" => (a != 0 || b != 0).into(),
            _ => return None,
        }])
    }
}

/// What a file says of the axes of its values.
fn sizes(graph: &GraphProto, initializers: &BTreeMap<String, Tensor>) -> HashMap<String, Vec<Option<usize>>> {
    let declared = graph.input.iter().chain(&graph.value_info).filter_map(|value| {
        let Some(TypeValue::Tensor(tensor)) = value.r#type.as_ref()?.value.as_ref() else { return None };
        let sizes = tensor.shape.as_ref()?.dim.iter().map(|dim| match dim.value {
            Some(DimensionValue::Value(size)) => usize::try_from(size).ok(),
            _ => None,
        });
        Some((value.name().to_owned(), sizes.collect()))
    });
    let stored =
        initializers.iter().map(|(name, tensor)| (name.clone(), tensor.dims.iter().copied().map(Some).collect()));
    declared.chain(stored).collect()
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(2), i: Some(value), ..AttributeProto::default() }
}

fn operator(name: &str) -> NodeProto {
    NodeProto { op_type: Some(name.to_owned()), ..NodeProto::default() }
}

mod loops;
mod sequences;

#[cfg(test)]
mod tests;
