//! [Softmax](https://onnx.ai/onnx/operators/onnx__Softmax.html) and
//! [LogSoftmax](https://onnx.ai/onnx/operators/onnx__LogSoftmax.html): along one axis, and before opset 13 over all axes
//! from one on.

use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;
use crate::ops::movement::Reshape;
use crate::ops::softmax::Softmax;

pub(super) const RULES: &[(&str, Rule)] =
    &[("Softmax", |cx, n| softmax(cx, n, false)), ("LogSoftmax", |cx, n| softmax(cx, n, true))];

fn softmax(cx: &mut Import<'_>, node: &OnnxNode, log: bool) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let over_rest = cx.opset() < 13;
    let default = if over_rest { 1 } else { -1 };
    let axis = cx.axis(node, node.int("axis", default).map_err(|e| cx.attribute(node, e))?, x.axes.rank())?;
    let last = if over_rest { x.axes.rank() - 1 } else { axis };
    if let Some(batch) = x.axes.batch_axis().filter(|batch| (axis..=last).contains(batch)) {
        let why = format!("it normalises over axis {batch} of {}, which holds the batch", x.axes);
        return Err(cx.mixes(node, why, "normalise over an axis of the record"));
    }
    let Some(at) = x.axes.record_axis(axis) else {
        return Err(cx.invalid(node, format!("axis {axis} of {} is none of a record", x.axes)));
    };
    let dims = cx.ty(x.node).dims.clone();
    let mut flat = dims.clone();
    let rest = flat.splice(at..=at + last - axis, []).product();
    flat.insert(at, rest);
    if flat == dims {
        let y = cx.emit(node, Softmax { axis: at, log }, &[x.node])?;
        return Ok(vec![Value { node: y, axes: x.axes }]);
    }
    let rows = cx.emit(node, Reshape { dims: flat }, &[x.node])?;
    let rows = cx.emit(node, Softmax { axis: at, log }, &[rows])?;
    Ok(vec![Value { node: cx.emit(node, Reshape { dims }, &[rows])?, axes: x.axes }])
}
