//! [EyeLike](https://onnx.ai/onnx/operators/onnx__EyeLike.html): ones on a diagonal.

use crate::import::axes::Axes;
use crate::import::rows::{floats, integers};
use crate::import::select::selectable;
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;

pub(super) const RULES: &[(&str, Rule)] = &[("EyeLike", eye_like)];

fn eye_like(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    if let Some(axis) = x.axes.batch_axis() {
        let why = format!("axis {axis} of {} holds the batch, so its ones tell records by number", x.axes);
        return Err(cx.mixes(node, why, "take a value of constant sizes"));
    }
    let dims = x.axes.per_record();
    let &[rows, columns] = &dims[..] else {
        return Err(cx.invalid(node, format!("{} is no matrix", x.axes)));
    };
    let k = node.int("k", 0).map_err(|e| cx.attribute(node, e))?;
    selectable(cx, node, rows.saturating_mul(columns))?;
    let ones = (0..rows).flat_map(|row| (0..columns).map(move |column| column as i64 - row as i64 == k));
    let eye = match cx.output_elem(node, 0).is_none_or(|elem| elem.is_float()) {
        true => floats(cx, node, dims.clone(), ones.map(|one| f32::from(u8::from(one))).collect())?,
        false => integers(cx, node, dims.clone(), ones.map(i32::from).collect())?,
    };
    Ok(vec![Value { node: eye, axes: Axes::shared(&dims) }])
}
