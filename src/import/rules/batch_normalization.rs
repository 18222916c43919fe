//! Normalisation by running statistics, which are constants: each record's own affine map, of scalar functions.
//!
//! ONNX: [BatchNormalization](https://onnx.ai/onnx/operators/onnx__BatchNormalization.html) in inference form. In training
//! form it normalises over the batch, so that records meet.

use crate::import::axes::{Axes, Axis};
use crate::import::formula::formula;
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;
use crate::onnx::batch_norm::trains;

pub(super) const RULES: &[(&str, Rule)] = &[("BatchNormalization", batch_norm)];

const MIXES: &str = "have it rewritten by --fix batch-norm=group, which is usual in private training, or by \
                     --fix batch-norm=instance or --fix batch-norm=frozen, which keeps the running statistics; or call .eval() \
                     on the BatchNorm layers before the export. Their scale and bias are trained in every case";

fn batch_norm(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    if trains(node, cx.opset()).map_err(|e| cx.attribute(node, e))? {
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
