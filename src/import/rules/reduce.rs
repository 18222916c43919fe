//! Sums and means over axes of a record: [ReduceSum](https://onnx.ai/onnx/operators/onnx__ReduceSum.html),
//! [ReduceMean](https://onnx.ai/onnx/operators/onnx__ReduceMean.html).

use crate::import::reduction::reduced;
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;

pub(super) const RULES: &[(&str, Rule)] =
    &[("ReduceSum", |cx, n| reduce(cx, n, false)), ("ReduceMean", |cx, n| reduce(cx, n, true))];

fn reduce(cx: &mut Import<'_>, node: &OnnxNode, mean: bool) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let rank = x.axes.rank();
    let listed = match cx.ints(node, 1)? {
        Some(axes) => Some(axes),
        None => node.ints("axes").map_err(|e| cx.attribute(node, e))?,
    };
    let keep = node.int("keepdims", 1).map_err(|e| cx.attribute(node, e))? != 0;
    let noop = node.int("noop_with_empty_axes", 0).map_err(|e| cx.attribute(node, e))? != 0;
    let listed = match listed.filter(|a| !a.is_empty()) {
        None if noop => return Ok(vec![x]),
        None => (0..rank as i64).collect(),
        Some(axes) => axes,
    };
    let mut axes = listed.iter().map(|&a| cx.axis(node, a, rank)).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    axes.dedup();
    Ok(vec![reduced(cx, node, x, axes, keep, mean)?])
}
