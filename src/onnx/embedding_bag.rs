//! EmbeddingBag of bags of one size, which PyTorch's exporters write as a loop over the bags of all records: recognised by the
//! calls in the metadata (newer exporter) or by the loop itself ([`looped`], older exporter), and by the offsets
//! `Range(0, N·L, L)`. It becomes a table lookup and a reduction over each bag, whose batch rules then hold. Every other form
//! stays a loop, and is refused as one.

use super::aten::AtenCall;
use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use super::tensor::{Tensor, TensorData};

mod looped;

/// The graph with lookups and reductions in the place of such loops, and a note on each; `None` where there are none.
pub(super) fn recognise(graph: &GraphProto, opset: i64) -> Option<(GraphProto, Vec<String>)> {
    let mut notes = Vec::new();
    let mut nodes = Vec::new();
    for node in &graph.node {
        match called(graph, node).or_else(|| looped::bag(graph, node)) {
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
    /// What each row is multiplied by, in the order of the ids.
    scales: Option<String>,
    /// The id whose rows are left out of their bag.
    padding: Option<i64>,
}

/// The bags whose rows `node` puts together, by the call that it stands for.
fn called(graph: &GraphProto, node: &NodeProto) -> Option<Bag> {
    if node.op_type() != "ConcatFromSequence" || node.output.is_empty() {
        return None;
    }
    let call = AtenCall::of(node).filter(|call| call.operator.ends_with("embedding_bag"))?;
    let same = |other: &NodeProto| AtenCall::of(other).as_ref() == Some(&call);
    // (weight, indices, offsets, scale_grad_by_freq, mode, sparse, per_sample_weights, include_last_offset, padding_idx)
    let argument = |position: usize| call.arguments.get(position).map(String::as_str);
    let set = |position: usize| argument(position).filter(|text| !matches!(*text, "None" | "False"));
    if set(7).is_some() {
        return None;
    }
    let reduction = match argument(4)? {
        "0" => "sum",
        "1" => "mean",
        "2" => "max",
        _ => return None,
    };
    let scales = match set(6) {
        Some(text) => Some(text.strip_prefix('%').filter(|name| known(graph, name))?.to_owned()),
        None => None,
    };
    let padding = match set(8) {
        Some(text) => Some(text.parse().ok().filter(|&id: &i64| id >= 0)?),
        None => None,
    };
    let lookup = graph.node.iter().find(|other| other.op_type() == "Gather" && same(other))?;
    let offsets = producer(graph, argument(2)?.strip_prefix('%')?)?;
    let number = |i: usize| integer(graph, offsets.input.get(i)?);
    let (Some(0), Some(size @ 1..), "Range") = (number(0), number(2), offsets.op_type()) else { return None };
    let [weight, ids] = &lookup.input[..] else { return None };
    Some(Bag { weight: weight.clone(), ids: ids.clone(), size, reduction, scales, padding })
}

impl Bag {
    fn operators(&self, output: &str, opset: i64) -> Vec<NodeProto> {
        let mut written = Written { output, opset, nodes: Vec::new() };
        let bags = written.constant("bags", &[-1, self.size]);
        let ids = written.node("Reshape", "ids", &[&self.ids, &bags]);
        let mut rows = written.node("Gather", "rows", &[&self.weight, &ids]);
        if let Some(scales) = &self.scales {
            let scales = written.node("Reshape", "scales", &[scales, &bags]);
            let scales = written.along("Unsqueeze", 13, "scales.rows", &scales, 2);
            rows = written.node("Mul", "scaled", &[&rows, &scales]);
        }
        match self.padding {
            Some(id) => self.padded(&mut written, &ids, &rows, id),
            None => written.reduction(self.reduction, "", &rows),
        };
        written.nodes
    }

    /// Reduces each bag without the rows of the id `padding`; a bag of nothing else yields zeros.
    fn padded(&self, written: &mut Written<'_>, ids: &str, rows: &str, padding: i64) -> String {
        let ids = written.cast("ids.long", ids, 7);
        let padding = written.constant("padding", &[padding]);
        let left_out = written.node("Equal", "padded", &[&ids, &padding]);
        let kept = written.node("Not", "kept", &[&left_out]);
        let kept = written.along("Unsqueeze", 13, "kept.rows", &kept, 2);
        let others = written.float("others", if self.reduction == "max" { f32::MIN } else { 0.0 });
        let rows = written.node("Where", "rows.kept", &[&kept, rows, &others]);
        if self.reduction == "sum" {
            return written.reduction("sum", "", &rows);
        }
        let kept = written.cast("kept.numbers", &kept, 1);
        let count = written.reduction("sum", "count", &kept);
        let one = written.float("one", 1.0);
        if self.reduction == "mean" {
            let total = written.reduction("sum", "total", &rows);
            let count = written.node("Max", "count.some", &[&count, &one]);
            return written.node("Div", "", &[&total, &count]);
        }
        let largest = written.reduction("max", "largest", &rows);
        let none = written.node("Less", "none", &[&count, &one]);
        let zero = written.float("zero", 0.0);
        written.node("Where", "", &[&none, &zero, &largest])
    }
}

/// The nodes that stand for a loop whose result is `output`.
struct Written<'a> {
    output: &'a str,
    opset: i64,
    nodes: Vec<NodeProto>,
}

impl Written<'_> {
    /// A node whose result is called `what`, or is the loop's where that is empty.
    fn with(&mut self, op: &str, what: &str, input: &[&str], attribute: Vec<AttributeProto>) -> String {
        let own = |what: &str| format!("{}/{what}", self.output);
        let (output, name) = match what {
            "" => (self.output.to_owned(), own(op)),
            _ => (own(what), own(&format!("{what}/{op}"))),
        };
        self.nodes.push(NodeProto {
            op_type: Some(op.to_owned()),
            name: Some(name),
            input: input.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.clone()],
            attribute,
            ..NodeProto::default()
        });
        output
    }

    fn node(&mut self, op: &str, what: &str, input: &[&str]) -> String {
        self.with(op, what, input, Vec::new())
    }

    fn tensor(&mut self, what: &str, tensor: TensorProto) -> String {
        self.with("Constant", what, &[], vec![AttributeProto { t: Some(tensor), ..attribute("value", 4) }])
    }

    fn constant(&mut self, what: &str, values: &[i64]) -> String {
        let (dims, data_type) = (vec![values.len() as i64], Some(7));
        self.tensor(what, TensorProto { dims, data_type, int64_data: values.to_vec(), ..TensorProto::default() })
    }

    fn float(&mut self, what: &str, value: f32) -> String {
        self.tensor(what, TensorProto { data_type: Some(1), float_data: vec![value], ..TensorProto::default() })
    }

    fn cast(&mut self, what: &str, input: &str, to: i64) -> String {
        self.with("Cast", what, &[input], vec![AttributeProto { i: Some(to), ..attribute("to", 2) }])
    }

    /// An operator on one axis, which is an operand since a version and an attribute before.
    fn along(&mut self, op: &str, since: i64, what: &str, input: &str, axis: i64) -> String {
        let keep = AttributeProto { i: Some(0), ..attribute("keepdims", 2) };
        let mut attributes = if op == "Unsqueeze" { vec![] } else { vec![keep] };
        if self.opset >= since {
            let axes = self.constant(&format!("{what}.axes"), &[axis]);
            return self.with(op, what, &[input, &axes], attributes);
        }
        attributes.push(AttributeProto { ints: vec![axis], ..attribute("axes", 7) });
        self.with(op, what, &[input], attributes)
    }

    /// Reduces each bag.
    fn reduction(&mut self, reduction: &str, what: &str, rows: &str) -> String {
        let (op, since) = match reduction {
            "sum" => ("ReduceSum", 13),
            "mean" => ("ReduceMean", 18),
            _ => ("ReduceMax", 18),
        };
        self.along(op, since, what, rows, 1)
    }
}

fn attribute(name: &str, kind: i32) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(kind), ..AttributeProto::default() }
}

fn producer<'g>(graph: &'g GraphProto, value: &str) -> Option<&'g NodeProto> {
    graph.node.iter().find(|node| node.output.iter().any(|output| output == value))
}

/// Whether the graph has the value.
fn known(graph: &GraphProto, value: &str) -> bool {
    producer(graph, value).is_some()
        || graph.input.iter().any(|input| input.name() == value)
        || graph.initializer.iter().any(|tensor| tensor.name() == value)
}

/// The single integer that a value is, by constants that are handed on.
fn integer(graph: &GraphProto, value: &str) -> Option<i64> {
    match integers(graph, value)?[..] {
        [value] => Some(value),
        _ => None,
    }
}

/// The integers that a value is, by constants that are handed on.
fn integers(graph: &GraphProto, value: &str) -> Option<Vec<i64>> {
    let read = |tensor: &TensorProto| match Tensor::from_proto(tensor).ok()?.data {
        TensorData::I64(values) => Some(values),
        TensorData::Bool(values) => Some(values.into_iter().map(i64::from).collect()),
        _ => None,
    };
    let mut value = value.to_owned();
    // A chain longer than the graph would be a cycle.
    for _ in 0..=graph.node.len() {
        if let Some(tensor) = graph.initializer.iter().find(|tensor| tensor.name() == value) {
            return read(tensor);
        }
        let node = producer(graph, &value)?;
        match node.op_type() {
            "Constant" => {
                let attribute = node.attribute.first()?;
                return attribute.t.as_ref().map_or_else(|| attribute.i.map(|value| vec![value]), read);
            }
            "Cast" | "Identity" | "Squeeze" | "Unsqueeze" => value = node.input.first()?.clone(),
            _ => return None,
        }
    }
    None
}
