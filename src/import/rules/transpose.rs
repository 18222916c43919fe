//! [Transpose](https://onnx.ai/onnx/operators/onnx__Transpose.html). The batch factor may move to another axis.

use crate::import::axes::Axes;
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;
use crate::ops::movement::Transpose;

pub(super) const RULES: &[(&str, Rule)] = &[("Transpose", transpose)];

fn transpose(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let rank = x.axes.rank();
    let perm = match node.ints("perm").map_err(|e| cx.attribute(node, e))? {
        Some(perm) => perm.iter().map(|&p| cx.axis(node, p, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).rev().collect(),
    };
    if perm.len() != rank || (0..rank).any(|axis| !perm.contains(&axis)) {
        return Err(cx.invalid(node, format!("perm {perm:?} does not fit a value of rank {rank}")));
    }
    let axes = Axes(perm.iter().map(|&p| x.axes.0[p].clone()).collect());
    let perm: Vec<usize> = perm.iter().filter_map(|&p| x.axes.record_axis(p)).collect();
    let moved = !perm.is_sorted();
    let id = if moved { cx.emit(node, Transpose { perm }, &[x.node])? } else { x.node };
    Ok(vec![Value { node: id, axes }])
}
