//! Flip: the elements along one axis in reverse order.

use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;
use crate::ops::flip::Flip;

pub(super) const RULES: &[(&str, Rule)] = &[("Flip", flip)];

fn flip(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let axis = cx.axis(node, node.int("axis", -1).map_err(|e| cx.attribute(node, e))?, x.axes.rank())?;
    if x.axes.batch_axis() == Some(axis) {
        let why = format!("it reverses axis {axis} of {}, which holds the batch", x.axes);
        return Err(cx.mixes(node, why, "reverse an axis of the record"));
    }
    let Some(at) = x.axes.record_axis(axis) else {
        return Err(cx.invalid(node, format!("axis {axis} of {} is none of a record", x.axes)));
    };
    let y = cx.emit(node, Flip { axis: at }, &[x.node])?;
    Ok(vec![Value { node: y, axes: x.axes }])
}
