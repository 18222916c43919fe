//! Function ops as formulas: a rule writes down what the op's specification says, and [`formula`] emits it, with
//! broadcasting by the batch rule of element-wise ops. Layer normalisation of a value `x` is
//!
//! ```ignore
//! formula(cx, node, |f| {
//!     let (x, scale, bias) = (f.of(x), f.of(scale), f.of(bias));
//!     let centred = x - x.mean(&axes);
//!     centred / ((centred * centred).mean(&axes) + epsilon).sqrt() * scale + bias
//! })
//! ```
//!
//! A term may be used as often as need be; it is emitted once, in the order in which terms are written down.

use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Neg, Sub};

use super::axes::Axes;
use super::broadcast::apply;
use super::custom::{Called, Kernel, Owner};
use super::reduction::reduced;
use super::{Import, Refusal, Value};
use crate::lower::scalar::{self, Expr, Func};
use crate::onnx::OnnxNode;
use crate::ops::elementwise::Elementwise;
use crate::ops::leaf::{Constant, Data};

/// The value of a formula.
pub(super) fn formula(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    write: impl for<'f> FnOnce(&'f Formula) -> Term<'f>,
) -> Result<Value, Refusal> {
    let formula = Formula::default();
    let result = write(&formula).at;
    formula.emit(cx, node)?[result].value(cx, node)
}

impl Formula {
    /// What every step is worked out to.
    pub(super) fn emit(self, cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Part>, Refusal> {
        let mut parts: Vec<Part> = Vec::new();
        for step in self.steps.into_inner() {
            let part = match step {
                Step::Of(value) => Part::Value(value),
                Step::Number(number) => Part::Number(number),
                Step::Scaled(x, 1.0) => parts[x].clone(),
                Step::Scaled(x, scale) => {
                    let Value { node: x, axes } = parts[x].value(cx, node)?;
                    Part::Value(Value { node: cx.emit(node, Elementwise::scale(scale), &[x])?, axes })
                }
                Step::Call(func, arguments) => Part::Value(call(cx, node, func, &arguments, &parts)?),
                Step::Sum(x, axes, mean) => {
                    let x = parts[x].value(cx, node)?;
                    Part::Value(reduced(cx, node, x, axes, true, mean)?)
                }
                Step::Kernel(called, arguments) => {
                    let arguments =
                        arguments.iter().map(|&x| parts[x].value(cx, node)).collect::<Result<Vec<_>, _>>()?;
                    Part::Value(called.emit(cx, node, &arguments)?)
                }
            };
            parts.push(part);
        }
        Ok(parts)
    }
}

/// What a step has been worked out to.
#[derive(Clone)]
pub(super) enum Part {
    Value(Value),
    Number(f32),
}

impl Part {
    pub(super) fn value(&self, cx: &mut Import<'_>, node: &OnnxNode) -> Result<Value, Refusal> {
        match self {
            Part::Value(value) => Ok(value.clone()),
            Part::Number(number) => {
                let constant = Constant { dims: vec![], data: Data::F32([*number].into()) };
                Ok(Value { node: cx.emit(node, constant, &[])?, axes: Axes::default() })
            }
        }
    }
}

/// A function of parts, the numbers among which are written into its expression.
fn call(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    func: Func,
    arguments: &[usize],
    parts: &[Part],
) -> Result<Value, Refusal> {
    let (mut steps, mut operands, mut args) = (Vec::new(), Vec::<Value>::new(), [0; 3]);
    for (&at, arg) in arguments.iter().zip(&mut args) {
        *arg = steps.len();
        steps.push(match &parts[at] {
            Part::Number(number) => scalar::Step::Const(scalar::Value::F32(*number)),
            Part::Value(value) => {
                let operand = scalar::Step::Operand(operands.len(), cx.ty(value.node).dtype);
                operands.push(value.clone());
                operand
            }
        });
    }
    steps.push(scalar::Step::Call(func, args));
    let expr = Expr::new(steps).map_err(|e| cx.unsupported(node, &e.to_string()))?;
    apply(cx, node, expr, &operands)
}

/// What a formula is written with.
#[derive(Default)]
pub struct Formula {
    pub(super) steps: RefCell<Vec<Step>>,
    /// The user's op whose formula it is.
    pub(super) owner: Option<Owner>,
}

/// How a term comes from those before it.
pub(super) enum Step {
    Of(Value),
    Number(f32),
    Scaled(usize, f32),
    Call(Func, Vec<usize>),
    Sum(usize, Vec<usize>, bool),
    Kernel(Called, Vec<usize>),
}

impl Step {
    /// The steps that it takes.
    pub(super) fn operands(&self) -> impl Iterator<Item = usize> + use<> {
        let operands = match self {
            Step::Of(_) | Step::Number(_) => vec![],
            Step::Scaled(x, _) | Step::Sum(x, _, _) => vec![*x],
            Step::Call(_, operands) | Step::Kernel(_, operands) => operands.clone(),
        };
        operands.into_iter()
    }
}

impl Formula {
    /// The term of a number.
    pub fn number(&self, number: f32) -> Term<'_> {
        self.term(Step::Number(number))
    }

    /// The term of a value.
    pub(super) fn of(&self, value: Value) -> Term<'_> {
        self.term(Step::Of(value))
    }

    /// The term of a user's kernel on terms, with the numbers that its code reads.
    ///
    /// It is refused where the kernel is none of its op's, or a number is not finite.
    pub fn kernel<'f>(&'f self, kernel: &'static Kernel, operands: &[Term<'f>], numbers: &[f32]) -> Term<'f> {
        let called = Called { owner: self.owner.clone(), kernel, numbers: numbers.to_vec() };
        self.term(Step::Kernel(called, operands.iter().map(|term| term.at).collect()))
    }

    pub(super) fn term(&self, step: Step) -> Term<'_> {
        let mut steps = self.steps.borrow_mut();
        steps.push(step);
        Term { formula: self, at: steps.len() - 1 }
    }
}

/// A term of a formula.
#[derive(Clone, Copy)]
pub struct Term<'f> {
    pub(super) formula: &'f Formula,
    pub(super) at: usize,
}

impl<'f> Term<'f> {
    /// A function of the term.
    pub fn call(self, func: Func) -> Term<'f> {
        self.formula.term(Step::Call(func, vec![self.at]))
    }

    /// The square root.
    pub fn sqrt(self) -> Term<'f> {
        self.call(Func::Sqrt)
    }

    /// The mean over ONNX axes, which are kept with a size of 1.
    pub fn mean(self, axes: &[usize]) -> Term<'f> {
        self.formula.term(Step::Sum(self.at, axes.to_vec(), true))
    }

    /// The sum over ONNX axes, which are kept with a size of 1.
    pub fn sum(self, axes: &[usize]) -> Term<'f> {
        self.formula.term(Step::Sum(self.at, axes.to_vec(), false))
    }

    /// A function of the term and a number.
    pub fn call_with(self, func: Func, number: f32) -> Term<'f> {
        self.with(func, self.number(number))
    }

    /// The smaller of the term and a number.
    pub fn at_most(self, number: f32) -> Term<'f> {
        self.call_with(Func::Min, number)
    }

    /// The larger of the term and a number.
    pub fn at_least(self, number: f32) -> Term<'f> {
        self.call_with(Func::Max, number)
    }

    /// `yes` where the term, a boolean, is true, and `no` where it is not.
    pub fn choose(self, yes: Term<'f>, no: Term<'f>) -> Term<'f> {
        self.formula.term(Step::Call(Func::Select, vec![self.at, yes.at, no.at]))
    }

    /// A function of the term and another one.
    pub fn with(self, func: Func, other: Term<'f>) -> Term<'f> {
        self.formula.term(Step::Call(func, vec![self.at, other.at]))
    }

    fn number(self, number: f32) -> Term<'f> {
        self.formula.term(Step::Number(number))
    }
}

/// An operator between terms, and between a term and a number.
macro_rules! operator {
    ($trait:ident $method:ident $func:ident) => {
        impl<'f> $trait for Term<'f> {
            type Output = Term<'f>;

            fn $method(self, other: Term<'f>) -> Term<'f> {
                self.with(Func::$func, other)
            }
        }
    };
    ($trait:ident $method:ident $func:ident, with numbers) => {
        operator!($trait $method $func);

        impl<'f> $trait<f32> for Term<'f> {
            type Output = Term<'f>;

            fn $method(self, number: f32) -> Term<'f> {
                self.with(Func::$func, self.number(number))
            }
        }

        impl<'f> $trait<Term<'f>> for f32 {
            type Output = Term<'f>;

            fn $method(self, term: Term<'f>) -> Term<'f> {
                term.number(self).with(Func::$func, term)
            }
        }
    };
}

operator!(Add add Add, with numbers);
operator!(Sub sub Sub, with numbers);
operator!(Div div Div, with numbers);
operator!(Mul mul Mul);

impl<'f> Mul<f32> for Term<'f> {
    type Output = Term<'f>;

    fn mul(self, scale: f32) -> Term<'f> {
        self.formula.term(Step::Scaled(self.at, scale))
    }
}

impl<'f> Mul<Term<'f>> for f32 {
    type Output = Term<'f>;

    fn mul(self, term: Term<'f>) -> Term<'f> {
        term * self
    }
}

impl<'f> Neg for Term<'f> {
    type Output = Term<'f>;

    fn neg(self) -> Term<'f> {
        self.call(Func::Neg)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;

    use super::*;
    use crate::import::Rule;
    use crate::import::custom::CustomOps;
    use crate::import::prove::prove_with;
    use crate::import::rules::rules;
    use crate::onnx::{Source, discover};

    /// The nodes that a formula makes in the place of a small network's `Tanh`.
    fn with_tanh(rule: Rule) -> Result<String, String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/zoo/mlp.dyn.onnx");
        let source = Source::open(&path).unwrap();
        let parameters = discover(&source, &[], &[]).unwrap();
        let rules: HashMap<&str, Rule> = rules().chain([("Tanh", rule)]).collect();
        let proved = prove_with(&source, &parameters, &[], &rules, &CustomOps::default());
        let graph = proved.map_err(|refused| first_line(&refused.problems[0]))?.graph.to_string();
        let own: Vec<&str> = graph.lines().filter_map(|line| line.strip_suffix("; node_tanh")).map(str::trim).collect();
        Ok(own.join("\n"))
    }

    fn first_line(problem: &Refusal) -> String {
        problem.to_string().lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_gate_is_its_formula() {
        let graph = with_tanh(|cx, node| {
            let x = cx.value(node, 0)?;
            let hard_swish = formula(cx, node, |f| {
                let x = f.of(x);
                let relu6 = (x + 3.0).call(Func::Relu) - (x - 3.0).call(Func::Relu);
                x * relu6 * (1.0 / 6.0)
            });
            Ok(vec![hard_swish?])
        });
        insta::assert_snapshot!(graph.unwrap(), @r"
        %3        = add %2, 3.0                  f32[N, 13]
        %4        = relu %3                      f32[N, 13]
        %5        = sub %2, 3.0                  f32[N, 13]
        %6        = relu %5                      f32[N, 13]
        %7        = sub %4, %6                   f32[N, 13]
        %8        = mul %2, %7                   f32[N, 13]
        %9        = mul %8, 0.16666667           f32[N, 13]
        ");
    }

    #[test]
    fn a_normalisation_is_its_formula() {
        let graph = with_tanh(|cx, node| {
            let x = cx.value(node, 0)?;
            let normalised = formula(cx, node, |f| {
                let x = f.of(x);
                let centred = x - x.mean(&[1]);
                centred / ((centred * centred).mean(&[1]) + 1e-5).sqrt()
            });
            Ok(vec![normalised?])
        });
        insta::assert_snapshot!(graph.unwrap(), @r"
        %3        = sum %2 axes=[0]              f32[N]
        %4        = mul %3, 0.07692308           f32[N]
        %5        = reshape %4                   f32[N, 1]
        %6        = sub %2, %5                   f32[N, 13]
        %7        = mul %6, %6                   f32[N, 13]
        %8        = sum %7 axes=[0]              f32[N]
        %9        = mul %8, 0.07692308           f32[N]
        %10       = reshape %9                   f32[N, 1]
        %11       = add %10, 1e-5                f32[N, 1]
        %12       = sqrt %11                     f32[N, 1]
        %13       = div %6, %12                  f32[N, 13]
        ");
    }

    #[test]
    fn a_mean_over_the_batch_is_refused() {
        let refused = with_tanh(|cx, node| {
            let x = cx.value(node, 0)?;
            Ok(vec![formula(cx, node, |f| -f.of(x).mean(&[0]))?])
        });
        insta::assert_snapshot!(refused.unwrap_err(), @"node `node_tanh` (Tanh): the result for one record would depend on other records: it reduces over axis 0 of [N, 13], which holds the batch");
    }
}
