//! Sums and means over axes, none of which holds the batch.

use super::axes::{Axes, Axis};
use super::{Import, Refusal, Value};
use crate::onnx::OnnxNode;
use crate::ops::elementwise::Elementwise;
use crate::ops::movement::Reshape;
use crate::ops::reduce::Sum;

/// What to do about a reduction over the batch.
pub(super) const OTHER_AXES: &str = "reduce over other axes, so that each record is treated alone; if it is the loss, train on \
                                     each record's own with --loss output:NAME, where NAME is the output";

/// The sum or the mean over ONNX axes of a value.
pub(super) fn reduced(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    x: Value,
    axes: Vec<usize>,
    keep: bool,
    mean: bool,
) -> Result<Value, Refusal> {
    if let Some(b) = x.axes.batch_axis().filter(|b| axes.contains(b)) {
        let why = format!("it reduces over axis {b} of {}, which holds the batch", x.axes);
        return Err(cx.mixes(node, why, OTHER_AXES));
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
    Ok(Value { node: value, axes })
}
