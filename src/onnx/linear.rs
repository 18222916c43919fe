//! [LinearClassifier](https://onnx.ai/onnx/operators/onnx_aionnxml_LinearClassifier.html) and LinearRegressor, which scikit-learn's
//! exporter writes: the weights are attributes of the node. Each becomes the operators that it stands for, on initialisers of
//! its name; [`export`](super::export::export) puts their values back into the attributes.

use std::collections::BTreeMap;

use super::lift::Lifted;
use super::node::OnnxNode;
use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use super::tensor::{Elem, Tensor, TensorData};

/// The domain of classical models.
const DOMAIN: &str = "ai.onnx.ml";

/// The attributes that are weights.
const WEIGHTS: [&str; 2] = ["coefficients", "intercepts"];

/// What the weight in an attribute of a node is called.
fn name_of(node: &NodeProto, attribute: &str) -> String {
    let node = match (node.name(), node.output.iter().find(|name| !name.is_empty())) {
        ("", Some(output)) => output,
        (name, _) => name,
    };
    format!("{node}.{attribute}")
}

fn is_linear(node: &NodeProto) -> bool {
    node.domain() == DOMAIN && matches!(node.op_type(), "LinearClassifier" | "LinearRegressor")
}

/// The graph with operators in the place of linear models, the weights of which are added to `initializers`; `None` where
/// there are none.
pub(super) fn expand(
    graph: &GraphProto,
    initializers: &mut BTreeMap<String, Tensor>,
) -> Option<(GraphProto, BTreeMap<String, Lifted>)> {
    if !graph.node.iter().any(is_linear) {
        return None;
    }
    let (mut nodes, mut lifted) = (Vec::new(), BTreeMap::new());
    for node in &graph.node {
        match is_linear(node).then(|| operators(node)).flatten() {
            Some((made, weights)) => {
                nodes.extend(made);
                lifted.extend(weights.keys().map(|name| (name.clone(), Lifted::Attribute)));
                initializers.extend(weights);
            }
            None => nodes.push(node.clone()),
        }
    }
    Some((GraphProto { node: nodes, ..graph.clone() }, lifted))
}

/// The operators that a linear model stands for, and its weights; `None` for a form of it that has none.
fn operators(node: &NodeProto) -> Option<(Vec<NodeProto>, BTreeMap<String, Tensor>)> {
    let own = OnnxNode::from_proto(node, String::new());
    let coefficients = own.floats("coefficients").ok()??;
    let intercepts = own.floats("intercepts").ok()?;
    let classifies = node.op_type() == "LinearClassifier";
    let labels = own.ints("classlabels_ints").ok()?;
    let targets = match classifies {
        true => labels.as_ref().map(Vec::len).or(own.strings("classlabels_strings").ok()?.map(|names| names.len()))?,
        false => usize::try_from(own.int("targets", 1).ok()?).ok()?,
    };
    // One score for two classes is written in several ways, none of which exporters use.
    let whole = targets > 0 && coefficients.len().is_multiple_of(targets) && !coefficients.is_empty();
    if !whole || intercepts.as_ref().is_some_and(|intercepts| intercepts.len() != targets) {
        return None;
    }
    let transform = match own.string("post_transform", "NONE").ok()? {
        "NONE" => None,
        "SOFTMAX" => Some("Softmax"),
        "LOGISTIC" => Some("Sigmoid"),
        _ => return None,
    };
    let (label, scores) = match classifies {
        true => (own.output(0), own.output(1)),
        false => (None, own.output(0)),
    };
    let place = name_of(node, "");
    let scores = scores.map_or_else(|| format!("{place}scores"), str::to_owned);
    let features = coefficients.len() / targets;
    let float = |dims: &[usize], values| Tensor { dims: dims.to_vec(), data: TensorData::F32(values) };
    let mut weights = BTreeMap::from([(name_of(node, WEIGHTS[0]), float(&[targets, features], coefficients))]);
    let mut operands = vec![node.input.first()?.clone(), name_of(node, WEIGHTS[0])];
    if let Some(intercepts) = intercepts {
        weights.insert(name_of(node, WEIGHTS[1]), float(&[targets], intercepts));
        operands.push(name_of(node, WEIGHTS[1]));
    }
    let mut nodes = Vec::new();
    let mut write = |op: &str, input: Vec<String>, output: &str, attribute: Vec<AttributeProto>| {
        let (op_type, name) = (Some(op.to_owned()), Some(format!("{place}{op}")));
        nodes.push(NodeProto {
            op_type,
            name,
            input,
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        });
    };
    let linear = if transform.is_some() { format!("{place}linear") } else { scores.clone() };
    write("Gemm", operands, &linear, vec![integer("transB", 1)]);
    match transform {
        Some("Softmax") => write("Softmax", vec![linear], &scores, vec![integer("axis", 1)]),
        Some(op) => write(op, vec![linear], &scores, vec![]),
        None => {}
    }
    if let Some(label) = label {
        let labels = labels?;
        let (best, names) = (format!("{place}best"), format!("{place}labels"));
        let (dims, data_type) = (vec![labels.len() as i64], Some(Elem::I64.to_onnx()));
        let tensor = TensorProto { dims, data_type, int64_data: labels, ..TensorProto::default() };
        let value = AttributeProto { r#type: Some(4), t: Some(tensor), ..integer("value", 0) };
        write("ArgMax", vec![scores], &best, vec![integer("axis", 1), integer("keepdims", 0)]);
        write("Constant", vec![], &names, vec![AttributeProto { i: None, ..value }]);
        write("Gather", vec![names, best], label, vec![integer("axis", 0)]);
    }
    Some((nodes, weights))
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(2), i: Some(value), ..AttributeProto::default() }
}

/// Gives the attributes of linear models their trained values: those that `value` has by a weight's name.
pub(super) fn write_back<'v>(graph: &mut GraphProto, value: impl Fn(&str) -> Option<&'v [f32]>) {
    for node in graph.node.iter_mut().filter(|node| is_linear(node)) {
        for weight in WEIGHTS {
            let Some(values) = value(&name_of(node, weight)) else { continue };
            let found = node.attribute.iter_mut().find(|attribute| attribute.name() == weight);
            found.into_iter().for_each(|attribute| attribute.floats = values.to_vec());
        }
    }
}
