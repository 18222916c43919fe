//! ONNX's activations of recurrent cells, as parts of a step.

use serde::{Deserialize, Serialize};

use super::Part;
use crate::lower::scalar::Func::{self, *};

/// An activation of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Activation {
    Relu,
    Tanh,
    Sigmoid,
    /// `alpha x + beta`.
    Affine {
        alpha: f32,
        beta: f32,
    },
    /// `x`, and `alpha x` below 0.
    LeakyRelu {
        alpha: f32,
    },
    /// `x` above `alpha`, else 0.
    ThresholdedRelu {
        alpha: f32,
    },
    /// `alpha tanh(beta x)`.
    ScaledTanh {
        alpha: f32,
        beta: f32,
    },
    /// `alpha x + beta` between 0 and 1.
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
    /// `x`, and `alpha (exp(x) - 1)` below 0.
    Elu {
        alpha: f32,
    },
    /// `x / (1 + |x|)`.
    Softsign,
    /// `log(1 + exp(x))`.
    Softplus,
}

impl Activation {
    /// The function that it is, where its derivative is one of its result alone.
    pub(super) fn plain(self) -> Option<Func> {
        match self {
            Activation::Relu => Some(Relu),
            Activation::Tanh => Some(Tanh),
            Activation::Sigmoid => Some(Sigmoid),
            _ => None,
        }
    }

    pub(super) fn of(self, x: Part) -> Part {
        let call = |func: Func, args: &[&Part]| Part::Call(func, args.iter().map(|&arg| arg.clone()).collect());
        let number = Part::Number;
        let line = |alpha: f32, beta: f32| call(Add, &[&call(Mul, &[&x, &number(alpha)]), &number(beta)]);
        let below = |limit: f32, of: &Part| call(Less, &[of, &number(limit)]);
        match self {
            Activation::Relu => call(Relu, &[&x]),
            Activation::Tanh => call(Tanh, &[&x]),
            Activation::Sigmoid => call(Sigmoid, &[&x]),
            Activation::Affine { alpha, beta } => line(alpha, beta),
            Activation::LeakyRelu { alpha } => call(Select, &[&below(0.0, &x), &call(Mul, &[&x, &number(alpha)]), &x]),
            Activation::ThresholdedRelu { alpha } => {
                call(Select, &[&call(Less, &[&number(alpha), &x]), &x, &number(0.0)])
            }
            Activation::ScaledTanh { alpha, beta } => {
                call(Mul, &[&call(Tanh, &[&call(Mul, &[&x, &number(beta)])]), &number(alpha)])
            }
            Activation::HardSigmoid { alpha, beta } => {
                let line = line(alpha, beta);
                call(Select, &[&below(1.0, &line), &call(Relu, &[&line]), &number(1.0)])
            }
            Activation::Elu { alpha } => {
                // The exponential of nothing above 0, which could overflow.
                let negative = call(Neg, &[&call(Relu, &[&call(Neg, &[&x])])]);
                let bent = call(Mul, &[&call(Sub, &[&call(Exp, &[&negative]), &number(1.0)]), &number(alpha)]);
                call(Select, &[&below(0.0, &x), &bent, &x])
            }
            Activation::Softsign => call(Div, &[&x, &call(Add, &[&call(Abs, &[&x]), &number(1.0)])]),
            Activation::Softplus => call(Softplus, &[&x]),
        }
    }
}

/// `x` between `-limit` and `limit`.
pub(super) fn clipped(x: Part, limit: f32) -> Part {
    let limit = Part::Number(limit);
    let inside = Part::Call(LessOrEqual, vec![Part::Call(Abs, vec![x.clone()]), limit.clone()]);
    Part::Call(Select, vec![inside, x.clone(), Part::Call(AbsVjp, vec![x, limit])])
}
