//! [Cast](https://onnx.ai/onnx/operators/onnx__Cast.html) and [CastLike](https://onnx.ai/onnx/operators/onnx__CastLike.html):
//! nothing between floats, and another constant where a constant changes its kind.

use crate::graph::DType;
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;
use crate::ops::Op;
use crate::ops::leaf::{Constant, Data};

pub(super) const RULES: &[(&str, Rule)] = &[("Cast", cast), ("CastLike", cast)];

fn cast(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let value = cx.value(node, 0)?;
    let to_float = cx.output_elem(node, 0).is_none_or(|e| e.is_float());
    let data = match (cx.graph().op(value.node), to_float) {
        _ if (cx.ty(value.node).dtype == DType::F32) == to_float => return Ok(vec![value]),
        (Op::Constant(Constant { data: Data::I32(data), .. }), true) => {
            Data::F32(data.iter().map(|&x| x as f32).collect())
        }
        (Op::Constant(Constant { data: Data::F32(data), .. }), false) => {
            Data::I32(data.iter().map(|&x| x as i32).collect())
        }
        _ => return Err(cx.unsupported(node, "a cast between floats and integers of values that depend on the data")),
    };
    let constant = Constant { dims: cx.ty(value.node).dims.clone(), data };
    Ok(vec![Value { node: cx.emit(node, constant, &[])?, axes: value.axes }])
}
