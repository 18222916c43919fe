//! [OneHot](https://onnx.ai/onnx/operators/onnx__OneHot.html): an axis on which one position, by number, differs.

use crate::graph::DType;
use crate::import::axes::Axis;
use crate::import::rows::{apply, floats, integers, reshape};
use crate::import::select::{run, selectable};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;

pub(super) const RULES: &[(&str, Rule)] = &[("OneHot", one_hot)];

fn one_hot(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let (ids, values) = (cx.value(node, 0)?, cx.value(node, 2)?);
    let rank = ids.axes.rank() + 1;
    let axis = cx.axis(node, node.int("axis", -1).map_err(|e| cx.attribute(node, e))?, rank)?;
    let depth = match cx.known_floats(node, 1) {
        Some(depth) => depth.first().map(|&depth| depth as i64),
        None => cx.ints(node, 1)?.and_then(|depth| depth.first().copied()),
    };
    let Some(depth) = depth.and_then(|depth| usize::try_from(depth).ok()).filter(|depth| (1..1 << 24).contains(depth))
    else {
        return Err(cx.invalid(node, format!("its depth is {depth:?}")));
    };
    if values.axes.batch_axis().is_some() || cx.ty(values.node).dims != [2] {
        return Err(cx.unsupported(node, "values that are not two numbers for all records"));
    }
    let mut axes = ids.axes.clone();
    axes.0.insert(axis, Axis::size(depth));
    let Some(at) = axes.record_axis(axis) else { return Err(cx.invalid(node, "its axis is the batch")) };
    let mut dims = ids.axes.per_record();
    selectable(cx, node, depth.saturating_mul(cx.ty(ids.node).len()))?;
    dims.insert(at, 1);
    let along: Vec<usize> = std::iter::once(depth).chain(vec![1; dims.len() - at - 1]).collect();
    let id = reshape(cx, node, ids.node, dims)?;
    // An id below zero counts from the end.
    let here = match cx.ty(id).dtype {
        DType::F32 => {
            let (zero, end) = (floats(cx, node, [], vec![0.0])?, floats(cx, node, [], vec![depth as f32])?);
            let below = apply(cx, node, Func::Less, &[id, zero])?;
            let from_end = apply(cx, node, Func::Add, &[id, end])?;
            let id = apply(cx, node, Func::Select, &[below, from_end, id])?;
            let positions = floats(cx, node, along, (0..depth).map(|k| k as f32).collect())?;
            apply(cx, node, Func::Equal, &[id, positions])?
        }
        DType::I32 => {
            let (zero, end) = (integers(cx, node, [], vec![0])?, integers(cx, node, [], vec![depth as i32])?);
            let below = apply(cx, node, Func::LessI32, &[id, zero])?;
            let from_end = apply(cx, node, Func::AddI32, &[id, end])?;
            let id = apply(cx, node, Func::SelectI32, &[below, from_end, id])?;
            let positions = integers(cx, node, along, (0..depth as i32).collect())?;
            apply(cx, node, Func::EqualI32, &[id, positions])?
        }
        DType::Bool => return Err(cx.invalid(node, "its ids are booleans")),
    };
    let value = |cx: &mut Import<'_>, k| {
        let value = run(cx, node, values.node, 0, k, 1)?;
        reshape(cx, node, value, [])
    };
    let (off, on) = (value(cx, 0)?, value(cx, 1)?);
    let select = match cx.ty(on).dtype {
        DType::F32 => Func::Select,
        DType::I32 => Func::SelectI32,
        DType::Bool => Func::SelectBool,
    };
    Ok(vec![Value { node: apply(cx, node, select, &[here, on, off])?, axes }])
}
