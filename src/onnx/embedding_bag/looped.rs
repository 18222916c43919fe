//! The loop that PyTorch's older exporter writes for an EmbeddingBag: it yields a row for each bag, which is the reduction of
//! the rows of a slice of the ids, from the bag's offset to the next one's.

use super::{Bag, integer, integers, producer};
use crate::onnx::node::OnnxNode;
use crate::onnx::proto::{DimensionValue, GraphProto, NodeProto, TypeValue};

/// The bags whose rows `node` puts together, by what its body does.
pub(super) fn bag(graph: &GraphProto, node: &NodeProto) -> Option<Bag> {
    let ("Loop", [turns, goes_on], [_]) = (node.op_type(), &node.input[..], &node.output[..]) else { return None };
    let body = node.attribute.iter().find(|attribute| attribute.name() == "body")?.g.as_ref()?;
    let ([index, _], [still, row]) = (&body.input[..], &body.output[..]) else { return None };
    let scope = Scope { graph, body, index: index.name() };
    let always = [goes_on, still.name()].into_iter().all(|value| scope.integer(value) == Some(1));
    if !always {
        return None;
    }
    let reduce = scope.inner(row.name())?;
    let reduction = match reduce.op_type() {
        "ReduceSum" => "sum",
        "ReduceMean" => "mean",
        "ReduceMax" => "max",
        _ => return None,
    };
    let known = OnnxNode::from_proto(reduce, String::new());
    let axes = known.ints("axes").ok()?.or_else(|| scope.integers(reduce.input.get(1)?));
    if axes != Some(vec![0]) || known.int("keepdims", 1).ok()? != 0 {
        return None;
    }
    let rows = scope.inner(&reduce.input[0])?;
    let (lookup, scales) = match (rows.op_type(), &rows.input[..]) {
        ("Gather", _) => (rows, None),
        ("Mul", [rows, scales]) => (scope.inner(rows)?, Some(scope.inner_of(scales, "Unsqueeze", &[1])?)),
        _ => return None,
    };
    let ("Gather", 0, [weight, taken]) = (lookup.op_type(), axis(lookup)?, &lookup.input[..]) else { return None };
    if producer(body, weight).is_some() {
        return None;
    }
    let (ids, from, to) = scope.slice(taken)?;
    let scales = match scales {
        Some(taken) => {
            let (scales, begin, end) = scope.slice(&taken)?;
            ((begin, end) == (from.clone(), to.clone())).then_some(Some(scales))?
        }
        None => None,
    };
    let (starts, ends) = (scope.bound(&from)?, scope.bound(&to)?);
    let size = offsets(graph, &ids, &starts, &ends)?;
    let of_ends = single(graph, turns, "Gather").filter(|count| integer(graph, &count.input[1]) == Some(0))?;
    let of_ends = single(graph, &of_ends.input[0], "Shape")?;
    let all = of_ends.input[0] == ends && without_attributes(of_ends);
    all.then(|| Bag { weight: weight.clone(), ids, size, reduction, scales, padding: None })
}

/// The size of the bags of `ids` that begin at `starts` and end at `ends`: `Range(0, N·L, L)` with the number of ids after it,
/// and the same without its first.
fn offsets(graph: &GraphProto, ids: &str, starts: &str, ends: &str) -> Option<i64> {
    let next = single(graph, ends, "Slice")?;
    let value = |i: usize| integer(graph, next.input.get(i)?);
    let step = next.input.len() < 5 || value(4) == Some(1);
    if next.input[0] != starts || value(1) != Some(1) || value(2)? < i64::from(i32::MAX) || value(3) != Some(0) || !step
    {
        return None;
    }
    let all = single(graph, starts, "Concat")?;
    let [range, end] = &all.input[..] else { return None };
    let (range, end) = (single(graph, range, "Range")?, single(graph, end, "Unsqueeze")?);
    let end = single(graph, &end.input[0], "Gather")?;
    let counted = single(graph, &end.input[0], "Shape")?;
    if counted.input[0] != *ids || !without_attributes(counted) || integer(graph, &end.input[1]) != Some(0) {
        return None;
    }
    // The ids are a matrix whose rows are the bags, one after the other.
    let flat = single(graph, ids, "Reshape").filter(|flat| integers(graph, &flat.input[1]) == Some(vec![-1]))?;
    let matrix = &flat.input[0];
    let [first, last, step] = &range.input[..] else { return None };
    let elements = single(graph, passed_on(graph, last), "ReduceProd")?;
    let elements = single(graph, &elements.input[0], "Shape")?;
    if integer(graph, first) != Some(0) || elements.input[0] != *matrix || !without_attributes(elements) {
        return None;
    }
    let width = width(graph, matrix)?;
    let size = integer(graph, step).or_else(|| {
        let size = single(graph, passed_on(graph, step), "Gather")?;
        let of =
            single(graph, &size.input[0], "Shape").filter(|of| of.input[0] == *matrix && without_attributes(of))?;
        (integer(graph, &size.input[1]) == Some(1) && axis(size)? == 0 && without_attributes(of)).then_some(width)
    })?;
    (size == width).then_some(size)
}

/// The size of the second of two axes, where the file says it.
fn width(graph: &GraphProto, value: &str) -> Option<i64> {
    let value = passed_on(graph, value);
    let declared = graph.input.iter().chain(&graph.value_info).find(|info| info.name() == value)?;
    let Some(TypeValue::Tensor(tensor)) = declared.r#type.as_ref()?.value.as_ref() else { return None };
    let [_, width] = &tensor.shape.as_ref()?.dim[..] else { return None };
    match width.value {
        Some(DimensionValue::Value(size @ 1..)) => Some(size),
        _ => None,
    }
}

/// The value that a value is, by casts.
fn passed_on<'g>(graph: &'g GraphProto, mut value: &'g str) -> &'g str {
    for _ in 0..=graph.node.len() {
        match producer(graph, value) {
            Some(node) if matches!(node.op_type(), "Cast" | "Identity") && !node.input.is_empty() => {
                value = &node.input[0]
            }
            _ => break,
        }
    }
    value
}

/// The operator `op` that a value is the result of, with the operands that it has at least.
fn single<'g>(graph: &'g GraphProto, value: &str, op: &str) -> Option<&'g NodeProto> {
    let operands = if matches!(op, "Gather" | "Reshape") { 2 } else { 1 };
    producer(graph, value).filter(|node| node.op_type() == op && node.input.len() >= operands)
}

fn axis(node: &NodeProto) -> Option<i64> {
    OnnxNode::from_proto(node, String::new()).int("axis", 0).ok()
}

/// Whether a Shape is that of all axes.
fn without_attributes(node: &NodeProto) -> bool {
    node.attribute.is_empty()
}

/// The body of a loop, and what is around it.
struct Scope<'g> {
    graph: &'g GraphProto,
    body: &'g GraphProto,
    index: &'g str,
}

impl<'g> Scope<'g> {
    /// What the body has a value from.
    fn inner(&self, value: &str) -> Option<&'g NodeProto> {
        producer(self.body, value).filter(|node| !node.input.is_empty())
    }

    /// The operand of the body's `op` on the axes `axes`.
    fn inner_of(&self, value: &str, op: &str, axes: &[i64]) -> Option<String> {
        let node = self.inner(value).filter(|node| node.op_type() == op)?;
        let known = OnnxNode::from_proto(node, String::new()).ints("axes").ok()?;
        let given = known.or_else(|| self.integers(node.input.get(1)?))?;
        (given == axes).then(|| node.input[0].clone())
    }

    fn integers(&self, value: &str) -> Option<Vec<i64>> {
        let mut value = value;
        for _ in 0..=self.body.node.len() {
            match self.inner(value) {
                Some(node) if matches!(node.op_type(), "Cast" | "Identity") => value = &node.input[0],
                _ => break,
            }
        }
        integers(self.body, value).or_else(|| integers(self.graph, value))
    }

    fn integer(&self, value: &str) -> Option<i64> {
        match self.integers(value)?[..] {
            [value] => Some(value),
            _ => None,
        }
    }

    /// What is sliced along its first axis, and from where to where.
    fn slice(&self, value: &str) -> Option<(String, String, String)> {
        let node = self.inner(value).filter(|node| node.op_type() == "Slice")?;
        let [of, from, to, axes] = &node.input[..] else { return None };
        let outside = producer(self.body, of).is_none();
        (outside && self.integer(axes) == Some(0)).then(|| (of.clone(), from.clone(), to.clone()))
    }

    /// The list whose element of this turn is a bound of a slice.
    fn bound(&self, value: &str) -> Option<String> {
        let element = self.inner_of(value, "Unsqueeze", &[0])?;
        let node = self.inner(&element).filter(|node| node.op_type() == "Gather")?;
        let [list, index] = &node.input[..] else { return None };
        let outside = producer(self.body, list).is_none();
        (outside && index == self.index && axis(node)? == 0).then(|| list.clone())
    }
}
