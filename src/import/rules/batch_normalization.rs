//! Normalisation by running statistics, which are constants: each record's own affine map, of scalar functions.
//!
//! ONNX: [BatchNormalization](https://onnx.ai/onnx/operators/onnx__BatchNormalization.html) in inference form. In training
//! form it normalises over the batch, so that records meet.

use crate::import::axes::{Axes, Axis};
use crate::import::formula::formula;
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;

pub(super) const RULES: &[(&str, Rule)] = &[("BatchNormalization", batch_norm)];

const MIXES: &str = "call .eval() on the BatchNorm layers before the export: they then normalise by their running statistics, \
                     which treats each record alone, and their scale and bias are trained";

fn batch_norm(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    if trains(cx, node)? {
        return Err(cx.mixes(node, "it normalises over the batch", MIXES));
    }
    let x = cx.value(node, 0)?;
    let rank = x.axes.rank();
    if rank < 2 || x.axes.0[1].is_batched() {
        return Err(cx.unsupported(node, &format!("channels on axis 1 of {}", x.axes)));
    }
    let epsilon = node.float("epsilon", 1e-5).map_err(|e| cx.attribute(node, e))?;
    // One number a channel, along axis 1 of the operand.
    let mut channel = |i: usize| -> Result<Value, Refusal> {
        let value = cx.value(node, i)?;
        let mut axes = value.axes.0.clone();
        axes.extend(vec![Axis::size(1); rank - 2]);
        cx.relabel(node, value.node, Axes(axes))
    };
    let (scale, bias, mean, variance) = (channel(1)?, channel(2)?, channel(3)?, channel(4)?);
    let normalised = formula(cx, node, |f| {
        let [x, scale, bias, mean, variance] = [x, scale, bias, mean, variance].map(|value| f.of(value));
        let slope = scale / (variance + epsilon).sqrt();
        let offset = bias - mean * slope;
        x * slope + offset
    });
    Ok(vec![normalised?])
}

/// Whether the module was in training mode. PyTorch's newer exporter writes the inference form all the same, and its
/// metadata alone tell.
fn trains(cx: &Import<'_>, node: &OnnxNode) -> Result<bool, Refusal> {
    let stated = match cx.opset() {
        14.. => node.int("training_mode", 0).map_err(|e| cx.attribute(node, e))? != 0,
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
