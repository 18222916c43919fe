//! [ConstantOfShape](https://onnx.ai/onnx/operators/onnx__ConstantOfShape.html) of a shape that holds the batch; of
//! any other it is a constant, which takes no rule.

use crate::graph::Type;
use crate::import::axes::{Axes, Axis};
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;
use crate::ops::leaf::Fill;

pub(super) const RULES: &[(&str, Rule)] = &[("ConstantOfShape", constant_of_shape)];

/// One value that all records share, such as the zero state of an LSTM.
fn constant_of_shape(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let axes = Axes(cx.output_dims(node, 0)?.iter().map(Axis::from).collect());
    let tensor = node.tensor("value").map_err(|e| cx.attribute(node, e))?;
    let value = match tensor.as_ref().map(|t| t.floats()) {
        None => 0.0,
        Some(Some(&[value])) => value,
        Some(_) => return Err(cx.unsupported(node, "a shape that holds the batch, filled with integers")),
    };
    let fill = cx.emit(node, Fill { ty: Type::shared(axes.per_record()), value }, &[])?;
    Ok(vec![Value { node: fill, axes }])
}
