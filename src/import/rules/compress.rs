//! Selections by a condition that is known when the model is compiled:
//! [Compress](https://onnx.ai/onnx/operators/onnx__Compress.html).

use crate::import::axes::{Axes, Axis};
use crate::import::rows::{along, reshape};
use crate::import::select::{ALONG_BATCH, take};
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;

pub(super) const RULES: &[(&str, Rule)] = &[("Compress", compress)];

fn compress(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let condition = cx.known(node, 1).and_then(|condition| condition.bools());
    let Some(condition) = condition.map(<[bool]>::to_vec) else {
        return Err(cx.unsupported(node, "a condition that is not known when the model is compiled"));
    };
    let taken: Vec<usize> = (0..condition.len()).filter(|&k| condition[k]).collect();
    let fits = |size: usize| taken.last().is_some_and(|&last| last < size);
    if node.has("axis") {
        let axis = node.require_int("axis").map_err(|e| cx.attribute(node, e))?;
        let axis = cx.axis(node, axis, x.axes.rank())?;
        let at = along(cx, node, &x, axis, "selects")?;
        if !fits(x.axes.0[axis].per_record()) {
            return Err(cx.unsupported(node, "a condition that takes nothing, or beyond the last element"));
        }
        let mut axes = x.axes;
        axes.0[axis] = Axis::size(taken.len());
        return Ok(vec![Value { node: take(cx, node, x.node, at, &taken)?, axes }]);
    }
    if x.axes.batch_axis().is_some() {
        return Err(cx.mixes(node, format!("it selects from all records of {} together", x.axes), ALONG_BATCH));
    }
    let len = cx.ty(x.node).len();
    if !fits(len) {
        return Err(cx.unsupported(node, "a condition that takes nothing, or beyond the last element"));
    }
    let flat = reshape(cx, node, x.node, [len])?;
    let taken_node = take(cx, node, flat, 0, &taken)?;
    Ok(vec![Value { node: taken_node, axes: Axes::shared(&[taken.len()]) }])
}
