//! Losses that a model ends with, record by record.
//!
//! PyTorch's losses are means over the batch, and a model that was exported together with one yields a single number, in which
//! records meet. What is averaged or summed is a loss of each record, though, and training takes that: the reduction over the
//! batch is left out, and what it reduces of a record's own elements stays. Sums of such losses and multiples of them by
//! constants are taken apart likewise; anything else, the root of a mean say, is no sum over records and stays as it is.
//!
//! A loss operator's mean is over the labels of a record that are not ignored, as that of a loss that dpc attaches.

use std::collections::{BTreeMap, HashSet};

use super::facts::Int;
use super::node::OnnxNode;
use super::parameters::{self, slots::reached_by_inputs};
use super::proto::{AttributeProto, NodeProto, TensorProto};
use super::source::{Dim, Source};

const FLOAT: i64 = 1;

impl Source {
    /// The model with the losses of the records in place of each of `outputs` that is a mean or a sum of them, and a
    /// sentence for each; `None` where none is.
    pub fn with_record_losses(&self, outputs: &[String]) -> Option<(Source, Vec<String>)> {
        let mut rewrite = Rewrite::of(self);
        let mut notes = Vec::new();
        for output in outputs {
            let single = self.facts.shape(output).is_some_and(|dims| dims.iter().all(|dim| *dim == Dim::Known(1)));
            if !single || self.nodes.iter().any(|node| node.inputs.contains(output)) {
                continue;
            }
            let mut parts = Vec::new();
            if rewrite.take_apart(output, &mut parts) == Some(true) {
                let reductions: Vec<String> = parts.iter().map(|(node, _)| format!("`{node}`")).collect();
                rewrite.replaced.extend(parts);
                notes.push(format!(
                    "output `{output}` is one number for the batch ({}): each record is trained on its own share of it, and \
                     a mean over the batch is one over a record's own elements or labels",
                    reductions.join(", ")
                ));
            }
        }
        if notes.is_empty() {
            return None;
        }
        let mut source = self.clone();
        source.nodes = source
            .nodes
            .into_iter()
            .flat_map(|node| rewrite.replaced.remove(&node.name).unwrap_or_else(|| vec![node]))
            .collect();
        source.infer(&parameters::constants(&source));
        Some((source, notes))
    }
}

/// What nodes become, by their names.
struct Rewrite<'s> {
    source: &'s Source,
    /// The values that depend on the data.
    fed: HashSet<&'s str>,
    replaced: BTreeMap<String, Vec<OnnxNode>>,
}

impl<'s> Rewrite<'s> {
    fn of(source: &'s Source) -> Self {
        Rewrite { source, fed: reached_by_inputs(&source.nodes, &source.inputs), replaced: BTreeMap::new() }
    }

    /// Finds the reductions over the batch that `value` is a sum of, with what takes the place of each; whether there are
    /// any. `None` where it is something else.
    fn take_apart(&self, value: &str, parts: &mut Vec<(String, Vec<OnnxNode>)>) -> Option<bool> {
        if !self.fed.contains(value) {
            return Some(false);
        }
        let node = self.source.nodes.iter().find(|node| node.outputs.iter().any(|output| output == value))?;
        let readers = self.source.nodes.iter().flat_map(|node| &node.inputs).filter(|input| *input == value).count();
        if readers > 1 || self.replaced.contains_key(&node.name) || node.output(0) != Some(value) {
            return None;
        }
        match node.op_type.as_str() {
            "Identity" | "Neg" | "Cast" => self.take_apart(node.input(0)?, parts),
            // A single number by another shape: a record's loss has none but the batch's axis.
            "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" => {
                let any = self.take_apart(node.input(0)?, parts)?;
                let mut write = self.writer(node);
                write.push("Identity", &[node.input(0)?], vec![], value);
                parts.push((node.name.clone(), write.nodes));
                Some(any)
            }
            "Add" | "Sub" | "Sum" => {
                let mut any = false;
                for input in &node.inputs {
                    any |= self.take_apart(input, parts)?;
                }
                Some(any)
            }
            "Mul" if !self.fed.contains(node.input(0)?) => self.take_apart(node.input(1)?, parts),
            "Mul" | "Div" if !self.fed.contains(node.input(1)?) => self.take_apart(node.input(0)?, parts),
            "ReduceMean" | "ReduceSum" => {
                parts.push((node.name.clone(), self.reduction(node)?));
                Some(true)
            }
            "SoftmaxCrossEntropyLoss" | "NegativeLogLikelihoodLoss" => {
                parts.push((node.name.clone(), self.loss(node)?));
                Some(true)
            }
            _ => None,
        }
    }

    fn writer(&self, node: &OnnxNode) -> Writer {
        Writer { place: format!("{}/record", node.name), opset: self.source.opset, nodes: Vec::new() }
    }

    /// A reduction over the batch, and over a record's own axes, without the batch.
    fn reduction(&self, node: &OnnxNode) -> Option<Vec<OnnxNode>> {
        let dims = self.source.facts.shape(node.input(0)?)?;
        let (batch, factor) = batch_axis(dims)?;
        let axes = self.axes(node, dims.len())?;
        if !axes.contains(&batch) {
            return None;
        }
        let mut write = self.writer(node);
        let (value, own) = write.split(node.input(0)?, dims, batch, factor, &axes)?;
        write.reduce(&node.op_type, &value, &own, node.output(0)?);
        Some(write.nodes)
    }

    /// The axes that a node reduces over.
    fn axes(&self, node: &OnnxNode, rank: usize) -> Option<Vec<usize>> {
        let given = match node.input(1) {
            Some(name) => {
                let known = |int: &Int| if let Int::Known(axis) = int { Some(*axis) } else { None };
                Some(self.source.facts.ints(name)?.iter().map(known).collect::<Option<Vec<i64>>>()?)
            }
            None => node.ints("axes").ok()?,
        };
        match given {
            Some(axes) if !axes.is_empty() => axes
                .iter()
                .map(|&axis| usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok())
                .map(|axis| axis.filter(|&axis| axis < rank))
                .collect(),
            _ if node.int("noop_with_empty_axes", 0).ok()? != 0 => None,
            _ => Some((0..rank).collect()),
        }
    }

    /// A loss operator that reduces, as one that does not, and the reduction of a record's own labels.
    fn loss(&self, node: &OnnxNode) -> Option<Vec<OnnxNode>> {
        let dims = self.source.facts.shape(node.input(1)?)?;
        let (batch, factor) = batch_axis(dims)?;
        let reduction = node.string("reduction", "mean").ok()?;
        let mut write = self.writer(node);
        let each = write.name("each");
        let mut own = node.to_proto();
        own.attribute.retain(|attribute| attribute.name() != "reduction");
        own.attribute.push(text("reduction", "none"));
        own.output[0] = each.clone();
        let mut loss = OnnxNode::from_proto(&own, node.name.clone());
        (loss.aten, loss.module) = (node.aten.clone(), node.module.clone());
        write.nodes.push(loss);
        let all: Vec<usize> = (0..dims.len()).collect();
        let (losses, axes) = write.split(&each, dims, batch, factor, &all)?;
        let output = node.output(0)?;
        match (reduction, node.has("ignore_index")) {
            ("sum", _) => write.reduce("ReduceSum", &losses, &axes, output),
            ("mean", false) => write.reduce("ReduceMean", &losses, &axes, output),
            // A record's only label is its mean, ignored or not: an ignored one has no loss.
            ("mean", true) if axes.is_empty() => write.reduce("ReduceSum", &losses, &axes, output),
            ("mean", true) => {
                let ignored = write.integers("ignored", &[], &[node.require_int("ignore_index").ok()?]);
                let ignored = match self.source.facts.dtype(node.input(1)?)?.to_onnx() {
                    7 => ignored,
                    other => write.cast("ignored_as", &ignored, other.into()),
                };
                let equal = write.node("Equal", &[node.input(1)?, &ignored], vec![], "equal");
                let counted = write.node("Not", &[&equal], vec![], "counted");
                let counted = write.cast("ones", &counted, FLOAT);
                let (counted, _) = write.split_as("ones_of_record", &counted, dims, batch, factor, &all)?;
                let (total, count) = (write.name("total"), write.name("count"));
                write.reduce("ReduceSum", &losses, &axes, &total);
                write.reduce("ReduceSum", &counted, &axes, &count);
                let one = write.integers("one", &[], &[1]);
                let one = write.cast("one_as", &one, FLOAT);
                let count = write.node("Max", &[&count, &one], vec![], "count_or_one");
                write.push("Div", &[&total, &count], vec![], output);
            }
            _ => return None,
        }
        Some(write.nodes)
    }
}

/// The only axis that holds the batch, and how many elements of a record it holds.
fn batch_axis(dims: &[Dim]) -> Option<(usize, usize)> {
    let mut found = dims.iter().enumerate().filter_map(|(axis, dim)| match dim {
        Dim::Batch(factor) => Some((axis, *factor)),
        Dim::Known(_) => None,
    });
    found.next().filter(|_| found.next().is_none())
}

fn text(name: &str, value: &str) -> AttributeProto {
    let s = Some(value.as_bytes().to_vec().into());
    AttributeProto { name: Some(name.to_owned()), r#type: Some(3), s, ..AttributeProto::default() }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(2), i: Some(value), ..AttributeProto::default() }
}

/// Nodes that take the place of one.
struct Writer {
    place: String,
    opset: i64,
    nodes: Vec<OnnxNode>,
}

impl Writer {
    fn name(&self, what: &str) -> String {
        format!("{}/{what}", self.place)
    }

    fn push(&mut self, op_type: &str, inputs: &[&str], attribute: Vec<AttributeProto>, output: &str) {
        let proto = NodeProto {
            op_type: Some(op_type.to_owned()),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        };
        let name = format!("{}/{}", self.place, self.nodes.len());
        self.nodes.push(OnnxNode::from_proto(&proto, name));
    }

    fn node(&mut self, op_type: &str, inputs: &[&str], attribute: Vec<AttributeProto>, what: &str) -> String {
        let output = self.name(what);
        self.push(op_type, inputs, attribute, &output);
        output
    }

    fn cast(&mut self, what: &str, value: &str, to: i64) -> String {
        self.node("Cast", &[value], vec![int("to", to)], what)
    }

    fn integers(&mut self, what: &str, dims: &[i64], values: &[i64]) -> String {
        let tensor = TensorProto {
            data_type: Some(7),
            dims: dims.to_vec(),
            int64_data: values.to_vec(),
            ..TensorProto::default()
        };
        let value = AttributeProto {
            name: Some("value".to_owned()),
            r#type: Some(4),
            t: Some(tensor),
            ..AttributeProto::default()
        };
        self.node("Constant", &[], vec![value], what)
    }

    fn split(
        &mut self,
        value: &str,
        dims: &[Dim],
        batch: usize,
        factor: usize,
        axes: &[usize],
    ) -> Option<(String, Vec<usize>)> {
        self.split_as("split", value, dims, batch, factor, axes)
    }

    /// `value` with the batch on an axis of its own, and which of its axes are those of `axes` that a record has.
    fn split_as(
        &mut self,
        what: &str,
        value: &str,
        dims: &[Dim],
        batch: usize,
        factor: usize,
        axes: &[usize],
    ) -> Option<(String, Vec<usize>)> {
        let own = axes.iter().copied().filter(|&axis| axis != batch);
        if factor == 1 {
            return Some((value.to_owned(), own.collect()));
        }
        let mut shape = Vec::new();
        for dim in dims {
            match dim {
                Dim::Known(size) => shape.push(i64::try_from(*size).ok()?),
                Dim::Batch(factor) => shape.extend([-1, i64::try_from(*factor).ok()?]),
            }
        }
        let shape = self.integers(&format!("{what}_shape"), &[shape.len() as i64], &shape);
        let split = self.node("Reshape", &[value, &shape], vec![], what);
        let moved = own.map(|axis| if axis > batch { axis + 1 } else { axis });
        Some((split, [batch + 1].into_iter().chain(moved).collect()))
    }

    /// The mean or the sum over `axes`; the value itself where there are none.
    fn reduce(&mut self, op_type: &str, value: &str, axes: &[usize], output: &str) {
        if axes.is_empty() {
            return self.push("Identity", &[value], vec![], output);
        }
        let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
        let keep = int("keepdims", 0);
        if self.opset >= if op_type == "ReduceSum" { 13 } else { 18 } {
            let what = format!("axes_{}", self.nodes.len());
            let axes = self.integers(&what, &[axes.len() as i64], &axes);
            return self.push(op_type, &[value, &axes], vec![keep], output);
        }
        let axes =
            AttributeProto { name: Some("axes".to_owned()), r#type: Some(7), ints: axes, ..AttributeProto::default() };
        self.push(op_type, &[value], vec![axes, keep], output);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use prost::Message;

    use super::*;

    /// A file whose output `total` is a sum of means and a sum over the batch, with `operators` after it, the last of which
    /// yields the output.
    fn source(operators: &[&str]) -> (Source, String) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/situations/loss_of_several.ts.onnx");
        let mut model = Source::open(&path).expect("a model").model;
        let graph = model.graph.as_mut().expect("a graph");
        let mut last = "total".to_owned();
        for operator in operators {
            let output = format!("{last}.{operator}");
            graph.node.push(NodeProto {
                op_type: Some((*operator).to_owned()),
                input: vec![last; if *operator == "Mul" { 2 } else { 1 }],
                output: vec![output.clone()],
                ..NodeProto::default()
            });
            last = output;
        }
        graph.output[0].name = Some(last.clone());
        (Source::from_bytes(model.encode_to_vec().into(), &path).expect("a model"), last)
    }

    #[test]
    fn sums_over_records_are_taken_apart_and_nothing_else() {
        for (operators, taken) in [
            (&[][..], true),
            (&["Neg"], true),
            (&["Identity", "Neg"], true),
            (&["Sqrt"], false),
            (&["Neg", "Exp"], false),
            // The square of a mean: both operands depend on the data.
            (&["Mul"], false),
        ] {
            let (source, output) = source(operators);
            let found = source.with_record_losses(std::slice::from_ref(&output));
            assert_eq!(found.is_some(), taken, "{operators:?}");
            let Some((source, notes)) = found else { continue };
            assert_eq!(source.facts.shape(&output), Some(&[Dim::Batch(1)][..]));
            assert!(matches!(&notes[..], [note] if note.contains("each record is trained on its own share")));
        }
    }

    #[test]
    fn an_output_with_the_batch_is_left_alone() {
        let (source, _) = source(&[]);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/zoo/own_loss.ts.onnx");
        let own = Source::open(&path).expect("a model");
        assert!(own.with_record_losses(&["per_record".to_owned()]).is_none());
        assert!(source.with_record_losses(&["there is none".to_owned()]).is_none());
    }
}
