//! Functions of any number of operands: [Sum](https://onnx.ai/onnx/operators/onnx__Sum.html), Mean, Min, Max; and
//! [Clip](https://onnx.ai/onnx/operators/onnx__Clip.html), which is a Max and a Min.

use crate::graph::DType;
use crate::import::broadcast::call_typed;
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::elementwise::Elementwise;
use crate::ops::leaf::{Constant, Data};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Sum", |cx, n| Ok(vec![fold(cx, n, &[Func::Add])?])),
    ("Min", |cx, n| Ok(vec![fold(cx, n, &[Func::Min, Func::MinI32])?])),
    ("Max", |cx, n| Ok(vec![fold(cx, n, &[Func::Max, Func::MaxI32])?])),
    ("Mean", mean),
    ("Clip", clip),
];

fn fold(cx: &mut Import<'_>, node: &OnnxNode, funcs: &[Func]) -> Result<Value, Refusal> {
    let mut value = cx.value(node, 0)?;
    for i in 1..node.inputs.len() {
        let next = cx.value(node, i)?;
        value = call_typed(cx, node, funcs, &[value, next])?;
    }
    Ok(value)
}

fn mean(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let Value { node: sum, axes } = fold(cx, node, &[Func::Add])?;
    let scale = 1.0 / node.inputs.len().max(1) as f32;
    Ok(vec![Value { node: cx.emit(node, Elementwise::scale(scale), &[sum])?, axes }])
}

/// Below the minimum and above the maximum it is constant. The bounds are operands, and before opset 11 attributes.
fn clip(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let mut value = cx.value(node, 0)?;
    let bounds = [("min", &[Func::Max, Func::MaxI32], f32::MIN), ("max", &[Func::Min, Func::MinI32], f32::MAX)];
    for (i, (name, funcs, none)) in bounds.into_iter().enumerate() {
        let bound = match cx.optional(node, i + 1)? {
            Some(bound) => bound,
            None => {
                let bound = node.float(name, none).map_err(|e| cx.attribute(node, e))?;
                if bound == none || cx.ty(value.node).dtype != DType::F32 {
                    continue;
                }
                let constant = Constant { dims: vec![], data: Data::F32([bound].into()) };
                Value { node: cx.emit(node, constant, &[])?, axes: Default::default() }
            }
        };
        value = call_typed(cx, node, funcs, &[value, bound])?;
    }
    Ok(vec![value])
}
