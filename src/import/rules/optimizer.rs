//! Optimizers as operators, for a value of any number of tensors each:
//! [Adagrad](https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Adagrad.html),
//! [Adam](https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Adam.html),
//! [Momentum](https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Momentum.html). The operands are the learning rate, the
//! number of updates so far, and the tensors, their gradients and their states, one kind after the other.

use crate::import::formula::{Formula, Term, formula};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("ai.onnx.preview.training.Adagrad", adagrad),
    ("ai.onnx.preview.training.Adam", adam),
    ("ai.onnx.preview.training.Momentum", momentum),
];

fn number(cx: &Import<'_>, node: &OnnxNode, name: &str, default: f32) -> Result<f32, Refusal> {
    node.float(name, default).map_err(|e| cx.attribute(node, e))
}

/// The operands as terms: the learning rate, the number of updates, and what belongs to one tensor.
struct Terms<'f> {
    f: &'f Formula,
    rate: Term<'f>,
    updates: Term<'f>,
    of: Vec<Term<'f>>,
}

impl<'f> Terms<'f> {
    /// `yes` where there was an update before, and `no` at first.
    fn later(&self, yes: Term<'f>, no: Term<'f>) -> Term<'f> {
        self.f.number(0.0).with(Func::Less, self.updates).choose(yes, no)
    }
}

/// The outputs of a node with `kinds` operands for each tensor: each kind by its formula, of all tensors.
fn updated(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    kinds: usize,
    formulas: &[&dyn for<'f> Fn(&Terms<'f>) -> Term<'f>],
) -> Result<Vec<Value>, Refusal> {
    let (rate, updates) = (cx.value(node, 0)?, cx.value(node, 1)?);
    let operands = node.inputs.len() - 2;
    if operands == 0 || !operands.is_multiple_of(kinds) {
        return Err(cx.invalid(node, format!("{operands} operands are not {kinds} for each tensor")));
    }
    let tensors = operands / kinds;
    let mut outputs = Vec::new();
    for write in formulas {
        for tensor in 0..tensors {
            let of =
                (0..kinds).map(|kind| cx.value(node, 2 + kind * tensors + tensor)).collect::<Result<Vec<_>, _>>()?;
            let (rate, updates) = (rate.clone(), updates.clone());
            outputs.push(formula(cx, node, |f| {
                let of = of.into_iter().map(|value| f.of(value)).collect();
                write(&Terms { f, rate: f.of(rate), updates: f.of(updates).call(Func::I32ToF32), of })
            })?);
        }
    }
    Ok(outputs)
}

fn adagrad(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let (decay, epsilon) = (number(cx, node, "decay_factor", 0.0)?, number(cx, node, "epsilon", 1e-6)?);
    let norm = number(cx, node, "norm_coefficient", 0.0)?;
    fn gradient<'f>(t: &Terms<'f>, norm: f32) -> Term<'f> {
        t.of[0] * norm + t.of[1]
    }
    fn squares<'f>(t: &Terms<'f>, norm: f32) -> Term<'f> {
        let gradient = gradient(t, norm);
        t.of[2] + gradient * gradient
    }
    updated(
        cx,
        node,
        3,
        &[
            &|t| {
                let rate = t.rate / (t.updates * decay + 1.0);
                t.of[0] - rate * gradient(t, norm) / (squares(t, norm).sqrt() + epsilon)
            },
            &|t| squares(t, norm),
        ],
    )
}

fn adam(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let (alpha, beta) = (number(cx, node, "alpha", 0.9)?, number(cx, node, "beta", 0.999)?);
    let (epsilon, norm) = (number(cx, node, "epsilon", 1e-6)?, number(cx, node, "norm_coefficient", 0.0)?);
    let after = number(cx, node, "norm_coefficient_post", 0.0)?;
    fn moment<'f>(t: &Terms<'f>, state: usize, share: f32, norm: f32) -> Term<'f> {
        let gradient = t.of[0] * norm + t.of[1];
        let new = if state == 2 { gradient } else { gradient * gradient };
        t.of[state] * share + new * (1.0 - share)
    }
    updated(
        cx,
        node,
        4,
        &[
            &|t| {
                let power = |base: f32| t.f.number(base).with(Func::Pow, t.updates);
                let corrected = t.rate * (1.0 - power(beta)).sqrt() / (1.0 - power(alpha));
                let rate = t.later(corrected, t.rate);
                let step = rate * moment(t, 2, alpha, norm) / (moment(t, 3, beta, norm).sqrt() + epsilon);
                (t.of[0] - step) * (1.0 - after)
            },
            &|t| moment(t, 2, alpha, norm),
            &|t| moment(t, 3, beta, norm),
        ],
    )
}

fn momentum(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let (alpha, beta) = (number(cx, node, "alpha", 0.0)?, number(cx, node, "beta", 0.0)?);
    let norm = number(cx, node, "norm_coefficient", 0.0)?;
    let nesterov = match node.require_string("mode").map_err(|e| cx.attribute(node, e))? {
        "standard" => false,
        "nesterov" => true,
        other => return Err(cx.invalid(node, format!("mode `{other}` is neither standard nor nesterov"))),
    };
    let velocity = Velocity { alpha, beta, norm };
    updated(
        cx,
        node,
        3,
        &[
            &|t| {
                let step = match nesterov {
                    true => velocity.gradient(t) + velocity.of(t) * alpha,
                    false => velocity.of(t),
                };
                t.of[0] - t.rate * step
            },
            &|t| velocity.of(t),
        ],
    )
}

/// What the momentum's state becomes.
#[derive(Clone, Copy)]
struct Velocity {
    alpha: f32,
    beta: f32,
    norm: f32,
}

impl Velocity {
    fn gradient<'f>(self, t: &Terms<'f>) -> Term<'f> {
        t.of[0] * self.norm + t.of[1]
    }

    fn of<'f>(self, t: &Terms<'f>) -> Term<'f> {
        let share = t.later(t.f.number(self.beta), t.f.number(1.0));
        t.of[2] * self.alpha + share * self.gradient(t)
    }
}
