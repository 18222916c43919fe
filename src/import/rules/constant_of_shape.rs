//! [ConstantOfShape](https://onnx.ai/onnx/operators/onnx__ConstantOfShape.html) of a shape that holds the batch; of
//! any other it is a constant, which takes no rule.

use crate::graph::Type;
use crate::import::axes::{Axes, Axis};
use crate::import::rows::{apply, integers};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::{OnnxNode, TensorData};
use crate::ops::leaf::Fill;

pub(super) const RULES: &[(&str, Rule)] = &[("ConstantOfShape", constant_of_shape)];

/// One value that all records share, such as the zero state of an LSTM, or the kind of every token.
fn constant_of_shape(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let axes = Axes(cx.output_dims(node, 0)?.iter().map(Axis::from).collect());
    let tensor = node.tensor("value").map_err(|e| cx.attribute(node, e))?;
    let dims = axes.per_record();
    let count = dims.iter().product();
    let integer = |cx: &mut Import<'_>, value: i64| match i32::try_from(value) {
        Ok(value) => integers(cx, node, dims.clone(), vec![value; count]),
        Err(_) => Err(cx.invalid(node, "its value is not one number of 32 bits")),
    };
    let fill = match tensor.as_ref().map(|t| &t.data) {
        None => cx.emit(node, Fill { ty: Type::shared(dims), value: 0.0 }, &[])?,
        Some(TensorData::F32(values)) if values.len() == 1 => {
            cx.emit(node, Fill { ty: Type::shared(dims), value: values[0] }, &[])?
        }
        Some(TensorData::I64(values)) if values.len() == 1 => integer(cx, values[0])?,
        Some(TensorData::Bool(values)) if values.len() == 1 => {
            let (value, one) = (integer(cx, values[0].into())?, integers(cx, node, [], vec![1])?);
            apply(cx, node, Func::EqualI32, &[value, one])?
        }
        Some(_) => return Err(cx.invalid(node, "its value is not one number")),
    };
    Ok(vec![Value { node: fill, axes }])
}
