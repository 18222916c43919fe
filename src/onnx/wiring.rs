//! The nodes that a graph's outputs depend on, in topological order, named, with every operand defined.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::error::OnnxError;
use super::node::OnnxNode;
use super::proto::GraphProto;
use super::source::ValueInfo;
use super::tensor::Tensor;

/// The nodes that an output depends on, in topological order: the file's own order wherever that is one.
///
/// A node without a name, or with one that is taken, is called after its operator and position: `Relu_3`.
///
/// # Errors
///
/// [`OnnxError::Wiring`] with every operand or output that nothing defines, every value that is defined twice and
/// every node on a cycle.
pub(super) fn nodes(
    graph: &GraphProto,
    initializers: &BTreeMap<String, Tensor>,
    inputs: &[ValueInfo],
) -> Result<Vec<OnnxNode>, OnnxError> {
    let nodes = named(graph);
    let mut problems = Vec::new();
    let mut producer: HashMap<&str, usize> = HashMap::new();
    let given: HashSet<&str> =
        initializers.keys().map(String::as_str).chain(inputs.iter().map(|input| input.name.as_str())).collect();
    for (index, node) in nodes.iter().enumerate() {
        for output in node.outputs.iter().filter(|name| !name.is_empty()) {
            if given.contains(output.as_str()) || producer.insert(output, index).is_some() {
                problems.push(format!("`{output}` of node `{}` is defined twice", node.name));
            }
        }
    }
    let mut waiting = vec![0_usize; nodes.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        for input in node.inputs.iter().filter(|name| !name.is_empty()) {
            match producer.get(input.as_str()) {
                Some(&from) => {
                    waiting[index] += 1;
                    readers[from].push(index);
                }
                None if given.contains(input.as_str()) => {}
                None => problems.push(format!("`{input}`, which node `{}` reads, is not defined", node.name)),
            }
        }
    }
    for output in &graph.output {
        if !producer.contains_key(output.name()) && !given.contains(output.name()) {
            problems.push(format!("the graph's output `{}` is not defined", output.name()));
        }
    }
    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|&index| waiting[index] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for &reader in &readers[index] {
            waiting[reader] -= 1;
            if waiting[reader] == 0 {
                ready.insert(reader);
            }
        }
    }
    if order.len() < nodes.len() {
        let stuck: Vec<&str> =
            (0..nodes.len()).filter(|&index| waiting[index] > 0).map(|index| nodes[index].name.as_str()).collect();
        problems.push(format!("these nodes lie on a cycle or behind one: {}", stuck.join(", ")));
    }
    if !problems.is_empty() {
        return Err(OnnxError::Wiring { problems });
    }
    let live = live(graph, &nodes, &order);
    let mut nodes: Vec<Option<OnnxNode>> =
        nodes.into_iter().zip(live).map(|(node, live)| live.then_some(node)).collect();
    Ok(order.into_iter().filter_map(|index| nodes[index].take()).collect())
}

/// Whether an output of the graph depends on each node; `order` is topological.
fn live(graph: &GraphProto, nodes: &[OnnxNode], order: &[usize]) -> Vec<bool> {
    let mut wanted: HashSet<&str> = graph.output.iter().map(|output| output.name()).collect();
    let mut live = vec![false; nodes.len()];
    for &index in order.iter().rev() {
        let node = &nodes[index];
        if node.outputs.iter().any(|output| wanted.contains(output.as_str())) {
            live[index] = true;
            wanted.extend(node.inputs.iter().filter(|input| !input.is_empty()).map(String::as_str));
        }
    }
    live
}

fn named(graph: &GraphProto) -> Vec<OnnxNode> {
    let own: HashSet<&str> = graph.node.iter().map(|node| node.name()).collect();
    let mut taken: HashSet<String> = HashSet::new();
    graph
        .node
        .iter()
        .enumerate()
        .map(|(index, proto)| {
            let mut name = proto.name().to_owned();
            if name.is_empty() || taken.contains(&name) {
                name = format!("{}_{index}", proto.op_type());
                while own.contains(name.as_str()) || taken.contains(&name) {
                    name.push('_');
                }
            }
            taken.insert(name.clone());
            OnnxNode::from_proto(proto, name)
        })
        .collect()
}
