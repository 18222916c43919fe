//! The table of recurrent cells: what the gates of each are and how its states come from them.
//!
//! One row is all there is to a cell. Both devices run what the row says, and its backward step is made from the row by the
//! derivatives of the scalar functions.

use serde::{Deserialize, Serialize};

use super::scalar::Func::{self, *};
use super::scalar::Term::{self, Call, Operand};
use super::scalar::{Step, Value};
use crate::graph::DType;

/// A row of the table.
#[derive(Debug)]
struct Row {
    /// The name in the textual form.
    name: &'static str,
    /// What each gate applies to the sum of its pre-activation and its recurrent product.
    gates: &'static [Func],
    /// What each state becomes: of the gates, then the states before, then those that it follows. The last state is the one
    /// that the recurrent weight multiplies, `h`.
    states: &'static [Term],
}

/// Gates i, o, f, g in ONNX's order, states c and h.
const LSTM: Row = {
    const I: Term = Operand(0);
    const O: Term = Operand(1);
    const F: Term = Operand(2);
    const G: Term = Operand(3);
    const BEFORE: Term = Operand(4);
    const C: Term = Operand(6);
    Row {
        name: "lstm",
        gates: &[Sigmoid, Sigmoid, Sigmoid, Tanh],
        states: &[Call(Add, &[Call(Mul, &[F, BEFORE]), Call(Mul, &[I, G])]), Call(Mul, &[O, Call(Tanh, &[C])])],
    }
};

/// A recurrent cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// `c = f c' + i g`, `h = o tanh(c)` with `i, o, f = σ(z)` and `g = tanh(z)`.
    Lstm,
}

/// The order in which a recurrence walks through time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the first step to the last.
    #[default]
    Forward,
    /// From the last step to the first.
    Reverse,
}

impl Direction {
    /// Which of `steps` is made after `made` others.
    pub fn step(self, made: usize, steps: usize) -> usize {
        match self {
            Direction::Forward => made,
            Direction::Reverse => steps - 1 - made,
        }
    }
}

impl Cell {
    /// All cells.
    pub const ALL: &[Cell] = &[Cell::Lstm];

    fn row(self) -> &'static Row {
        match self {
            Cell::Lstm => &LSTM,
        }
    }

    /// The name in the textual form.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Number of gates.
    pub fn gates(self) -> usize {
        self.row().gates.len()
    }

    /// Number of states; the last is `h`.
    pub fn states(self) -> usize {
        self.row().states.len()
    }

    /// Planes of the tape: the gates, then the states.
    pub fn planes(self) -> usize {
        self.gates() + self.states()
    }

    /// The states whose value before the step the backward step reads.
    pub fn reread(self) -> Vec<usize> {
        let code = self.backward();
        let first = self.gates();
        (0..self.states()).filter(|k| code.read.contains(&(first + k))).collect()
    }

    /// The states whose cotangent goes to their value before the step without passing through the recurrent product.
    pub fn carried(self) -> Vec<usize> {
        let code = self.backward();
        (0..self.states()).filter(|k| code.outputs[self.gates() + k].is_some()).collect()
    }

    /// A step: of the sums that the gates squash, then the states before it; yields the tape's planes.
    pub fn forward(self) -> Routine {
        let (row, gates) = (self.row(), self.gates());
        let mut code = Routine::of(self.planes());
        let mut values: Vec<usize> = (0..gates).map(|k| code.call(row.gates[k], &[k])).collect();
        values.extend(gates..self.planes());
        for state in row.states {
            let value = code.evaluate(state, &values, None);
            values.push(value);
        }
        code.yielding((0..gates).chain(self.planes()..values.len()).map(|k| Some(values[k])).collect())
    }

    /// A step back: of the gates, the states before the step, those after it, and the cotangents of these; yields the
    /// cotangents of the sums that the gates squash, and of the states before the step where they have one.
    pub fn backward(self) -> Routine {
        let (row, gates, states) = (self.row(), self.gates(), self.states());
        let values: Vec<usize> = (0..gates + 2 * states).collect();
        let mut code = Routine::of(gates + 3 * states);
        let mut cotangents: Vec<Option<usize>> = vec![None; gates + states];
        cotangents.extend((0..states).map(|k| Some(values.len() + k)));
        for (k, state) in row.states.iter().enumerate().rev() {
            if let Some(d) = cotangents[gates + states + k] {
                code.pull(state, Some(gates + states + k), d, &values, &mut cotangents);
            }
        }
        let squashed = (0..gates).map(|k| {
            let derivative = row.gates[k].derivatives().first()?;
            Some(code.evaluate(derivative, &[k], Some((k, cotangents[k]?))))
        });
        let squashed: Vec<Option<usize>> = squashed.collect();
        let before = cotangents[gates..gates + states].iter().map(|d| {
            let d = (*d)?;
            if d >= code.operands {
                return Some(d);
            }
            // What is handed on as it came is a step of its own.
            let one = code.push(Step::Const(Value::F32(1.0)));
            Some(code.call(Mul, &[d, one]))
        });
        let outputs = squashed.into_iter().chain(before).collect();
        code.yielding(outputs)
    }
}

/// Straight-line code of scalar steps with several results.
#[derive(Clone, Debug)]
pub struct Routine {
    /// The steps, of which the first are the operands.
    pub steps: Vec<Step>,
    /// The steps that yield the results; a result that is nothing has none.
    pub outputs: Vec<Option<usize>>,
    /// The operands that are read.
    pub read: Vec<usize>,
    operands: usize,
}

impl Routine {
    fn of(operands: usize) -> Routine {
        let steps = (0..operands).map(|k| Step::Operand(k, DType::F32)).collect();
        Routine { steps, outputs: vec![], read: vec![], operands }
    }

    /// The steps with these results.
    fn yielding(mut self, outputs: Vec<Option<usize>>) -> Routine {
        let argument = |step: &Step, k| matches!(step, Step::Call(f, args) if args[..f.arity()].contains(&k));
        let reads = |k: &usize| self.steps.iter().any(|step| argument(step, *k)) || outputs.contains(&Some(*k));
        self.read = (0..self.operands).filter(reads).collect();
        Routine { outputs, ..self }
    }

    fn push(&mut self, step: Step) -> usize {
        self.steps.iter().position(|known| *known == step).unwrap_or_else(|| {
            self.steps.push(step);
            self.steps.len() - 1
        })
    }

    fn call(&mut self, func: Func, args: &[usize]) -> usize {
        self.push(Step::Call(func, std::array::from_fn(|k| args.get(k).copied().unwrap_or(0))))
    }

    /// The value of a term of `values`; of a derivative, also of the function's result and its cotangent.
    fn evaluate(&mut self, term: &Term, values: &[usize], of: Option<(usize, usize)>) -> usize {
        match (term, of) {
            (Term::Operand(k), _) => values[*k],
            (Term::Const(c), _) => self.push(Step::Const(Value::F32(*c))),
            (Term::Result, Some((y, _))) => y,
            (Term::Cotangent, Some((_, d))) => d,
            (Term::Call(func, args), _) => {
                let args: Vec<usize> = args.iter().map(|arg| self.evaluate(arg, values, of)).collect();
                self.call(*func, &args)
            }
            (Term::Zero | Term::Result | Term::Cotangent, _) => self.push(Step::Const(Value::F32(0.0))),
        }
    }

    /// Adds to the cotangents of `values` what they get of `d`, the cotangent of a term whose value is `known`.
    fn pull(&mut self, term: &Term, known: Option<usize>, d: usize, values: &[usize], out: &mut [Option<usize>]) {
        match term {
            Term::Operand(k) => {
                out[*k] = Some(match out[*k] {
                    Some(sum) => self.call(Add, &[sum, d]),
                    None => d,
                });
            }
            Term::Call(func, args) => {
                for (arg, derivative) in args.iter().zip(func.derivatives()) {
                    if matches!(derivative, Term::Zero) || matches!(arg, Term::Const(_)) {
                        continue;
                    }
                    let operands = self.operands_of(derivative, args, values);
                    let y = match known {
                        Some(y) => y,
                        None if of_result(derivative) => self.evaluate(term, values, None),
                        None => 0,
                    };
                    let d = self.evaluate(derivative, &operands, Some((y, d)));
                    self.pull(arg, None, d, values, out);
                }
            }
            _ => {}
        }
    }

    /// The values of a call's arguments, those that its derivative reads.
    fn operands_of(&mut self, derivative: &Term, args: &[Term], values: &[usize]) -> Vec<usize> {
        let read = |k: usize| mentions(derivative, k);
        args.iter().enumerate().map(|(k, arg)| if read(k) { self.evaluate(arg, values, None) } else { 0 }).collect()
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
fn mentions(term: &Term, k: usize) -> bool {
    match term {
        Term::Operand(j) => *j == k,
        Term::Call(_, parts) => parts.iter().any(|part| mentions(part, k)),
        _ => false,
    }
}

/// Whether a derivative reads the result of its function.
fn of_result(term: &Term) -> bool {
    match term {
        Term::Result => true,
        Term::Call(_, parts) => parts.iter().any(of_result),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(code: &Routine, names: &[&str]) -> Vec<String> {
        let mut texts: Vec<String> = Vec::new();
        for step in &code.steps {
            texts.push(match step {
                Step::Operand(k, _) => names[*k].to_string(),
                Step::Const(c) => c.to_string(),
                Step::Call(func, args) => {
                    let args: Vec<&str> = args[..func.arity()].iter().map(|&a| texts[a].as_str()).collect();
                    format!("{}({})", func.name(), args.join(", "))
                }
            });
        }
        code.outputs.iter().map(|o| o.map_or("nothing".to_string(), |o| texts[o].clone())).collect()
    }

    #[test]
    fn the_lstm_is_the_one_of_the_books() {
        let forward = text(&Cell::Lstm.forward(), &["zi", "zo", "zf", "zg", "c'", "h'"]);
        assert_eq!(forward[..4], ["sigmoid(zi)", "sigmoid(zo)", "sigmoid(zf)", "tanh(zg)"]);
        assert_eq!(forward[4], "add(mul(sigmoid(zf), c'), mul(sigmoid(zi), tanh(zg)))");
        assert_eq!(forward[5], format!("mul(sigmoid(zo), tanh({}))", forward[4]));
        let backward = text(&Cell::Lstm.backward(), &["i", "o", "f", "g", "c'", "h'", "c", "h", "dc", "dh"]);
        let dc = "add(dc, tanh_vjp(tanh(c), mul(dh, o)))";
        assert_eq!(
            backward,
            [
                format!("sigmoid_vjp(i, mul({dc}, g))"),
                "sigmoid_vjp(o, mul(dh, tanh(c)))".to_string(),
                format!("sigmoid_vjp(f, mul({dc}, c'))"),
                format!("tanh_vjp(g, mul({dc}, i))"),
                format!("mul({dc}, f)"),
                "nothing".to_string(),
            ]
        );
        assert_eq!((Cell::Lstm.reread(), Cell::Lstm.carried()), (vec![0], vec![0]));
    }

    #[test]
    fn every_cell_can_keep_what_it_carries() {
        for &cell in Cell::ALL {
            assert!(cell.carried().len() <= cell.gates(), "{}", cell.name());
            assert!(cell.row().gates.iter().all(|gate| gate.arity() == 1), "{}", cell.name());
        }
    }
}
