//! [CumSum](https://onnx.ai/onnx/operators/onnx__CumSum.html): a product with a triangle of ones.

use crate::graph::DType;
use crate::import::rows::{along, apply, matrix};
use crate::import::select::selectable;
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;

pub(super) const RULES: &[(&str, Rule)] = &[("CumSum", cum_sum)];

fn cum_sum(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let flag = |name: &str| node.int(name, 0).map(|v| v != 0).map_err(|e| cx.attribute(node, e));
    let (exclusive, reverse) = (flag("exclusive")?, flag("reverse")?);
    let axis = match cx.ints(node, 1)?.as_deref() {
        Some(&[axis]) => cx.axis(node, axis, x.axes.rank())?,
        _ => return Err(cx.invalid(node, "its axis is not one number")),
    };
    let at = along(cx, node, &x, axis, "sums")?;
    let size = x.axes.0[axis].per_record();
    selectable(cx, node, size.saturating_mul(size))?;
    let counts = |to: usize, from: usize| {
        let (early, late) = if reverse { (to, from) } else { (from, to) };
        early < late || (early == late && !exclusive)
    };
    let ones = (0..size).flat_map(|to| (0..size).map(move |from| f32::from(u8::from(counts(to, from))))).collect();
    // Sums of integers are exact in floats up to 2²⁴.
    let integers = cx.ty(x.node).dtype == DType::I32;
    let own = if integers { apply(cx, node, Func::I32ToF32, &[x.node])? } else { x.node };
    let sums = matrix(cx, node, own, at, ones)?;
    let sums = if integers { apply(cx, node, Func::F32ToI32, &[sums])? } else { sums };
    Ok(vec![Value { node: sums, axes: x.axes }])
}
