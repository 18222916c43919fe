//! Element-wise functions: [Add](https://onnx.ai/onnx/operators/onnx__Add.html), Sub, Mul, Div, Neg, Exp, Log, Sqrt, Relu,
//! Tanh, Sigmoid.

use crate::import::broadcast;
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Add", |cx, n| call(cx, n, Func::Add)),
    ("Sub", |cx, n| call(cx, n, Func::Sub)),
    ("Mul", |cx, n| call(cx, n, Func::Mul)),
    ("Div", |cx, n| call(cx, n, Func::Div)),
    ("Neg", |cx, n| call(cx, n, Func::Neg)),
    ("Exp", |cx, n| call(cx, n, Func::Exp)),
    ("Log", |cx, n| call(cx, n, Func::Log)),
    ("Sqrt", |cx, n| call(cx, n, Func::Sqrt)),
    ("Relu", |cx, n| call(cx, n, Func::Relu)),
    ("Tanh", |cx, n| call(cx, n, Func::Tanh)),
    ("Sigmoid", |cx, n| call(cx, n, Func::Sigmoid)),
];

fn call(cx: &mut Import<'_>, node: &OnnxNode, func: Func) -> Result<Vec<Value>, Refusal> {
    let operands = (0..func.arity()).map(|i| cx.value(node, i)).collect::<Result<Vec<_>, _>>()?;
    Ok(vec![broadcast::call(cx, node, func, &operands)?])
}
