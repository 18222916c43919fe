//! Straight-line code of steps, and the backward pass through it.

use super::Part;
use crate::graph::DType;
use crate::lower::scalar::Func::{self, *};
use crate::lower::scalar::{Step, Term, Value};

/// Straight-line code of scalar steps with several results.
#[derive(Clone, Debug)]
pub struct Routine {
    /// The steps, of which the first are the operands.
    pub steps: Vec<Step>,
    /// The steps that yield the results; a result that is nothing has none.
    pub outputs: Vec<Option<usize>>,
    /// The operands that are read.
    pub read: Vec<usize>,
    pub(super) operands: usize,
}

impl Routine {
    pub(super) fn of(operands: usize) -> Routine {
        let steps = (0..operands).map(|k| Step::Operand(k, DType::F32)).collect();
        Routine { steps, outputs: vec![], read: vec![], operands }
    }

    /// The steps that these results need, with the results.
    pub(super) fn yielding(self, outputs: Vec<Option<usize>>) -> Routine {
        let mut needed = vec![false; self.steps.len()];
        outputs.iter().flatten().for_each(|&output| needed[output] = true);
        for (i, step) in self.steps.iter().enumerate().rev() {
            if let (true, Step::Call(func, args)) = (needed[i], step) {
                args[..func.arity()].iter().for_each(|&arg| needed[arg] = true);
            }
        }
        let mut code = Routine::of(self.operands);
        let mut places = vec![0; self.steps.len()];
        for (i, step) in self.steps.iter().enumerate().filter(|(i, _)| needed[*i]) {
            places[i] = match step {
                Step::Operand(k, _) => *k,
                Step::Const(_) => code.push(*step),
                Step::Call(func, args) => {
                    let args: Vec<usize> = args[..func.arity()].iter().map(|&arg| places[arg]).collect();
                    code.call(*func, &args)
                }
            };
        }
        code.read = (0..self.operands).filter(|k| needed[*k]).collect();
        code.outputs = outputs.into_iter().map(|output| output.map(|output| places[output])).collect();
        code
    }

    pub(super) fn push(&mut self, step: Step) -> usize {
        self.steps.iter().position(|known| *known == step).unwrap_or_else(|| {
            self.steps.push(step);
            self.steps.len() - 1
        })
    }

    pub(super) fn call(&mut self, func: Func, args: &[usize]) -> usize {
        self.push(Step::Call(func, std::array::from_fn(|k| args.get(k).copied().unwrap_or(0))))
    }

    /// The value of a part of `values`.
    pub(super) fn evaluate(&mut self, part: &Part, values: &[usize]) -> usize {
        match part {
            Part::Operand(k) => values[*k],
            Part::Number(number) => self.push(Step::Const(Value::F32(*number))),
            Part::Call(func, args) => {
                let args: Vec<usize> = args.iter().map(|arg| self.evaluate(arg, values)).collect();
                self.call(*func, &args)
            }
        }
    }

    /// The value of a derivative of a function, from its arguments, its result and the cotangent of that.
    pub(super) fn derivative(&mut self, term: &Term, args: &[usize], y: usize, d: usize) -> usize {
        match term {
            Term::Operand(k) => args[*k],
            Term::Const(c) => self.push(Step::Const(Value::F32(*c))),
            Term::Result => y,
            Term::Cotangent => d,
            Term::Call(func, parts) => {
                let parts: Vec<usize> = parts.iter().map(|part| self.derivative(part, args, y, d)).collect();
                self.call(*func, &parts)
            }
            Term::Zero => self.push(Step::Const(Value::F32(0.0))),
        }
    }

    /// Adds to the cotangents of `values` what they get of `d`, the cotangent of a part whose value is `known`.
    pub(super) fn pull(
        &mut self,
        part: &Part,
        known: Option<usize>,
        d: usize,
        values: &[usize],
        out: &mut [Option<usize>],
    ) {
        match part {
            Part::Operand(k) => {
                out[*k] = Some(match out[*k] {
                    Some(sum) => self.call(Add, &[sum, d]),
                    None => d,
                });
            }
            Part::Call(func, args) => {
                for (arg, derivative) in args.iter().zip(func.derivatives()) {
                    if matches!(derivative, Term::Zero) || matches!(arg, Part::Number(_)) {
                        continue;
                    }
                    let operands: Vec<usize> = (0..args.len())
                        .map(|k| if mentions(derivative, k) { self.evaluate(&args[k], values) } else { 0 })
                        .collect();
                    let y = match known {
                        Some(y) => y,
                        None if of_result(derivative) => self.evaluate(part, values),
                        None => 0,
                    };
                    let d = self.derivative(derivative, &operands, y, d);
                    self.pull(arg, None, d, values, out);
                }
            }
            Part::Number(_) => {}
        }
    }

    /// WGSL statements that compute the results, and their names; `operand` gives the text of operand `k`.
    pub fn wgsl(&self, operand: impl Fn(usize) -> String) -> (String, Vec<String>) {
        let mut body = String::new();
        for (i, step) in self.steps.iter().enumerate() {
            let text = match step {
                Step::Operand(k, _) if !self.read.contains(k) => continue,
                Step::Operand(k, _) => operand(*k),
                Step::Const(c) => c.wgsl(),
                Step::Call(func, args) => {
                    func.wgsl(&args[..func.arity()].iter().map(|a| format!("v{a}")).collect::<Vec<_>>())
                }
            };
            body.push_str(&format!("    let v{i} = {text};\n"));
        }
        (body, self.outputs.iter().map(|o| o.map_or(String::new(), |o| format!("v{o}"))).collect())
    }
}

/// Whether a term reads operand `k`.
pub(super) fn mentions(term: &Term, k: usize) -> bool {
    match term {
        Term::Operand(j) => *j == k,
        Term::Call(_, parts) => parts.iter().any(|part| mentions(part, k)),
        _ => false,
    }
}

/// Whether a derivative reads the result of its function.
pub(super) fn of_result(term: &Term) -> bool {
    match term {
        Term::Result => true,
        Term::Call(_, parts) => parts.iter().any(of_result),
        _ => false,
    }
}
