//! EmbeddingBag of bags of one size, which PyTorch's newer exporter writes as a loop over the bags of all records, recognised
//! by the calls in the metadata and by the offsets: `Range(0, N·L, L)`. It becomes a table lookup and a reduction over each
//! bag, whose batch rules then hold. Every other form stays a loop, and is refused as one.

use super::aten::AtenCall;
use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use super::tensor::{Tensor, TensorData};

/// The graph with lookups and reductions in the place of such loops, and a note on each; `None` where there are none.
pub(super) fn recognise(graph: &GraphProto, opset: i64) -> Option<(GraphProto, Vec<String>)> {
    let mut notes = Vec::new();
    let mut nodes = Vec::new();
    for node in &graph.node {
        match bag(graph, node) {
            Some(bag) => {
                notes.push(format!(
                    "the loop of `{}` is taken as the EmbeddingBag that it stands for: a {} over each {} ids",
                    node.output[0], bag.reduction, bag.size
                ));
                nodes.extend(bag.operators(&node.output[0], opset));
            }
            None => nodes.push(node.clone()),
        }
    }
    (!notes.is_empty()).then(|| (GraphProto { node: nodes, ..graph.clone() }, notes))
}

struct Bag {
    weight: String,
    /// The ids of all bags, one after the other.
    ids: String,
    size: i64,
    reduction: &'static str,
}

/// The bags whose rows `node` puts together.
fn bag(graph: &GraphProto, node: &NodeProto) -> Option<Bag> {
    if node.op_type() != "ConcatFromSequence" {
        return None;
    }
    let call = AtenCall::of(node).filter(|call| call.operator.ends_with("embedding_bag"))?;
    let same = |other: &NodeProto| AtenCall::of(other).as_ref() == Some(&call);
    // (weight, indices, offsets, scale_grad_by_freq, mode, sparse, per_sample_weights, include_last_offset, padding_idx)
    let argument = |position: usize| call.arguments.get(position).map(String::as_str);
    let unset = |position: usize| matches!(argument(position), None | Some("None" | "False"));
    if ![6, 7, 8].into_iter().all(unset) {
        return None;
    }
    let reduction = match argument(4)? {
        "0" => "sum",
        "1" => "mean",
        "2" => "max",
        _ => return None,
    };
    let lookup = graph.node.iter().find(|other| other.op_type() == "Gather" && same(other))?;
    let offsets = producer(graph, argument(2)?.strip_prefix('%')?)?;
    let number = |i: usize| integer(graph, offsets.input.get(i)?);
    let (Some(0), Some(size @ 1..), "Range") = (number(0), number(2), offsets.op_type()) else { return None };
    let [weight, ids] = &lookup.input[..] else { return None };
    Some(Bag { weight: weight.clone(), ids: ids.clone(), size, reduction })
}

impl Bag {
    fn operators(&self, output: &str, opset: i64) -> Vec<NodeProto> {
        let name = |what: &str| format!("{output}/{what}");
        let node = |op: &str, input: &[String], output: String, attribute: Vec<AttributeProto>| NodeProto {
            op_type: Some(op.to_owned()),
            name: Some(format!("{output}/{op}")),
            input: input.to_vec(),
            output: vec![output],
            attribute,
            ..NodeProto::default()
        };
        let constant = |what: &str, values: &[i64]| {
            let (dims, data_type) = (vec![values.len() as i64], Some(7));
            let tensor = TensorProto { dims, data_type, int64_data: values.to_vec(), ..TensorProto::default() };
            let value = AttributeProto { t: Some(tensor), ..attribute("value", 4) };
            node("Constant", &[], name(what), vec![value])
        };
        let (axis, keep) = (AttributeProto { ints: vec![1], ..attribute("axes", 7) }, attribute("keepdims", 2));
        let keep = AttributeProto { i: Some(0), ..keep };
        let (op, since) = match self.reduction {
            "sum" => ("ReduceSum", 13),
            "mean" => ("ReduceMean", 18),
            _ => ("ReduceMax", 18),
        };
        let mut operators = vec![
            constant("bags", &[-1, self.size]),
            node("Reshape", &[self.ids.clone(), name("bags")], name("ids"), vec![]),
            node("Gather", &[self.weight.clone(), name("ids")], name("rows"), vec![]),
        ];
        operators.extend(match opset >= since {
            true => {
                vec![constant("axes", &[1]), node(op, &[name("rows"), name("axes")], output.to_owned(), vec![keep])]
            }
            false => vec![node(op, &[name("rows")], output.to_owned(), vec![axis, keep])],
        });
        operators
    }
}

fn attribute(name: &str, kind: i32) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(kind), ..AttributeProto::default() }
}

fn producer<'g>(graph: &'g GraphProto, value: &str) -> Option<&'g NodeProto> {
    graph.node.iter().find(|node| node.output.iter().any(|output| output == value))
}

/// The single integer that a value is, by constants that are handed on.
fn integer(graph: &GraphProto, value: &str) -> Option<i64> {
    let single = |tensor: &TensorProto| match Tensor::from_proto(tensor).ok()?.data {
        TensorData::I64(values) if values.len() == 1 => Some(values[0]),
        _ => None,
    };
    let mut value = value.to_owned();
    // A chain longer than the graph would be a cycle.
    for _ in 0..=graph.node.len() {
        if let Some(tensor) = graph.initializer.iter().find(|tensor| tensor.name() == value) {
            return single(tensor);
        }
        let node = producer(graph, &value)?;
        match node.op_type() {
            "Constant" => {
                let attribute = node.attribute.first()?;
                return attribute.t.as_ref().map_or(attribute.i, single);
            }
            "Cast" | "Identity" | "Squeeze" | "Unsqueeze" => value = node.input.first()?.clone(),
            _ => return None,
        }
    }
    None
}
