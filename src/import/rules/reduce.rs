//! Sums and means over axes of a record: [ReduceSum](https://onnx.ai/onnx/operators/onnx__ReduceSum.html),
//! [ReduceMean](https://onnx.ai/onnx/operators/onnx__ReduceMean.html).

use crate::import::axes::{Axes, Axis};
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;
use crate::ops::elementwise::Elementwise;
use crate::ops::movement::Reshape;
use crate::ops::reduce::Sum;

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
    reduce_axes(cx, node, x, axes, keep, mean)
}

/// The sum or the mean over ONNX axes of a value.
pub(super) fn reduce_axes(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    x: Value,
    axes: Vec<usize>,
    keep: bool,
    mean: bool,
) -> Result<Vec<Value>, Refusal> {
    if let Some(b) = x.axes.batch_axis().filter(|b| axes.contains(b)) {
        let why = format!("it reduces over axis {b} of {}, which holds the batch", x.axes);
        return Err(cx.mixes(node, why, "reduce over other axes, so that each record is treated alone"));
    }
    let record_axes: Vec<usize> = axes.iter().filter_map(|&a| x.axes.record_axis(a)).collect();
    let count: usize = axes.iter().map(|&a| x.axes.0[a].per_record()).product();
    let mut value = cx.emit(node, Sum { axes: record_axes }, &[x.node])?;
    if mean {
        value = cx.emit(node, Elementwise::scale(1.0 / count as f32), &[value])?;
    }
    let axes = Axes(
        x.axes
            .0
            .iter()
            .enumerate()
            .filter(|(k, _)| keep || !axes.contains(k))
            .map(|(k, a)| if axes.contains(&k) { Axis::size(1) } else { a.clone() })
            .collect(),
    );
    if keep {
        value = cx.emit(node, Reshape { dims: axes.per_record() }, &[value])?;
    }
    Ok(vec![Value { node: value, axes }])
}
