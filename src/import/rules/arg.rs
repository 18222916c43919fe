//! Positions of extremes along an axis of a record: [ArgMax](https://onnx.ai/onnx/operators/onnx__ArgMax.html), ArgMin,
//! [TopK](https://onnx.ai/onnx/operators/onnx__TopK.html), [Hardmax](https://onnx.ai/onnx/operators/onnx__Hardmax.html).
//! Positions have no derivative; the values that TopK takes have that of a selection.

use crate::graph::{DType, NodeId};
use crate::import::axes::{Axes, Axis};
use crate::import::rows::{along, apply, first_of, floats, positions, reshape, row_argmax, row_max, rows, unrows};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::movement::Concat;
use crate::ops::reduce::Sum;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("ArgMax", |cx, n| arg(cx, n, true)),
    ("ArgMin", |cx, n| arg(cx, n, false)),
    ("TopK", top_k),
    ("Hardmax", hardmax),
];

/// The operand's elements along an axis as rows of floats, those of which the smallest is wanted with the other sign.
fn operand(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    x: &Value,
    axis: usize,
    largest: bool,
) -> Result<(usize, NodeId), Refusal> {
    let at = along(cx, node, x, axis, "compares")?;
    if cx.ty(x.node).dtype != DType::F32 {
        return Err(cx.unsupported(node, "an order of values that are no floats"));
    }
    let matrix = rows(cx, node, x.node, &[at])?;
    Ok((at, if largest { matrix } else { apply(cx, node, Func::Neg, &[matrix])? }))
}

fn arg(cx: &mut Import<'_>, node: &OnnxNode, largest: bool) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let int = |name: &str, usual: i64| node.int(name, usual).map_err(|e| cx.attribute(node, e));
    let (keep, last) = (int("keepdims", 1)? != 0, int("select_last_index", 0)? != 0);
    let axis = cx.axis(node, int("axis", 0)?, x.axes.rank())?;
    let (at, matrix) = operand(cx, node, &x, axis, largest)?;
    let found = row_argmax(cx, node, matrix, last)?;
    let dims = cx.ty(x.node).dims.clone();
    let found = unrows(cx, node, found, &dims, at)?;
    let mut axes = x.axes;
    if keep {
        axes.0[axis] = Axis::size(1)
    } else {
        drop(axes.0.remove(axis))
    }
    Ok(vec![cx.relabel(node, found, axes)?])
}

fn top_k(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    const MOST: usize = 64;
    let x = cx.value(node, 0)?;
    let int = |name: &str, usual: i64| node.int(name, usual).map_err(|e| cx.attribute(node, e));
    let axis = cx.axis(node, int("axis", -1)?, x.axes.rank())?;
    let largest = int("largest", 1)? != 0;
    let k = match cx.opset() < 10 {
        true => vec![node.require_int("k").map_err(|e| cx.attribute(node, e))?],
        false => cx.ints(node, 1)?.unwrap_or_default(),
    };
    let size = x.axes.0[axis].per_record();
    let Some(k) = (if let [k] = k[..] { usize::try_from(k).ok() } else { None }).filter(|k| (1..=size).contains(k))
    else {
        return Err(cx.invalid(node, format!("k is {k:?} of an axis of size {size}")));
    };
    if k > MOST {
        return Err(cx.unsupported(node, &format!("more than {MOST} largest elements")));
    }
    let (at, matrix) = operand(cx, node, &x, axis, largest)?;
    let positions = positions(cx, node, size)?;
    let (lowest, zero) = (floats(cx, node, [], vec![f32::NEG_INFINITY])?, floats(cx, node, [], vec![0.0])?);
    let (mut rest, mut taken) = (matrix, None);
    let (mut values, mut places) = (Vec::new(), Vec::new());
    for _ in 0..k {
        // The largest of what is not taken yet; what is taken counts as −∞, and not as an element of that size.
        let most = row_max(cx, node, rest)?;
        let mut is_most = apply(cx, node, Func::Equal, &[rest, most])?;
        if let Some(taken) = taken {
            let free = apply(cx, node, Func::Not, &[taken])?;
            is_most = apply(cx, node, Func::And, &[is_most, free])?;
        }
        let place = first_of(cx, node, is_most, size, false)?;
        let this = apply(cx, node, Func::EqualI32, &[place, positions])?;
        let value = apply(cx, node, Func::Select, &[this, matrix, zero])?;
        let value = cx.emit(node, Sum { axes: vec![1] }, &[value])?;
        let count = cx.ty(value).len();
        values.push(reshape(cx, node, value, [count, 1])?);
        places.push(place);
        rest = apply(cx, node, Func::Select, &[this, lowest, rest])?;
        taken = Some(match taken {
            Some(taken) => apply(cx, node, Func::Or, &[taken, this])?,
            None => this,
        });
    }
    let joined = |cx: &mut Import<'_>, columns: &[NodeId]| match columns {
        [only] => Ok(*only),
        _ => cx.emit(node, Concat { axis: 1 }, columns),
    };
    let (mut values, places) = (joined(cx, &values)?, joined(cx, &places)?);
    if !largest {
        values = apply(cx, node, Func::Neg, &[values])?;
    }
    let dims = cx.ty(x.node).dims.clone();
    let mut axes = x.axes;
    axes.0[axis] = Axis::size(k);
    let of = |cx: &mut Import<'_>, matrix: NodeId, axes: Axes| -> Result<Value, Refusal> {
        Ok(Value { node: unrows(cx, node, matrix, &dims, at)?, axes })
    };
    Ok(vec![of(cx, values, axes.clone())?, of(cx, places, axes)?])
}

fn hardmax(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let over_rest = cx.opset() < 13;
    let axis = node.int("axis", if over_rest { 1 } else { -1 }).map_err(|e| cx.attribute(node, e))?;
    let axis = cx.axis(node, axis, x.axes.rank())?;
    let last = if over_rest { x.axes.rank() - 1 } else { axis };
    let mut places = Vec::new();
    for axis in axis..=last {
        places.push(along(cx, node, &x, axis, "compares")?);
    }
    let dims = cx.ty(x.node).dims.clone();
    let matrix = rows(cx, node, x.node, &places)?;
    let size = cx.ty(matrix).dims[1];
    let place = row_argmax(cx, node, matrix, false)?;
    let positions = positions(cx, node, size)?;
    let is_most = apply(cx, node, Func::EqualI32, &[place, positions])?;
    let hard = apply(cx, node, Func::BoolToF32, &[is_most])?;
    let hard = match places[..] {
        [at] => unrows(cx, node, hard, &dims, at)?,
        // The axes are the last ones.
        _ => reshape(cx, node, hard, dims)?,
    };
    Ok(vec![Value { node: hard, axes: x.axes }])
}
