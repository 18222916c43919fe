//! Losses as operators: [NegativeLogLikelihoodLoss](https://onnx.ai/onnx/operators/onnx__NegativeLogLikelihoodLoss.html) and
//! [SoftmaxCrossEntropyLoss](https://onnx.ai/onnx/operators/onnx__SoftmaxCrossEntropyLoss.html). One that sums over the batch
//! is refused: dpc attaches losses to scores by itself.

use crate::graph::{DType, Type};
use crate::import::axes::Axes;
use crate::import::rows::{apply, floats, integers, positions, reshape, rows};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::leaf::Fill;
use crate::ops::reduce::Sum;
use crate::ops::softmax::Softmax;

pub(super) const RULES: &[(&str, Rule)] =
    &[("NegativeLogLikelihoodLoss", nll), ("SoftmaxCrossEntropyLoss", cross_entropy)];

const HELP: &str = "if this is what the model is trained on, take each record's own with --loss output:NAME, where NAME is the \
                    output; or make the scores an output of the model, and name the loss with --loss";

fn nll(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let log_probabilities = cx.value(node, 0)?;
    Ok(vec![picked(cx, node, &log_probabilities)?])
}

fn cross_entropy(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let mut scores = cx.value(node, 0)?;
    let axis = class_axis(cx, node, &scores)?;
    scores.node = cx.emit(node, Softmax { axis, log: true }, &[scores.node])?;
    Ok(vec![picked(cx, node, &scores)?, scores])
}

/// Where the classes are among the axes of a record.
fn class_axis(cx: &Import<'_>, node: &OnnxNode, scores: &Value) -> Result<usize, Refusal> {
    let classes = scores.axes.0.get(1).filter(|axis| !axis.is_batched()).and_then(|_| scores.axes.record_axis(1));
    match classes.filter(|_| cx.ty(scores.node).dtype == DType::F32) {
        Some(axis) => Ok(axis),
        None => Err(cx.unsupported(node, &format!("classes on axis 1 of {}", scores.axes))),
    }
}

/// The losses of labels (operand 1) by these log-probabilities, weighted (operand 2) and reduced.
fn picked(cx: &mut Import<'_>, node: &OnnxNode, scores: &Value) -> Result<Value, Refusal> {
    let (labels, weights) = (cx.value(node, 1)?, cx.optional(node, 2)?);
    let at = class_axis(cx, node, scores)?;
    let reduction = node.string("reduction", "mean").map_err(|e| cx.attribute(node, e))?;
    let ignored = match node.has("ignore_index") {
        true => Some(node.require_int("ignore_index").map_err(|e| cx.attribute(node, e))?),
        false => None,
    };
    let mut expected = scores.axes.clone();
    expected.0.remove(1);
    if labels.axes != expected || cx.ty(labels.node).dtype != DType::I32 {
        return Err(cx.invalid(node, format!("labels of axes {} do not fit scores of {}", labels.axes, scores.axes)));
    }
    if reduction != "none" && scores.axes.batch_axis().is_some() {
        return Err(cx.mixes(node, format!("it sums losses over the batch of {}", scores.axes), HELP));
    }
    let rows = rows(cx, node, scores.node, &[at])?;
    let (count, classes) = (cx.ty(rows).dims[0], cx.ty(rows).dims[1]);
    let ids = reshape(cx, node, labels.node, [count, 1])?;
    let numbers = positions(cx, node, classes)?;
    let here = apply(cx, node, Func::EqualI32, &[ids, numbers])?;
    let zero = floats(cx, node, [], vec![0.0])?;
    let pick = |cx: &mut Import<'_>, from| {
        let found = apply(cx, node, Func::Select, &[here, from, zero])?;
        cx.emit(node, Sum { axes: vec![1] }, &[found])
    };
    let found = pick(cx, rows)?;
    let mut losses = apply(cx, node, Func::Neg, &[found])?;
    let mut weight = match weights {
        Some(weights) if weights.axes == Axes::shared(&[classes]) => pick(cx, weights.node)?,
        Some(weights) => {
            return Err(cx.invalid(node, format!("weights of axes {} for {classes} classes", weights.axes)));
        }
        None => cx.emit(node, Fill { ty: Type::shared([count]), value: 1.0 }, &[])?,
    };
    losses = apply(cx, node, Func::Mul, &[losses, weight])?;
    if let Some(ignored) = ignored.and_then(|ignored| i32::try_from(ignored).ok()) {
        let ignored = integers(cx, node, [], vec![ignored])?;
        let ids = reshape(cx, node, ids, [count])?;
        let ignored = apply(cx, node, Func::EqualI32, &[ids, ignored])?;
        losses = apply(cx, node, Func::Select, &[ignored, zero, losses])?;
        weight = apply(cx, node, Func::Select, &[ignored, zero, weight])?;
    }
    let total = |cx: &mut Import<'_>, x| cx.emit(node, Sum { axes: vec![0] }, &[x]);
    match reduction {
        "none" => cx.relabel(node, losses, labels.axes),
        "sum" => Ok(Value { node: total(cx, losses)?, axes: Axes::default() }),
        "mean" => {
            let (losses, weight) = (total(cx, losses)?, total(cx, weight)?);
            Ok(Value { node: apply(cx, node, Func::Div, &[losses, weight])?, axes: Axes::default() })
        }
        other => Err(cx.invalid(node, format!("reduction `{other}` is not one of ONNX's"))),
    }
}
