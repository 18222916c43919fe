//! Functions of the elements of operands that broadcast, each one of the scalar table:
//! [Add](https://onnx.ai/onnx/operators/onnx__Add.html) and the rest of arithmetic, comparisons, booleans, trigonometry.
//!
//! Integers are of 32 bits: their arithmetic wraps around there, where ONNX's int64 goes on.

use super::random;
use crate::graph::DType;
use crate::import::axes::Axis;
use crate::import::broadcast::{self, call_typed};
use crate::import::formula::formula;
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::Op;
use crate::ops::leaf::{Constant, Data};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Add", |cx, n| of(cx, n, &[Func::Add, Func::AddI32])),
    ("Sub", |cx, n| of(cx, n, &[Func::Sub, Func::SubI32])),
    ("Mul", |cx, n| of(cx, n, &[Func::Mul, Func::MulI32])),
    ("Div", |cx, n| of(cx, n, &[Func::Div, Func::DivI32])),
    ("Mod", modulus),
    ("Pow", pow),
    ("Neg", |cx, n| of(cx, n, &[Func::Neg, Func::NegI32])),
    ("Abs", |cx, n| of(cx, n, &[Func::Abs, Func::AbsI32])),
    ("Sign", sign),
    ("Reciprocal", reciprocal),
    ("Exp", |cx, n| of(cx, n, &[Func::Exp])),
    ("Log", |cx, n| of(cx, n, &[Func::Log])),
    ("Sqrt", |cx, n| of(cx, n, &[Func::Sqrt])),
    ("Floor", |cx, n| of(cx, n, &[Func::Floor])),
    ("Ceil", |cx, n| of(cx, n, &[Func::Ceil])),
    ("Round", |cx, n| of(cx, n, &[Func::Round])),
    ("Erf", |cx, n| of(cx, n, &[Func::Erf])),
    ("Sin", |cx, n| of(cx, n, &[Func::Sin])),
    ("Cos", |cx, n| of(cx, n, &[Func::Cos])),
    ("Tan", |cx, n| of(cx, n, &[Func::Tan])),
    ("Asin", |cx, n| of(cx, n, &[Func::Asin])),
    ("Acos", |cx, n| of(cx, n, &[Func::Acos])),
    ("Atan", |cx, n| of(cx, n, &[Func::Atan])),
    ("Sinh", |cx, n| of(cx, n, &[Func::Sinh])),
    ("Cosh", |cx, n| of(cx, n, &[Func::Cosh])),
    ("Asinh", |cx, n| of(cx, n, &[Func::Asinh])),
    ("Acosh", |cx, n| of(cx, n, &[Func::Acosh])),
    ("Atanh", |cx, n| of(cx, n, &[Func::Atanh])),
    ("Relu", |cx, n| of(cx, n, &[Func::Relu])),
    ("Tanh", |cx, n| of(cx, n, &[Func::Tanh])),
    ("Sigmoid", |cx, n| of(cx, n, &[Func::Sigmoid])),
    ("Less", less),
    ("LessOrEqual", |cx, n| of(cx, n, &[Func::LessOrEqual, Func::LessOrEqualI32])),
    ("Greater", |cx, n| reversed(cx, n, &[Func::Less, Func::LessI32])),
    ("GreaterOrEqual", |cx, n| reversed(cx, n, &[Func::LessOrEqual, Func::LessOrEqualI32])),
    ("Equal", equal),
    ("And", |cx, n| of(cx, n, &[Func::And])),
    ("Or", |cx, n| of(cx, n, &[Func::Or])),
    ("Xor", |cx, n| of(cx, n, &[Func::Xor])),
    ("Not", |cx, n| of(cx, n, &[Func::Not])),
    ("IsNaN", |cx, n| of(cx, n, &[Func::IsNan])),
    ("IsInf", is_inf),
    ("Where", |cx, n| of(cx, n, &[Func::Select, Func::SelectI32, Func::SelectBool])),
];

/// The first of some functions of equal arity that takes operands of these types.
fn of(cx: &mut Import<'_>, node: &OnnxNode, funcs: &[Func]) -> Result<Vec<Value>, Refusal> {
    let mut operands = (0..funcs[0].arity()).map(|i| cx.value(node, i)).collect::<Result<Vec<_>, _>>()?;
    if let [a, b] = &mut operands[..] {
        align(cx, node, a, b)?;
    }
    Ok(vec![call_typed(cx, node, funcs, &operands)?])
}

fn less(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    match random::kept(cx, node)? {
        Some(mask) => Ok(vec![mask]),
        None => of(cx, node, &[Func::Less, Func::LessI32]),
    }
}

/// The same of a pair of operands in the other order.
fn reversed(cx: &mut Import<'_>, node: &OnnxNode, funcs: &[Func]) -> Result<Vec<Value>, Refusal> {
    let [a, b] = pair(cx, node)?;
    Ok(vec![call_typed(cx, node, funcs, &[b, a])?])
}

/// Both operands.
fn pair(cx: &mut Import<'_>, node: &OnnxNode) -> Result<[Value; 2], Refusal> {
    let (a, mut b) = (cx.value(node, 0)?, cx.value(node, 1)?);
    align(cx, node, &a, &mut b)?;
    Ok([a, b])
}

/// Before opset 7, `axis` is where the axes of the second operand stand among those of the first, which broadcasts it.
fn align(cx: &mut Import<'_>, node: &OnnxNode, a: &Value, b: &mut Value) -> Result<(), Refusal> {
    if cx.opset() >= 7 || !node.has("axis") {
        return Ok(());
    }
    let axis = cx.axis(node, node.require_int("axis").map_err(|e| cx.attribute(node, e))?, a.axes.rank())?;
    let Some(behind) = a.axes.rank().checked_sub(axis + b.axes.rank()) else {
        return Err(cx.invalid(node, format!("{} from axis {axis} on is no part of {}", b.axes, a.axes)));
    };
    let mut axes = b.axes.clone();
    axes.0.extend(vec![Axis::size(1); behind]);
    *b = cx.relabel(node, b.node, axes)?;
    Ok(())
}

/// [Mod](https://onnx.ai/onnx/operators/onnx__Mod.html): with the sign of the dividend under `fmod`, as it is for floats.
fn modulus(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let fmod = node.int("fmod", 0).map_err(|e| cx.attribute(node, e))? != 0;
    let operands = [cx.value(node, 0)?, cx.value(node, 1)?];
    if !fmod || cx.ty(operands[0].node).dtype == DType::I32 {
        let func = if fmod { Func::RemI32 } else { Func::ModI32 };
        return Ok(vec![call_typed(cx, node, &[func], &operands)?]);
    }
    let quotient = broadcast::call(cx, node, Func::Div, &operands)?;
    let [x, y] = operands;
    Ok(vec![formula(cx, node, |f| f.of(x) - f.of(quotient).call(Func::Trunc) * f.of(y))?])
}

fn sign(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    if cx.ty(x.node).dtype != DType::I32 {
        return of(cx, node, &[Func::Sign]);
    }
    let real = broadcast::call(cx, node, Func::I32ToF32, &[x])?;
    let sign = broadcast::call(cx, node, Func::Sign, &[real])?;
    Ok(vec![broadcast::call(cx, node, Func::F32ToI32, &[sign])?])
}

fn reciprocal(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    Ok(vec![formula(cx, node, |f| 1.0 / f.of(x))?])
}

/// [Equal](https://onnx.ai/onnx/operators/onnx__Equal.html), of booleans too.
fn equal(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let operands = pair(cx, node)?;
    if operands.iter().any(|value| cx.ty(value.node).dtype != DType::Bool) {
        return Ok(vec![call_typed(cx, node, &[Func::Equal, Func::EqualI32], &operands)?]);
    }
    let differ = broadcast::call(cx, node, Func::Xor, &operands)?;
    Ok(vec![broadcast::call(cx, node, Func::Not, &[differ])?])
}

/// [IsInf](https://onnx.ai/onnx/operators/onnx__IsInf.html), of one sign or both.
fn is_inf(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let detects =
        |cx: &Import<'_>, name: &str| node.int(name, 1).map(|flag| flag != 0).map_err(|e| cx.attribute(node, e));
    let (negative, positive) = (detects(cx, "detect_negative")?, detects(cx, "detect_positive")?);
    let x = cx.value(node, 0)?;
    let infinite = formula(cx, node, |f| {
        let x = f.of(x);
        let (infinite, zero) = (x.call(Func::IsInfinite), f.number(0.0));
        match (negative, positive) {
            (true, true) => infinite,
            (true, false) => infinite.with(Func::And, x.with(Func::Less, zero)),
            (false, true) => infinite.with(Func::And, zero.with(Func::Less, x)),
            (false, false) => infinite.with(Func::And, infinite.call(Func::Not)),
        }
    });
    Ok(vec![infinite?])
}

/// [Pow](https://onnx.ai/onnx/operators/onnx__Pow.html). Powers that exporters write are products and roots, which are
/// exact where a power goes by a logarithm.
fn pow(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let [x, y] = pair(cx, node)?;
    let integer = cx.ty(x.node).dtype == DType::I32;
    let [base, exponent] = [x, y].map(|value| match cx.ty(value.node).dtype {
        DType::I32 => broadcast::call(cx, node, Func::I32ToF32, &[value]),
        _ => Ok(value),
    });
    let (x, y) = (base?, exponent?);
    let known = match cx.known(node, 1).map(|t| (t.floats().map(<[f32]>::to_vec), t.ints().map(<[i64]>::to_vec))) {
        Some((Some(floats), _)) if floats.len() == 1 => Some(floats[0]),
        Some((_, Some(ints))) if ints.len() == 1 => Some(ints[0] as f32),
        _ => scalar(cx, &y),
    };
    let rank = y.axes.rank();
    let power = match known.filter(|_| rank <= x.axes.rank()) {
        Some(1.0) => x,
        Some(2.0) => formula(cx, node, |f| {
            let x = f.of(x);
            x * x
        })?,
        Some(3.0) => formula(cx, node, |f| {
            let x = f.of(x);
            x * x * x
        })?,
        Some(4.0) => formula(cx, node, |f| {
            let x = f.of(x);
            let square = x * x;
            square * square
        })?,
        Some(0.5) => broadcast::call(cx, node, Func::Sqrt, &[x])?,
        Some(-0.5) => formula(cx, node, |f| 1.0 / f.of(x).sqrt())?,
        Some(-1.0) => formula(cx, node, |f| 1.0 / f.of(x))?,
        Some(-2.0) => formula(cx, node, |f| {
            let x = f.of(x);
            1.0 / (x * x)
        })?,
        Some(exponent) => formula(cx, node, |f| f.of(x).call_with(Func::Pow, exponent))?,
        None => broadcast::call(cx, node, Func::Pow, &[x, y])?,
    };
    Ok(vec![if integer { broadcast::call(cx, node, Func::F32ToI32, &[power])? } else { power }])
}

/// The number that a constant of one element holds.
pub(super) fn scalar(cx: &Import<'_>, value: &Value) -> Option<f32> {
    match cx.graph().op(value.node) {
        Op::Constant(Constant { data: Data::F32(data), .. }) if data.len() == 1 => Some(data[0]),
        _ => None,
    }
}
