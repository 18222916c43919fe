//! Normalisation within a record, as formulas: [LayerNormalization](https://onnx.ai/onnx/operators/onnx__LayerNormalization.html),
//! RMSNormalization, GroupNormalization, InstanceNormalization, MeanVarianceNormalization, LpNormalization. Statistics over
//! the batch are refused.

use crate::import::axes::{Axes, Axis};
use crate::import::formula::{Term, formula};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("LayerNormalization", layer),
    ("RMSNormalization", rms),
    ("GroupNormalization", group),
    ("InstanceNormalization", instance),
    ("MeanVarianceNormalization", mean_variance),
    ("LpNormalization", lp),
    ("ai.onnx.ml.Normalizer", normalizer),
];

fn epsilon(cx: &Import<'_>, node: &OnnxNode) -> Result<f32, Refusal> {
    node.float("epsilon", 1e-5).map_err(|e| cx.attribute(node, e))
}

/// The axes from the attribute `axis` to the last.
fn trailing(cx: &Import<'_>, node: &OnnxNode, x: &Value) -> Result<Vec<usize>, Refusal> {
    let axis = node.int("axis", -1).map_err(|e| cx.attribute(node, e))?;
    Ok((cx.axis(node, axis, x.axes.rank())?..x.axes.rank()).collect())
}

/// `(x − mean) / √(variance + ε)` over some axes.
fn standardized<'f>(x: Term<'f>, axes: &[usize], epsilon: f32) -> Term<'f> {
    let centred = x - x.mean(axes);
    centred * (1.0 / ((centred * centred).mean(axes) + epsilon).sqrt())
}

/// `x · scale + bias`, of operands that broadcast.
fn affine(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    x: Value,
    scale: Option<Value>,
    bias: Option<Value>,
) -> Result<Value, Refusal> {
    formula(cx, node, |f| {
        let mut y = f.of(x);
        if let Some(scale) = scale {
            y = y * f.of(scale);
        }
        if let Some(bias) = bias {
            y = y + f.of(bias);
        }
        y
    })
}

/// Operand `i`, whose elements are those of axis 1 of a value of this rank.
fn channels(cx: &mut Import<'_>, node: &OnnxNode, i: usize, rank: usize) -> Result<Option<Value>, Refusal> {
    let Some(value) = cx.optional(node, i)? else { return Ok(None) };
    let mut axes = value.axes.0.clone();
    axes.extend(vec![Axis::size(1); rank.saturating_sub(2)]);
    Ok(Some(cx.relabel(node, value.node, Axes(axes))?))
}

fn layer(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let (axes, epsilon) = (trailing(cx, node, &x)?, epsilon(cx, node)?);
    let normal = formula(cx, node, |f| standardized(f.of(x.clone()), &axes, epsilon))?;
    let (scale, bias) = (cx.optional(node, 1)?, cx.optional(node, 2)?);
    let mut values = vec![affine(cx, node, normal, scale, bias)?];
    if node.output(1).is_some() || node.output(2).is_some() {
        values.push(formula(cx, node, |f| f.of(x.clone()).mean(&axes))?);
        values.push(formula(cx, node, |f| {
            let x = f.of(x);
            let centred = x - x.mean(&axes);
            1.0 / ((centred * centred).mean(&axes) + epsilon).sqrt()
        })?);
    }
    Ok(values)
}

fn rms(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let (axes, epsilon) = (trailing(cx, node, &x)?, epsilon(cx, node)?);
    let normal = formula(cx, node, |f| {
        let x = f.of(x);
        x * (1.0 / ((x * x).mean(&axes) + epsilon).sqrt())
    })?;
    let scale = cx.optional(node, 1)?;
    Ok(vec![affine(cx, node, normal, scale, None)?])
}

/// Over the channels of a group and all positions. The scale and the bias have a number for each channel, and before opset 21
/// for each group.
fn group(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let rank = x.axes.rank();
    let groups = usize::try_from(node.require_int("num_groups").map_err(|e| cx.attribute(node, e))?).unwrap_or(0);
    if rank < 2 || x.axes.0[1..].iter().any(Axis::is_batched) {
        return Err(cx.unsupported(node, &format!("channels on axis 1 of {}", x.axes)));
    }
    let channels_of_x = x.axes.0[1].per_record();
    if groups == 0 || !channels_of_x.is_multiple_of(groups) {
        return Err(cx.invalid(node, format!("{channels_of_x} channels cannot be cut into {groups} groups")));
    }
    let rest: usize = x.axes.0[1..].iter().map(Axis::per_record).product::<usize>() / groups;
    let grouped = Axes(vec![x.axes.0[0].clone(), Axis::size(groups), Axis::size(rest)]);
    let epsilon = epsilon(cx, node)?;
    let whole = cx.relabel(node, x.node, grouped)?;
    let mut normal = formula(cx, node, |f| standardized(f.of(whole), &[2], epsilon))?;
    if cx.opset() < 21 {
        let (scale, bias) = (channels(cx, node, 1, 3)?, channels(cx, node, 2, 3)?);
        normal = affine(cx, node, normal, scale, bias)?;
    }
    let normal = cx.relabel(node, normal.node, x.axes)?;
    if cx.opset() < 21 {
        return Ok(vec![normal]);
    }
    let (scale, bias) = (channels(cx, node, 1, rank)?, channels(cx, node, 2, rank)?);
    Ok(vec![affine(cx, node, normal, scale, bias)?])
}

fn instance(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let (rank, epsilon) = (x.axes.rank(), epsilon(cx, node)?);
    if rank < 3 {
        return Err(cx.invalid(
            node,
            format!("there are no positions in {} to normalise over: use group normalisation", x.axes),
        ));
    }
    let axes: Vec<usize> = (2..rank).collect();
    let normal = formula(cx, node, |f| standardized(f.of(x), &axes, epsilon))?;
    let (scale, bias) = (channels(cx, node, 1, rank)?, channels(cx, node, 2, rank)?);
    Ok(vec![affine(cx, node, normal, scale, bias)?])
}

fn mean_variance(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let axes = node.ints("axes").map_err(|e| cx.attribute(node, e))?.unwrap_or_else(|| vec![0, 2, 3]);
    let mut axes = axes.iter().map(|&axis| cx.axis(node, axis, x.axes.rank())).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    axes.dedup();
    Ok(vec![formula(cx, node, |f| {
        let x = f.of(x);
        let centred = x - x.mean(&axes);
        centred / ((centred * centred).mean(&axes).sqrt() + 1e-9)
    })?])
}

/// By the norm along an axis; what is zero stays zero.
fn lp(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let axis = cx.axis(node, node.int("axis", -1).map_err(|e| cx.attribute(node, e))?, x.axes.rank())?;
    let p = node.int("p", 2).map_err(|e| cx.attribute(node, e))?;
    if p != 1 && p != 2 {
        return Err(cx.invalid(node, format!("p = {p} is neither 1 nor 2")));
    }
    by_norm(cx, node, x, axis, p)
}

/// [Normalizer](https://onnx.ai/onnx/operators/onnx_aionnxml_Normalizer.html) of scikit-learn's exporter, along the last axis.
fn normalizer(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let axis = cx.axis(node, -1, x.axes.rank())?;
    match node.string("norm", "MAX").map_err(|e| cx.attribute(node, e))? {
        "L1" => by_norm(cx, node, x, axis, 1),
        "L2" => by_norm(cx, node, x, axis, 2),
        other => Err(cx.unsupported(node, &format!("the norm {other}"))),
    }
}

fn by_norm(cx: &mut Import<'_>, node: &OnnxNode, x: Value, axis: usize, p: i64) -> Result<Vec<Value>, Refusal> {
    Ok(vec![formula(cx, node, |f| {
        let x = f.of(x);
        let total = if p == 1 { x.call(Func::Abs).sum(&[axis]) } else { (x * x).sum(&[axis]) };
        let nonzero = total.with(Func::Equal, f.number(0.0)).choose(f.number(1.0), total);
        x / if p == 1 { nonzero } else { nonzero.sqrt() }
    })?])
}
