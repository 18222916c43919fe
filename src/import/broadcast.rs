//! NumPy broadcasting of values that hold the batch.

use super::axes::{Axes, Axis};
use super::{Import, Refusal, Value};
use crate::graph::{DType, NodeId};
use crate::lower::scalar::{Expr, Func};
use crate::onnx::OnnxNode;
use crate::ops::elementwise::Elementwise;
use crate::ops::movement::Reshape;

/// A function of operands that broadcast.
pub(super) fn call(cx: &mut Import<'_>, node: &OnnxNode, func: Func, operands: &[Value]) -> Result<Value, Refusal> {
    apply(cx, node, Expr::call(func), operands)
}

/// The first of some functions that is one of operands of these types.
pub(super) fn call_typed(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    funcs: &[Func],
    operands: &[Value],
) -> Result<Value, Refusal> {
    let types: Vec<DType> = operands.iter().map(|value| cx.ty(value.node).dtype).collect();
    match funcs.iter().find(|func| func.operands() == types) {
        Some(&func) => call(cx, node, func, operands),
        None => {
            let types: Vec<String> = types.iter().map(DType::to_string).collect();
            Err(cx.unsupported(node, &format!("operands of the types {}", types.join(", "))))
        }
    }
}

/// An expression of operands that broadcast.
pub(super) fn apply(cx: &mut Import<'_>, node: &OnnxNode, expr: Expr, operands: &[Value]) -> Result<Value, Refusal> {
    let (nodes, axes) = align(cx, node, operands)?;
    Ok(Value { node: cx.emit(node, Elementwise { expr }, &nodes)?, axes })
}

/// The batch rule of element-wise ops: the operands' axes are aligned from the right, and the batch factor must be in
/// the same axis, with the same factors, in every operand that has one; an operand without it must have size 1 there.
///
/// Returns the operands with one axis more or less where the hoisting of the batch factor calls for it, so that they
/// broadcast per record as the ONNX operands do, and the axes of the result.
pub(super) fn align(cx: &mut Import<'_>, node: &OnnxNode, operands: &[Value]) -> Result<(Vec<NodeId>, Axes), Refusal> {
    const HELP: &str =
        "keep the batch on the same axis of every operand; statistics over the batch cannot be trained privately";
    let rank = operands.iter().map(|v| v.axes.rank()).max().unwrap_or(0);
    let mut axes = vec![Axis::size(1); rank];
    let mut place: Option<usize> = None;
    for value in operands {
        let lead = rank - value.axes.rank();
        if let Some(b) = value.axes.batch_axis() {
            match place {
                Some(p) if p != lead + b => {
                    return Err(cx.mixes(
                        node,
                        format!("the batch is on axis {p} of one operand and on axis {} of another", lead + b),
                        HELP,
                    ));
                }
                Some(p) if axes[p] != value.axes.0[b] => {
                    let why = format!(
                        "axis {p} holds the batch as {} in one operand and as {} in another",
                        axes[p], value.axes.0[b]
                    );
                    return Err(cx.mixes(node, why, HELP));
                }
                _ => {}
            }
            place = Some(lead + b);
            axes[lead + b] = value.axes.0[b].clone();
        }
    }
    for (k, axis) in axes.iter_mut().enumerate().filter(|(k, _)| Some(*k) != place) {
        for value in operands {
            let size = (k + value.axes.rank()).checked_sub(rank).map_or(1, |i| value.axes.0[i].per_record());
            match axis.per_record() {
                1 => *axis = Axis::size(size),
                have if size == 1 || size == have => {}
                have => return Err(cx.invalid(node, format!("sizes {have} and {size} do not broadcast"))),
            }
        }
    }
    let axes = Axes(axes);
    let mut nodes = Vec::new();
    for value in operands {
        let lead = rank - value.axes.rank();
        let own = |k: usize| k.checked_sub(lead).map(|i| &value.axes.0[i]);
        if let Some(p) = place
            && own(p).is_some_and(|a| !a.is_batched() && a.per_record() != 1)
        {
            let why = format!("an operand of axes {} varies along the batch axis {p}", value.axes);
            return Err(cx.mixes(node, why, HELP));
        }
        let dims: Vec<usize> =
            (lead..rank).filter(|&k| !axes.0[k].is_batch()).map(|k| own(k).map_or(1, Axis::per_record)).collect();
        let same = cx.ty(value.node).dims == dims;
        nodes.push(if same { value.node } else { cx.emit(node, Reshape { dims }, &[value.node])? });
    }
    Ok((nodes, axes))
}
