//! Activations as formulas of scalar functions: [Gelu](https://onnx.ai/onnx/operators/onnx__Gelu.html) and its kin.

use crate::import::axes::{Axes, Axis};
use crate::import::broadcast;
use crate::import::formula::{Formula, Term, formula};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Gelu", gelu),
    ("Softplus", |cx, n| unary(cx, n, &[], |_, x, _| x.call(Func::Softplus))),
    ("Softsign", |cx, n| unary(cx, n, &[], |_, x, _| x / (x.call(Func::Abs) + 1.0))),
    ("Mish", |cx, n| unary(cx, n, &[], |_, x, _| x * x.call(Func::Softplus).call(Func::Tanh))),
    ("Swish", |cx, n| unary(cx, n, &[("alpha", 1.0)], |_, x, a| x * (x * a[0]).call(Func::Sigmoid))),
    ("HardSwish", |cx, n| unary(cx, n, &[], |_, x, _| x * (x * (1.0 / 6.0) + 0.5).at_least(0.0).at_most(1.0))),
    ("HardSigmoid", |cx, n| {
        unary(cx, n, &[("alpha", 0.2), ("beta", 0.5)], |_, x, a| (x * a[0] + a[1]).at_least(0.0).at_most(1.0))
    }),
    ("Elu", |cx, n| unary(cx, n, &[("alpha", 1.0)], |f, x, a| positive(f, x).choose(x, below(x, a[0], 1.0)))),
    ("Celu", |cx, n| unary(cx, n, &[("alpha", 1.0)], |f, x, a| positive(f, x).choose(x, below(x, a[0], a[0])))),
    ("Selu", |cx, n| {
        unary(cx, n, &[("alpha", 1.673_263_2), ("gamma", 1.050_701)], |f, x, a| {
            positive(f, x).choose(x, below(x, a[0], 1.0)) * a[1]
        })
    }),
    ("LeakyRelu", |cx, n| unary(cx, n, &[("alpha", 0.01)], |f, x, a| positive(f, x).choose(x, x * a[0]))),
    ("ThresholdedRelu", |cx, n| {
        unary(cx, n, &[("alpha", 1.0)], |f, x, a| f.number(a[0]).with(Func::Less, x).choose(x, f.number(0.0)))
    }),
    ("Shrink", |cx, n| {
        unary(cx, n, &[("lambd", 0.5), ("bias", 0.0)], |f, x, a| {
            let (low, high) = (x.with(Func::Less, f.number(-a[0])), f.number(a[0]).with(Func::Less, x));
            low.choose(x + a[1], high.choose(x - a[1], f.number(0.0)))
        })
    }),
    ("PRelu", prelu),
];

/// A formula of the operand and of attributes with defaults.
fn unary(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    attributes: &[(&str, f32)],
    write: impl for<'f> FnOnce(&'f Formula, Term<'f>, &[f32]) -> Term<'f>,
) -> Result<Vec<Value>, Refusal> {
    let read = |(name, default): &(&str, f32)| node.float(name, *default).map_err(|e| cx.attribute(node, e));
    let attributes = attributes.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let x = cx.value(node, 0)?;
    Ok(vec![formula(cx, node, |f| write(f, f.of(x), &attributes))?])
}

fn positive<'f>(f: &'f Formula, x: Term<'f>) -> Term<'f> {
    f.number(0.0).with(Func::Less, x)
}

/// `α (e^(x/β) − 1)`, of which only numbers below zero are used; others are cut off, as their exponential may be infinite.
fn below(x: Term<'_>, alpha: f32, beta: f32) -> Term<'_> {
    let exponent = x.at_most(0.0);
    let exponent = if beta == 1.0 { exponent } else { exponent / beta };
    (exponent.call(Func::Exp) - 1.0) * alpha
}

/// With the error function, or by the hyperbolic tangent.
fn gelu(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let by_tanh = match node.string("approximate", "none").map_err(|e| cx.attribute(node, e))? {
        "none" => false,
        "tanh" => true,
        other => return Err(cx.invalid(node, format!("approximate `{other}` is neither none nor tanh"))),
    };
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    unary(cx, node, &[], |_, x, _| {
        let share = match by_tanh {
            false => (x * std::f32::consts::FRAC_1_SQRT_2).call(Func::Erf),
            true => ((x + x * x * x * 0.044715) * SQRT_2_OVER_PI).call(Func::Tanh),
        };
        x * 0.5 * (share + 1.0)
    })
}

/// [PRelu](https://onnx.ai/onnx/operators/onnx__PRelu.html): the slope below zero is an operand. Before opset 7 one of rank 1
/// has a number for each channel.
fn prelu(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let (x, mut slope) = (cx.value(node, 0)?, cx.value(node, 1)?);
    if cx.opset() < 7 && slope.axes.rank() == 1 && x.axes.rank() > 2 {
        let mut axes = slope.axes.0.clone();
        axes.extend(vec![Axis::size(1); x.axes.rank() - 2]);
        slope = cx.relabel(node, slope.node, Axes(axes))?;
    }
    let sloped = broadcast::call(cx, node, Func::Mul, &[x.clone(), slope])?;
    Ok(vec![formula(cx, node, |f| {
        let x = f.of(x);
        positive(f, x).choose(x, f.of(sloped))
    })?])
}
