//! [LRN](https://onnx.ai/onnx/operators/onnx__LRN.html): normalisation by neighbouring channels.

use crate::import::rows::{along, apply, floats, matrix};
use crate::import::select::selectable;
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::elementwise::Elementwise;

pub(super) const RULES: &[(&str, Rule)] = &[("LRN", lrn)];

fn lrn(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let number = |name: &str, usual: f32| node.float(name, usual).map_err(|e| cx.attribute(node, e));
    let (alpha, beta, bias) = (number("alpha", 1e-4)?, number("beta", 0.75)?, number("bias", 1.0)?);
    let size = node.require_int("size").map_err(|e| cx.attribute(node, e))?;
    if size < 1 || x.axes.rank() < 2 {
        return Err(cx.invalid(node, format!("{size} neighbouring channels of {}", x.axes)));
    }
    let at = along(cx, node, &x, 1, "normalises")?;
    let channels = x.axes.0[1].per_record();
    selectable(cx, node, channels.saturating_mul(channels))?;
    let near = |to: usize, from: usize| {
        let apart = from as i64 - to as i64;
        (-(size - 1) / 2..=size / 2).contains(&apart)
    };
    let share = alpha / size as f32;
    let row = |to: usize| (0..channels).map(move |from| if near(to, from) { share } else { 0.0 });
    let band = (0..channels).flat_map(row).collect();
    let squares = apply(cx, node, Func::Mul, &[x.node, x.node])?;
    let sums = matrix(cx, node, squares, at, band)?;
    let bias = floats(cx, node, [], vec![bias])?;
    // x·(bias + α/size·Σx²)^−β; the base is above zero.
    let base = apply(cx, node, Func::Add, &[sums, bias])?;
    let log = apply(cx, node, Func::Log, &[base])?;
    let log = cx.emit(node, Elementwise::scale(-beta), &[log])?;
    let power = apply(cx, node, Func::Exp, &[log])?;
    Ok(vec![Value { node: apply(cx, node, Func::Mul, &[x.node, power])?, axes: x.axes }])
}
