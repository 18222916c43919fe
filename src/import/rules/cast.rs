//! [Cast](https://onnx.ai/onnx/operators/onnx__Cast.html) and [CastLike](https://onnx.ai/onnx/operators/onnx__CastLike.html)
//! between floats, integers and booleans; nothing between floats of different widths, all of which are `f32` here.

use crate::graph::DType;
use crate::import::broadcast;
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::{Elem, OnnxNode};
use crate::ops::Op;
use crate::ops::leaf::{Constant, Data};

pub(super) const RULES: &[(&str, Rule)] = &[("Cast", cast), ("CastLike", cast)];

fn cast(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    if let Some(mask) = cx.mask(node, 0) {
        return match cx.output_elem(node, 0) {
            Some(elem) if elem.is_float() => Ok(vec![mask]),
            _ => Err(cx.unsupported(node, "a random mask that is no float")),
        };
    }
    let value = cx.value(node, 0)?;
    let to = match cx.output_elem(node, 0) {
        Some(elem @ Elem::Other(_)) => return Err(cx.unsupported(node, &format!("numbers of type {elem}"))),
        Some(Elem::Bool) => DType::Bool,
        Some(elem) if !elem.is_float() => DType::I32,
        _ => DType::F32,
    };
    let func = match (cx.ty(value.node).dtype, to) {
        (from, to) if from == to => return Ok(vec![value]),
        (DType::F32, DType::I32) => Func::F32ToI32,
        (DType::F32, _) => Func::F32ToBool,
        (DType::I32, DType::F32) => Func::I32ToF32,
        (DType::I32, _) => Func::I32ToBool,
        (DType::Bool, DType::F32) => Func::BoolToF32,
        (DType::Bool, _) => Func::BoolToI32,
    };
    // Constants stay constants, which rules ask for.
    let data = match (cx.graph().op(value.node), func) {
        (Op::Constant(Constant { data: Data::I32(data), .. }), Func::I32ToF32) => {
            Some(Data::F32(data.iter().map(|&x| x as f32).collect()))
        }
        (Op::Constant(Constant { data: Data::F32(data), .. }), Func::F32ToI32) => {
            Some(Data::I32(data.iter().map(|&x| x as i32).collect()))
        }
        _ => None,
    };
    match data {
        Some(data) => {
            let constant = Constant { dims: cx.ty(value.node).dims.clone(), data };
            Ok(vec![Value { node: cx.emit(node, constant, &[])?, axes: value.axes }])
        }
        None => Ok(vec![broadcast::call(cx, node, func, &[value])?]),
    }
}
