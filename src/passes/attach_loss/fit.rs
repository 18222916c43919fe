//! Losses that do not fit what the model computes: cross-entropy of what is a softmax already, and the like.
//!
//! Nothing is refused, since nobody can know what is meant; every case is a note that says what to do. An output is followed
//! back through ops that only move values, and through constant factors.

use crate::graph::NodeId;
use crate::import::Proved;
use crate::import::axes::Axes;
use crate::lower::scalar::{Func, Step};
use crate::ops::Graph;
use crate::ops::Op;
use crate::options::{Loss, LossKind, Term};

/// What stands behind an output.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Made {
    /// Probabilities by a softmax of other scores, along an axis of one record where nothing moved since.
    Softmax {
        of: Option<NodeId>,
        axis: Option<usize>,
    },
    /// Probabilities by a sigmoid of other scores.
    Sigmoid {
        of: NodeId,
    },
    /// Logarithms, of a softmax along that axis where it is one.
    Log {
        axis: Option<usize>,
    },
    Other,
}

/// A sentence for every term that does not seem to fit its output.
pub(super) fn notes(proved: &Proved, loss: &Loss) -> Vec<String> {
    loss.terms.iter().filter_map(|term| note(proved, term)).collect()
}

fn note(proved: &Proved, term: &Term) -> Option<String> {
    let output = term.output.as_ref()?;
    let (axes, graph) = (proved.outputs.get(output)?, &proved.graph);
    let value = *graph.outputs.get(output)?;
    let behind = sources(graph, value);
    let made: Vec<Made> = behind.iter().map(|&id| made(graph, id)).collect();
    let instead = |of: Option<NodeId>| {
        let of = of.map(|of| sources(graph, of));
        let is = |(name, id): &(&String, &NodeId)| *name != output && Some(sources(graph, **id)) == of;
        graph.outputs.iter().find(is).map(|(name, _)| format!("name the output `{name}`, which holds them, or "))
    };
    let loss = term.kind.name();
    let classes = term.kind.classes();
    let is_probability = |made: &&Made| matches!(made, Made::Softmax { .. } | Made::Sigmoid { .. });
    match (&term.kind, made.iter().find(is_probability)) {
        (LossKind::CrossEntropy(_) | LossKind::Bce { .. }, Some(&found)) => {
            let (kind, of, otherwise) = match found {
                Made::Softmax { of, .. } => ("softmax", of, "with its logarithm (LogSoftmax) for --loss nll"),
                Made::Sigmoid { of } => ("sigmoid", Some(of), "give --loss bce on the scores before it"),
                _ => return None,
            };
            let otherwise = match (&term.kind, kind) {
                (LossKind::Bce { .. }, "softmax") => {
                    ", and take cross-entropy for classes that exclude each other".to_owned()
                }
                (LossKind::Bce { .. }, _) => String::new(),
                _ => format!(", or {otherwise}"),
            };
            Some(format!(
                "output `{output}` is a {kind}, and {loss} takes the scores before it (logits): as it is, probabilities are \
                 taken for scores; {}export the model without its last {kind}{otherwise}",
                instead(of).unwrap_or_default()
            ))
        }
        (LossKind::Nll(_), Some(_)) => Some(format!(
            "output `{output}` holds probabilities, and nll takes their logarithms: as it is, the loss is no likelihood; export \
             the model with LogSoftmax (or a Log after it) in place of Softmax, or without either for --loss cross-entropy"
        )),
        (LossKind::Nll(_), None) if made.contains(&Made::Other) => Some(format!(
            "output `{output}` is not visibly the logarithm of probabilities, which nll takes: without it the loss has no lower \
             bound; give --loss cross-entropy if it holds scores (logits), or end the model in LogSoftmax"
        )),
        (LossKind::Nll(_), None) => {
            let Made::Log { axis: Some(along) } = *made.first()? else { return None };
            let asked = classes?.axis;
            let (along, asked) = (onnx_axis(axes, along)?, if asked < 0 { asked + axes.rank() as i64 } else { asked });
            let right = if along + 1 == axes.rank() { "last".to_owned() } else { along.to_string() };
            (along as i64 != asked).then(|| {
                format!(
                    "the log-softmax of output `{output}` is along axis {along}, and nll takes axis {asked} for the classes; \
                     give --loss nll:axis={right} if the classes are there"
                )
            })
        }
        _ => None,
    }
}

/// The axis of the ONNX value that holds an axis of one record.
fn onnx_axis(axes: &Axes, at: usize) -> Option<usize> {
    (0..axes.rank()).find(|&axis| axes.record_axis(axis) == Some(at))
}

/// The values that a value is put together from by moving, and by scaling with constants. Each once, in order.
fn sources(graph: &Graph, id: NodeId) -> Vec<NodeId> {
    let (mut found, mut left, mut seen) = (Vec::new(), vec![id], vec![id]);
    while let Some(id) = left.pop() {
        let behind = match graph.op(id) {
            Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) | Op::Concat(_) | Op::Broadcast(_) | Op::Rearrange(_) => {
                graph.operands(id)
            }
            Op::Elementwise(_) => scaled(graph, id).into_iter().collect(),
            _ => vec![],
        };
        if behind.is_empty() {
            found.push(id);
        }
        for operand in behind.into_iter().rev().filter(|operand| !is_constant(graph, *operand)) {
            if !seen.contains(&operand) {
                seen.push(operand);
                left.push(operand);
            }
        }
    }
    found
}

fn is_constant(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.op(id), Op::Constant(_) | Op::Fill(_))
}

/// What a product with a constant multiplies; and of 1 − p, p.
fn scaled(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let Op::Elementwise(op) = graph.op(id) else { return None };
    let operands = graph.operands(id);
    let constant = |k: usize| operands.get(k).is_some_and(|&operand| behind_is_constant(graph, operand));
    match op.expr.as_call() {
        Some(Func::Mul) if constant(1) => Some(operands[0]),
        Some(Func::Mul | Func::Sub) if constant(0) => Some(operands[1]),
        Some(Func::Div) if constant(1) => Some(operands[0]),
        None => match op.expr.steps()[..] {
            [Step::Operand(0, _), Step::Const(_), Step::Call(Func::Mul, _)] => Some(operands[0]),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a value is a constant, in whatever shape.
fn behind_is_constant(graph: &Graph, mut id: NodeId) -> bool {
    while let Op::Reshape(_) | Op::Broadcast(_) = graph.op(id) {
        id = graph.operands(id)[0];
    }
    is_constant(graph, id)
}

/// The function that makes a value, seen through movements; also where an exporter has taken a softmax apart.
fn made(graph: &Graph, id: NodeId) -> Made {
    let operands = graph.operands(id);
    match graph.op(id) {
        Op::Softmax(op) if op.log => Made::Log { axis: Some(op.axis) },
        Op::Softmax(op) => Made::Softmax { of: Some(operands[0]), axis: Some(op.axis) },
        Op::Elementwise(op) => match (op.expr.as_call(), &operands[..]) {
            (Some(Func::Sigmoid), &[of]) => Made::Sigmoid { of },
            (Some(Func::Log), _) => Made::Log { axis: None },
            (Some(Func::Exp), &[x]) if matches!(behind(graph, x).map(|x| made(graph, x)), Some(Made::Log { .. })) => {
                Made::Softmax { of: None, axis: None }
            }
            // exp(x) / Σ exp(x)
            (Some(Func::Div), &[numerator, denominator]) => {
                let numerator = behind(graph, numerator).filter(|&id| is_call(graph, id, Func::Exp));
                match numerator.filter(|_| summed(graph, denominator) == numerator) {
                    Some(exp) => Made::Softmax { of: Some(graph.operands(exp)[0]), axis: None },
                    None => Made::Other,
                }
            }
            // x − log Σ exp(x)
            (Some(Func::Sub), &[_, log]) => {
                let log = behind(graph, log).filter(|&id| is_call(graph, id, Func::Log));
                let exp = log.and_then(|log| summed(graph, graph.operands(log)[0]));
                if exp.is_some_and(|id| is_call(graph, id, Func::Exp)) { Made::Log { axis: None } } else { Made::Other }
            }
            _ => Made::Other,
        },
        _ => Made::Other,
    }
}

fn is_call(graph: &Graph, id: NodeId, func: Func) -> bool {
    matches!(graph.op(id), Op::Elementwise(op) if op.expr.as_call() == Some(func))
}

/// The only value behind moves.
fn behind(graph: &Graph, id: NodeId) -> Option<NodeId> {
    <[NodeId; 1]>::try_from(sources(graph, id)).ok().map(|[id]| id)
}

/// What is summed, over axes of a record, where a value is such a sum.
fn summed(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let sum = behind(graph, id).filter(|&id| matches!(graph.op(id), Op::Sum(_)))?;
    behind(graph, graph.operands(sum)[0])
}
