//! Pooling over one or two spatial axes: [MaxPool](https://onnx.ai/onnx/operators/onnx__MaxPool.html),
//! [AveragePool](https://onnx.ai/onnx/operators/onnx__AveragePool.html),
//! [GlobalAveragePool](https://onnx.ai/onnx/operators/onnx__GlobalAveragePool.html).

use crate::import::axes::{Axes, Axis};
use crate::import::formula::formula;
use crate::import::window::{image, window};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::kernels::PoolKind;
use crate::onnx::OnnxNode;
use crate::ops::movement::Reshape;
use crate::ops::pool::Pool;

pub(super) const RULES: &[(&str, Rule)] =
    &[("MaxPool", max_pool), ("AveragePool", average_pool), ("GlobalAveragePool", global_average_pool)];

fn max_pool(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    if node.output(1).is_some() {
        return Err(cx.unsupported(node, "the output Indices"));
    }
    pool(cx, node, PoolKind::Max)
}

fn average_pool(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let padded = node.int("count_include_pad", 0).map_err(|e| cx.attribute(node, e))? != 0;
    pool(cx, node, if padded { PoolKind::AveragePadded } else { PoolKind::AverageInside })
}

fn global_average_pool(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let spatial: Vec<usize> = (2..x.axes.rank()).collect();
    Ok(vec![formula(cx, node, |f| f.of(x).mean(&spatial))?])
}

fn pool(cx: &mut Import<'_>, node: &OnnxNode, kind: PoolKind) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let dims = image(cx, node, &x)?;
    let (channels, window) = (dims[0], window(cx, node, &dims[1..], None)?);
    let image = if cx.ty(x.node).dims == dims { x.node } else { cx.emit(node, Reshape { dims }, &[x.node])? };
    let y = cx.emit(node, Pool { kind, channels, window }, &[image])?;
    let mut axes = vec![Axis::batch()];
    axes.extend(window.dims(channels, window.output).into_iter().map(Axis::size));
    Ok(vec![cx.relabel(node, y, Axes(axes))?])
}
