//! Straight-line programs of scalar steps.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Func, Value};
use crate::graph::DType;

/// A step of an [`Expr`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Operand `k` of the kernel, of this type.
    Operand(usize, DType),
    /// A constant.
    Const(Value),
    /// A function of earlier steps; those that it does not take are 0.
    Call(Func, [usize; 3]),
}

/// Steps that are no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IllTyped {
    /// There is no value.
    #[error("an expression has at least one step")]
    Empty,
    /// An argument comes from a step that does not precede its use.
    #[error("step {step} reads step {argument}, which does not precede it")]
    Order {
        /// The step.
        step: usize,
        /// The step that it reads.
        argument: usize,
    },
    /// A function of another type of argument.
    #[error("step {step} gives {} a {found} where it takes a {expected}", .func.name())]
    Argument {
        /// The step.
        step: usize,
        /// The function.
        func: Func,
        /// What it is given.
        found: DType,
        /// What it takes.
        expected: DType,
    },
    /// One operand read as two types.
    #[error("step {step} reads operand {operand} as a {found}, and another as a {expected}")]
    Operand {
        /// The step.
        step: usize,
        /// The operand.
        operand: usize,
        /// Its type in this step.
        found: DType,
        /// Its type in the other.
        expected: DType,
    },
}

/// A straight-line program of scalar steps; its value is that of the last one. Every call is given what its function
/// takes, and every operand is read as one type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Step>", into = "Vec<Step>")]
pub struct Expr {
    steps: Vec<Step>,
    types: Vec<DType>,
}

impl TryFrom<Vec<Step>> for Expr {
    type Error = IllTyped;

    fn try_from(steps: Vec<Step>) -> Result<Expr, IllTyped> {
        Expr::new(steps)
    }
}

impl From<Expr> for Vec<Step> {
    fn from(expr: Expr) -> Vec<Step> {
        expr.steps
    }
}

impl Expr {
    /// The expression of these steps.
    ///
    /// # Errors
    /// The first step that does not fit.
    pub fn new(mut steps: Vec<Step>) -> Result<Expr, IllTyped> {
        let mut types: Vec<DType> = Vec::with_capacity(steps.len());
        let mut operands: BTreeMap<usize, DType> = BTreeMap::new();
        for (i, step) in steps.iter_mut().enumerate() {
            types.push(match step {
                Step::Operand(k, dtype) => {
                    let known = *operands.entry(*k).or_insert(*dtype);
                    if known != *dtype {
                        return Err(IllTyped::Operand { step: i, operand: *k, found: *dtype, expected: known });
                    }
                    *dtype
                }
                Step::Const(value) => value.dtype(),
                Step::Call(func, args) => {
                    let expected = func.operands();
                    args[expected.len()..].fill(0);
                    for (&argument, &expected) in args.iter().zip(expected) {
                        let found = *types.get(argument).ok_or(IllTyped::Order { step: i, argument })?;
                        if found != expected {
                            return Err(IllTyped::Argument { step: i, func: *func, found, expected });
                        }
                    }
                    func.result()
                }
            });
        }
        if types.is_empty() { Err(IllTyped::Empty) } else { Ok(Expr { steps, types }) }
    }

    /// An expression of steps that fit by construction.
    fn of(steps: Vec<Step>, types: Vec<DType>) -> Expr {
        debug_assert_eq!(Expr::new(steps.clone()).map(|e| e.types), Ok(types.clone()));
        Expr { steps, types }
    }

    /// `func` of operands 0, 1, ….
    pub fn call(func: Func) -> Expr {
        let arity = func.arity();
        let mut steps: Vec<Step> = func.operands().iter().enumerate().map(|(k, &ty)| Step::Operand(k, ty)).collect();
        steps.push(Step::Call(func, [0, 1, 2].map(|k| if k < arity { k } else { 0 })));
        Expr::of(steps, func.operands().iter().copied().chain([func.result()]).collect())
    }

    /// Operand 0 as it is.
    pub fn operand(dtype: DType) -> Expr {
        Expr::of(vec![Step::Operand(0, dtype)], vec![dtype])
    }

    /// A constant.
    pub fn constant(value: Value) -> Expr {
        Expr::of(vec![Step::Const(value)], vec![value.dtype()])
    }

    /// `scale · x`.
    pub fn scale(scale: f32) -> Expr {
        let steps =
            vec![Step::Operand(0, DType::F32), Step::Const(Value::F32(scale)), Step::Call(Func::Mul, [0, 1, 0])];
        Expr::of(steps, vec![DType::F32; 3])
    }

    /// The steps; arguments of a call precede it.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The type of a step.
    pub fn step_type(&self, step: usize) -> DType {
        self.types[step]
    }

    /// The type of the value.
    pub fn dtype(&self) -> DType {
        self.types[self.types.len() - 1]
    }

    /// The type of operand `k`; a float if it is not read.
    pub fn operand_type(&self, k: usize) -> DType {
        let read = |step: &Step| if let Step::Operand(j, dtype) = step { (*j == k).then_some(*dtype) } else { None };
        self.steps.iter().find_map(read).unwrap_or(DType::F32)
    }

    /// The function that is the whole expression, applied to operands in order; `None` for a longer one.
    pub fn as_call(&self) -> Option<Func> {
        let Some(Step::Call(func, _)) = self.steps.last() else { return None };
        (*self == Expr::call(*func)).then_some(*func)
    }

    /// Number of operands: one more than the largest operand read.
    pub fn operands(&self) -> usize {
        self.steps.iter().map(|s| if let Step::Operand(k, _) = s { k + 1 } else { 0 }).max().unwrap_or(0)
    }

    /// Number of function calls.
    pub fn calls(&self) -> usize {
        self.steps.iter().filter(|s| matches!(s, Step::Call(..))).count()
    }

    /// The value of a step as an expression of its own.
    pub fn part(&self, step: usize) -> Expr {
        Expr::of(self.steps[..=step].to_vec(), self.types[..=step].to_vec())
    }

    /// The expression without the steps that its value does not need and without the operands that it does not read;
    /// also the operands that are left, by their numbers before.
    pub fn compact(&self) -> (Expr, Vec<usize>) {
        let mut needed = vec![false; self.steps.len()];
        needed[self.steps.len() - 1] = true;
        for (i, step) in self.steps.iter().enumerate().rev().filter(|(_, s)| matches!(s, Step::Call(..))) {
            if let (true, Step::Call(func, args)) = (needed[i], step) {
                args[..func.arity()].iter().for_each(|&a| needed[a] = true);
            }
        }
        let (mut kept, mut places) = (Vec::new(), vec![0; self.steps.len()]);
        let (mut steps, mut types) = (Vec::new(), Vec::new());
        for (i, step) in self.steps.iter().enumerate().filter(|(i, _)| needed[*i]) {
            places[i] = steps.len();
            types.push(self.types[i]);
            steps.push(match *step {
                Step::Operand(k, dtype) => {
                    let at = kept.iter().position(|x| *x == k).unwrap_or_else(|| {
                        kept.push(k);
                        kept.len() - 1
                    });
                    Step::Operand(at, dtype)
                }
                Step::Const(value) => Step::Const(value),
                Step::Call(func, args) => Step::Call(func, arguments(func, args, |a| places[a])),
            });
        }
        (Expr::of(steps, types), kept)
    }

    /// The expression with operand `k` computed by `inner`, whose operand `j` becomes operand `inner_operands[j]`, while
    /// operand `j` of `self` becomes `operands[j]`.
    ///
    /// # Errors
    /// If `inner` is not of operand `k`'s type, or one operand is read as two.
    pub fn substitute(
        &self,
        k: usize,
        operands: &[usize],
        inner: &Expr,
        inner_operands: &[usize],
    ) -> Result<Expr, IllTyped> {
        let mut steps: Vec<Step> = Vec::new();
        let mut push = |step: Step| {
            let known = match step {
                Step::Call(..) => None,
                leaf => steps.iter().position(|s| *s == leaf),
            };
            known.unwrap_or_else(|| {
                steps.push(step);
                steps.len() - 1
            })
        };
        let mut place = |expr: &Expr, map: &dyn Fn(usize) -> Result<usize, usize>| {
            let mut at: Vec<usize> = Vec::new();
            for step in &expr.steps {
                let here = match *step {
                    Step::Operand(j, dtype) => match map(j) {
                        Ok(operand) => push(Step::Operand(operand, dtype)),
                        Err(position) => position,
                    },
                    Step::Const(c) => push(Step::Const(c)),
                    Step::Call(func, args) => push(Step::Call(func, arguments(func, args, |a| at[a]))),
                };
                at.push(here);
            }
            at.last().copied().unwrap_or(0)
        };
        let value = place(inner, &|j| Ok(inner_operands[j]));
        place(self, &|j| if j == k { Err(value) } else { Ok(operands[j]) });
        Expr::new(steps)
    }

    /// The step of which a call is 0 times or the difference to itself: compilers of shaders take that for 0, also of NaN.
    fn vanishes(&self, func: Func, args: &[usize; 3]) -> Option<usize> {
        let zero = |step: usize| matches!(self.steps[step], Step::Const(Value::F32(x)) if x == 0.0);
        let [a, b, _] = *args;
        match func {
            Func::Sub if a == b => Some(a),
            Func::Mul if zero(a) => Some(b),
            Func::Mul if zero(b) => Some(a),
            _ => None,
        }
    }

    /// WGSL statements that compute the expression, and the word of the result; `operand` gives the word of operand `k`.
    pub fn wgsl(&self, operand: impl Fn(usize) -> String) -> (String, String) {
        let mut body = String::new();
        for (i, step) in self.steps.iter().enumerate() {
            let text = match step {
                Step::Operand(k, dtype) => dtype.wgsl_load(operand(*k)),
                Step::Const(c) => c.wgsl(),
                Step::Call(func, args) => match self.vanishes(*func, args) {
                    Some(a) => format!("zero_of(t{a})"),
                    None => func.wgsl(&args[..func.arity()].iter().map(|a| format!("t{a}")).collect::<Vec<_>>()),
                },
            };
            body.push_str(&format!("    let t{i} = {text};\n"));
        }
        (body, self.dtype().wgsl_store(format!("t{}", self.steps.len() - 1)))
    }

    /// The expression of named operands: `mul add(%a, %b), 0.5`.
    pub fn text(&self, operands: &[String]) -> String {
        let mut texts: Vec<String> = Vec::new();
        for (i, step) in self.steps.iter().enumerate() {
            texts.push(match step {
                Step::Operand(k, _) => operands.get(*k).cloned().unwrap_or_else(|| format!("x{k}")),
                Step::Const(c) => c.to_string(),
                Step::Call(func, args) => {
                    let args = &args[..func.arity()];
                    let args: Vec<&str> = args.iter().map(|&a| texts[a].as_str()).collect();
                    let (name, args) = (func.name(), args.join(", "));
                    if i + 1 == self.steps.len() { format!("{name} {args}") } else { format!("{name}({args})") }
                }
            });
        }
        texts.pop().unwrap_or_default()
    }
}

/// The arguments of a call, each replaced by `f`; those that the function does not take are 0.
fn arguments(func: Func, args: [usize; 3], f: impl Fn(usize) -> usize) -> [usize; 3] {
    std::array::from_fn(|k| if k < func.arity() { f(args[k]) } else { 0 })
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&[]))
    }
}
