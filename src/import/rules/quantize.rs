//! [DequantizeLinear](https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html), of weights that a file stores as small
//! integers or floats, and QuantizeLinear. What is stored so stays as it is; the rounding of data has no derivative.

use crate::graph::DType;
use crate::import::axes::{Axes, Axis};
use crate::import::formula::formula;
use crate::import::select::{ALONG_BATCH, take};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::{Elem, OnnxNode};

pub(super) const RULES: &[(&str, Rule)] = &[("DequantizeLinear", dequantize), ("QuantizeLinear", quantize)];

/// What is given for blocks of `block` positions of an axis, for each position.
fn of_blocks(cx: &mut Import<'_>, node: &OnnxNode, value: Value, x: &Value, block: i64) -> Result<Value, Refusal> {
    let rank = x.axes.rank();
    let axis = cx.axis(node, node.int("axis", 1).map_err(|e| cx.attribute(node, e))?, rank)?;
    let along = x.axes.record_axis(axis).filter(|_| !x.axes.0[axis].is_batched());
    let Some(along) = along else {
        return Err(cx.mixes(node, format!("its blocks lie along axis {axis} of {}", x.axes), ALONG_BATCH));
    };
    let size = x.axes.0[axis].per_record();
    let block = usize::try_from(block).map_err(|_| cx.invalid(node, format!("block_size is {block}")))?;
    let mut blocks = x.axes.clone();
    blocks.0[axis] = Axis::size(size.div_ceil(block));
    if value.axes != blocks {
        let why = format!("a scale or zero point of axes {} for blocks of {block} of {}", value.axes, x.axes);
        return Err(cx.invalid(node, why));
    }
    let places: Vec<usize> = (0..size).map(|position| position / block).collect();
    let spread = take(cx, node, value.node, along, &places)?;
    cx.relabel(node, spread, x.axes.clone())
}

/// Operand `i`, a scale or a zero point, as floats that broadcast to `x`: one for all, or one a position of an axis.
fn steps(cx: &mut Import<'_>, node: &OnnxNode, i: usize, x: &Value) -> Result<Option<Value>, Refusal> {
    let Some(value) = cx.optional(node, i)? else { return Ok(None) };
    let rank = x.axes.rank();
    let block = node.int("block_size", 0).map_err(|e| cx.attribute(node, e))?;
    if block != 0 {
        let value = of_blocks(cx, node, value, x, block)?;
        return Ok(Some(float(cx, node, value)?));
    }
    let axes = match &value.axes.0[..] {
        [] => Axes::default(),
        [only] if !only.is_batched() && only.per_record() == 1 => Axes::default(),
        [only] if !only.is_batched() => {
            let axis = node.int("axis", 1).map_err(|e| cx.attribute(node, e))?;
            let mut axes = vec![Axis::size(1); rank];
            axes[cx.axis(node, axis, rank)?] = only.clone();
            Axes(axes)
        }
        _ => return Err(cx.unsupported(node, &format!("a scale or zero point of axes {}", value.axes))),
    };
    let value = cx.relabel(node, value.node, axes)?;
    Ok(Some(float(cx, node, value)?))
}

fn float(cx: &mut Import<'_>, node: &OnnxNode, x: Value) -> Result<Value, Refusal> {
    match cx.ty(x.node).dtype {
        DType::F32 => Ok(x),
        DType::I32 => formula(cx, node, |f| f.of(x).call(Func::I32ToF32)),
        DType::Bool => Err(cx.invalid(node, "an operand of booleans")),
    }
}

fn dequantize(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let (scale, zero) = (steps(cx, node, 1, &x)?, steps(cx, node, 2, &x)?);
    let Some(scale) = scale else { return Err(cx.invalid(node, "it has no scale")) };
    let stored = cx.stored(node, 0);
    if let Some(name) = stored {
        let what = if cx.ty(x.node).dtype == DType::I32 { "integers" } else { "floats" };
        cx.note(format!("`{name}` is stored as small {what}: it stays as it is, and dpc computes with it in float32"));
    }
    let x = float(cx, node, x)?;
    Ok(vec![formula(cx, node, |f| {
        let x = f.of(x);
        let from_zero = match zero {
            Some(zero) => x - f.of(zero),
            None => x,
        };
        from_zero * f.of(scale)
    })?])
}

fn quantize(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let (scale, zero) = (steps(cx, node, 1, &x)?, steps(cx, node, 2, &x)?);
    let Some(scale) = scale else { return Err(cx.invalid(node, "it has no scale")) };
    let elem = cx.output_elem(node, 0).unwrap_or(Elem::U8);
    let Some((low, high)) = elem.bounds() else {
        return Err(cx.unsupported(node, &format!("numbers of type {elem}")));
    };
    let (low, high) = (low as f32, high as f32);
    if cx.ty(x.node).batched {
        cx.note(format!("node `{}` rounds what is computed: no gradient passes through it", node.name));
    }
    Ok(vec![formula(cx, node, |f| {
        let rounded = (f.of(x) / f.of(scale)).call(Func::Round);
        let moved = match zero {
            Some(zero) => rounded + f.of(zero),
            None => rounded,
        };
        moved.at_least(low).at_most(high).call(Func::F32ToI32)
    })?])
}
