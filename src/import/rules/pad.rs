//! [Pad](https://onnx.ai/onnx/operators/onnx__Pad.html): elements before and after those of an axis.

use crate::graph::{DType, NodeId};
use crate::import::axes::Axis;
use crate::import::rows::{along, floats, integers, reshape};
use crate::import::select::{run, selectable, take};
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;
use crate::ops::movement::{Broadcast, Concat};

pub(super) const RULES: &[(&str, Rule)] = &[("Pad", pad)];

fn pad(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let mut x = cx.value(node, 0)?;
    let rank = x.axes.rank();
    let mode = node.string("mode", "constant").map_err(|e| cx.attribute(node, e))?;
    let (pads, axes) = match cx.opset() < 11 {
        true => (Some(node.require_ints("pads").map_err(|e| cx.attribute(node, e))?), None),
        false => (cx.ints(node, 1)?, cx.ints(node, 3)?),
    };
    let pads = pads.ok_or_else(|| cx.invalid(node, "it has no pads"))?;
    let axes = match axes {
        Some(axes) => axes.iter().map(|&a| cx.axis(node, a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(cx.invalid(node, format!("{} pads for {} axes", pads.len(), axes.len())));
    }
    let value = if mode == "constant" { Some(padding(cx, node, cx.ty(x.node).dtype)?) } else { None };
    for (k, &axis) in axes.iter().enumerate() {
        let (before, after) = (pads[k], pads[axes.len() + k]);
        if (before, after) == (0, 0) {
            continue;
        }
        let at = along(cx, node, &x, axis, "pads")?;
        let size = x.axes.0[axis].per_record();
        if [before, after].iter().any(|pad| pad.unsigned_abs() >= 1 << 31) {
            return Err(cx.invalid(node, format!("pads {before} and {after} are too many")));
        }
        let span = i64::try_from(size).ok().and_then(|size| size.checked_add(before)?.checked_add(after));
        let Some(span) = span.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0 && n < 1 << 31) else {
            return Err(cx.invalid(node, format!("pads {before} and {after} do not fit an axis of size {size}")));
        };
        x.node = match value {
            Some(value) => constant(cx, node, x.node, at, (before, after), value)?,
            None => {
                selectable(cx, node, span)?;
                let place = |k: usize| place(k as i64 - before, size as i64, mode);
                let Some(places) = (0..span).map(place).collect::<Option<Vec<_>>>() else {
                    return Err(cx.invalid(node, format!("mode `{mode}` does not fit an axis of size {size}")));
                };
                take(cx, node, x.node, at, &places)?
            }
        };
        x.axes.0[axis] = Axis::size(span);
    }
    Ok(vec![x])
}

/// The number around the data, as a scalar.
fn padding(cx: &mut Import<'_>, node: &OnnxNode, dtype: DType) -> Result<NodeId, Refusal> {
    if cx.opset() < 11 {
        let value = node.float("value", 0.0).map_err(|e| cx.attribute(node, e))?;
        return floats(cx, node, [], vec![value]);
    }
    match cx.optional(node, 2)? {
        Some(value) if value.axes.batch_axis().is_some() || cx.ty(value.node).len() != 1 => {
            Err(cx.unsupported(node, "a padding that is not one number for all records"))
        }
        Some(value) => reshape(cx, node, value.node, []),
        None if dtype == DType::F32 => floats(cx, node, [], vec![0.0]),
        None => integers(cx, node, [], vec![0]),
    }
}

/// Pads an axis of one record by a scalar, and cuts off where pads are below zero.
fn constant(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    x: NodeId,
    at: usize,
    (before, after): (i64, i64),
    value: NodeId,
) -> Result<NodeId, Refusal> {
    let mut dims = cx.ty(x).dims.clone();
    let cut = |pad: i64| usize::try_from(-pad).unwrap_or(0);
    let start = cut(before).min(dims[at]);
    let len = dims[at].saturating_sub(start).saturating_sub(cut(after));
    let mut parts = Vec::new();
    let mut around = |cx: &mut Import<'_>, parts: &mut Vec<NodeId>, pad: i64| -> Result<(), Refusal> {
        if let Ok(size @ 1..) = usize::try_from(pad) {
            dims[at] = size;
            parts.push(cx.emit(node, Broadcast { dims: dims.clone() }, &[value])?);
        }
        Ok(())
    };
    around(cx, &mut parts, before)?;
    if len > 0 {
        parts.push(run(cx, node, x, at, start, len)?);
    }
    around(cx, &mut parts, after)?;
    match parts[..] {
        [only] => Ok(only),
        _ => cx.emit(node, Concat { axis: at }, &parts),
    }
}

/// The element of an axis of size `size` that is at position `k`, counted from its first, by the mode.
fn place(k: i64, size: i64, mode: &str) -> Option<usize> {
    let at = match mode {
        "edge" => k.clamp(0, size - 1),
        "wrap" => k.rem_euclid(size),
        "reflect" if size == 1 => 0,
        "reflect" => {
            let period = 2 * (size - 1);
            let k = k.rem_euclid(period);
            k.min(period - k)
        }
        _ => return None,
    };
    usize::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_outside_are_those_of_the_mode() {
        let places = |mode| (-4..7).map(|k| place(k, 3, mode).unwrap()).collect::<Vec<_>>();
        assert_eq!(places("edge"), [0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2]);
        assert_eq!(places("wrap"), [2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(places("reflect"), [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]);
        assert_eq!(place(0, 3, "other"), None);
    }
}
