//! The table of recurrent cells: what a step of each makes of its pre-activations and of the states before it.
//!
//! One row is all there is to a cell. Both devices run what the row says, and its backward step is made from the row by the
//! derivatives of the scalar functions.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::scalar::Func::{self, *};
use super::scalar::{Step, Term, Value};
use crate::graph::DType;

/// A part of a row.
#[derive(Debug)]
enum Of {
    /// The pre-activation in a column, plus the gate's recurrent product in those columns that have one.
    Column(usize),
    /// A state before the step.
    Before(usize),
    /// A value that the row has made.
    Made(usize),
    /// A number.
    Number(f32),
    /// A function of other parts.
    Call(Func, &'static [Of]),
    /// An activation of another part, which no clip bounds.
    Squash(usize, &'static Of),
}

/// A value of a row.
#[derive(Debug)]
struct Made {
    /// The activation that makes it, of what a clip bounds.
    squash: Option<usize>,
    of: Of,
}

const fn squash(activation: usize, of: Of) -> Made {
    Made { squash: Some(activation), of }
}

const fn plain(of: Of) -> Made {
    Made { squash: None, of }
}

/// A row of the table.
#[derive(Debug)]
struct Row {
    /// The name in the textual form.
    name: &'static str,
    /// The activations of a cell that names none.
    activations: &'static [Activation],
    /// How many of the first columns of the pre-activations get a recurrent product at each stage of a step, in the order of
    /// the weight's rows. The first stage multiplies `h` before the step.
    stages: &'static [usize],
    /// The values that the other stages multiply.
    multiplied: &'static [usize],
    /// Columns of the pre-activations without a recurrent product, behind those with one.
    further: usize,
    /// What a step makes, stage by stage: a value is made at the stage of the columns and values that it reads.
    values: &'static [Made],
    /// Those of the values that are states; the last is `h`.
    states: &'static [usize],
}

/// The activations, in ONNX's order.
const F: usize = 0;
const G: usize = 1;
const H: usize = 2;

/// `h = f(z)`.
const RNN: Row = Row {
    name: "rnn",
    activations: &[Activation::Tanh],
    stages: &[1],
    multiplied: &[],
    further: 0,
    values: &[squash(F, Of::Column(0))],
    states: &[0],
};

/// `h = (1 - z) n + z h'`, of the values 0, `z`, and 3, `n`.
const UPDATE: Made = {
    const ONE_LESS: Of = Of::Call(Sub, &[Of::Number(1.0), Of::Made(0)]);
    plain(Of::Call(Add, &[Of::Call(Mul, &[ONE_LESS, Of::Made(3)]), Of::Call(Mul, &[Of::Made(0), Of::Before(0)])]))
};

/// Gates z, r, n; the reset `r` is of the state that the recurrent weight multiplies for n.
const GRU: Row = Row {
    name: "gru",
    activations: &[Activation::Sigmoid, Activation::Tanh],
    stages: &[2, 1],
    multiplied: &[2],
    further: 0,
    values: &[
        squash(F, Of::Column(0)),
        squash(F, Of::Column(1)),
        plain(Of::Call(Mul, &[Of::Made(1), Of::Before(0)])),
        squash(G, Of::Column(2)),
        UPDATE,
    ],
    states: &[4],
};

/// Gates z, r, n; the reset `r` is of the recurrent product of n, which has a bias of its own in column 2; the rest of n is
/// in column 3.
const GRU_RESET_AFTER: Row = Row {
    name: "gru_reset_after",
    stages: &[3],
    multiplied: &[],
    further: 1,
    values: &[
        squash(F, Of::Column(0)),
        squash(F, Of::Column(1)),
        plain(Of::Column(2)),
        squash(G, Of::Call(Add, &[Of::Column(3), Of::Call(Mul, &[Of::Made(1), Of::Made(2)])])),
        UPDATE,
    ],
    ..GRU
};

/// Gates i, o, f, g in ONNX's order, states c and h.
const LSTM: Row = {
    const STATE: Of =
        Of::Call(Add, &[Of::Call(Mul, &[Of::Made(2), Of::Before(0)]), Of::Call(Mul, &[Of::Made(0), Of::Made(3)])]);
    Row {
        name: "lstm",
        activations: &[Activation::Sigmoid, Activation::Tanh, Activation::Tanh],
        stages: &[4],
        multiplied: &[],
        further: 0,
        values: &[
            squash(F, Of::Column(0)),
            squash(F, Of::Column(1)),
            squash(F, Of::Column(2)),
            squash(G, Of::Column(3)),
            plain(STATE),
            plain(Of::Call(Mul, &[Of::Made(1), Of::Squash(H, &Of::Made(4))])),
        ],
        states: &[4, 5],
    }
};

/// The LSTM whose forget gate is 1 - i.
const LSTM_COUPLED: Row = {
    const FORGET: Of = Of::Call(Sub, &[Of::Number(1.0), Of::Made(0)]);
    const STATE: Of =
        Of::Call(Add, &[Of::Call(Mul, &[FORGET, Of::Before(0)]), Of::Call(Mul, &[Of::Made(0), Of::Made(2)])]);
    Row {
        name: "lstm_coupled",
        values: &[
            squash(F, Of::Column(0)),
            squash(F, Of::Column(1)),
            squash(G, Of::Column(3)),
            plain(STATE),
            plain(Of::Call(Mul, &[Of::Made(1), Of::Squash(H, &Of::Made(3))])),
        ],
        states: &[3, 4],
        ..LSTM
    }
};

/// What a peephole of weight `p` adds to a gate's column that sees a state.
macro_rules! peephole {
    ($column:literal, $p:literal, $state:expr) => {
        Of::Call(Add, &[Of::Column($column), Of::Call(Mul, &[Of::Made($p), $state])])
    };
}

/// The LSTM whose gates see the state c: i and f the one before the step, o the one after it. The weights of that, for i, o
/// and f, are columns 4, 5 and 6.
const LSTM_PEEPHOLES: Row = {
    const STATE: Of =
        Of::Call(Add, &[Of::Call(Mul, &[Of::Made(4), Of::Before(0)]), Of::Call(Mul, &[Of::Made(3), Of::Made(5)])]);
    Row {
        name: "lstm_peepholes",
        further: 3,
        values: &[
            plain(Of::Column(4)),
            plain(Of::Column(5)),
            plain(Of::Column(6)),
            squash(F, peephole!(0, 0, Of::Before(0))),
            squash(F, peephole!(2, 2, Of::Before(0))),
            squash(G, Of::Column(3)),
            plain(STATE),
            squash(F, peephole!(1, 1, Of::Made(6))),
            plain(Of::Call(Mul, &[Of::Made(7), Of::Squash(H, &Of::Made(6))])),
        ],
        states: &[6, 8],
        ..LSTM
    }
};

/// Both of these.
const LSTM_COUPLED_PEEPHOLES: Row = {
    const FORGET: Of = Of::Call(Sub, &[Of::Number(1.0), Of::Made(2)]);
    const STATE: Of =
        Of::Call(Add, &[Of::Call(Mul, &[FORGET, Of::Before(0)]), Of::Call(Mul, &[Of::Made(2), Of::Made(3)])]);
    Row {
        name: "lstm_coupled_peepholes",
        values: &[
            plain(Of::Column(4)),
            plain(Of::Column(5)),
            squash(F, peephole!(0, 0, Of::Before(0))),
            squash(G, Of::Column(3)),
            plain(STATE),
            squash(F, peephole!(1, 1, Of::Made(4))),
            plain(Of::Call(Mul, &[Of::Made(5), Of::Squash(H, &Of::Made(4))])),
        ],
        states: &[4, 6],
        ..LSTM_PEEPHOLES
    }
};

/// The rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `h = f(z)`.
    Rnn,
    /// `h = (1 - z) n + z h'`, where the recurrent weight of `n` multiplies `r h'`.
    Gru,
    /// `h = (1 - z) n + z h'`, where `r` multiplies the recurrent product of `n`.
    GruResetAfter,
    /// `c = f c' + i g`, `h = o tanh(c)` with `i, o, f = σ(z)` and `g = tanh(z)`.
    Lstm,
    /// The LSTM with `f = 1 - i`.
    LstmCoupled,
    /// The LSTM whose gates see `c`.
    LstmPeepholes,
    /// Both of these.
    LstmCoupledPeepholes,
}

impl Kind {
    /// All rows.
    pub const ALL: &[Kind] = &[
        Kind::Rnn,
        Kind::Gru,
        Kind::GruResetAfter,
        Kind::Lstm,
        Kind::LstmCoupled,
        Kind::LstmPeepholes,
        Kind::LstmCoupledPeepholes,
    ];

    fn row(self) -> &'static Row {
        match self {
            Kind::Rnn => &RNN,
            Kind::Gru => &GRU,
            Kind::GruResetAfter => &GRU_RESET_AFTER,
            Kind::Lstm => &LSTM,
            Kind::LstmCoupled => &LSTM_COUPLED,
            Kind::LstmPeepholes => &LSTM_PEEPHOLES,
            Kind::LstmCoupledPeepholes => &LSTM_COUPLED_PEEPHOLES,
        }
    }

    /// How many activations the cell has.
    pub fn activations(self) -> usize {
        self.row().activations.len()
    }
}

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
    fn plain(self) -> Option<Func> {
        match self {
            Activation::Relu => Some(Relu),
            Activation::Tanh => Some(Tanh),
            Activation::Sigmoid => Some(Sigmoid),
            _ => None,
        }
    }

    fn of(self, x: Part) -> Part {
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
            Activation::Softplus => call(BceWithLogits, &[&x, &number(0.0)]),
        }
    }
}

/// `x` between `-limit` and `limit`.
fn clipped(x: Part, limit: f32) -> Part {
    let limit = Part::Number(limit);
    let inside = Part::Call(LessOrEqual, vec![Part::Call(Abs, vec![x.clone()]), limit.clone()]);
    Part::Call(Select, vec![inside, x.clone(), Part::Call(AbsVjp, vec![x, limit])])
}

/// A recurrent cell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The row of the table.
    pub kind: Kind,
    /// The activations, as many as the row has.
    pub activations: [Activation; 3],
    /// What the arguments of activations but the last state's are bounded by.
    pub clip: Option<f32>,
}

impl From<Kind> for Cell {
    fn from(kind: Kind) -> Cell {
        let defaults = kind.row().activations;
        let activations = [0, 1, 2].map(|k| defaults.get(k).copied().unwrap_or(Activation::Tanh));
        Cell { kind, activations, clip: None }
    }
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

/// A part of a [`Form`], of operands: the columns, then the states before the step, then the planes.
#[derive(Clone, Debug)]
enum Part {
    Operand(usize),
    Number(f32),
    Call(Func, Vec<Part>),
}

/// A row with its activations: all that a step keeps on the tape, from which the step back goes without the pre-activations.
struct Form {
    /// The planes of the tape: the stage at which each is made, and what it is.
    planes: Vec<(usize, Part)>,
    /// The plane of each value of the row.
    places: Vec<usize>,
}

impl Cell {
    fn row(self) -> &'static Row {
        self.kind.row()
    }

    /// The name in the textual form.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What the cell has else than the others of its name, in the textual form.
    pub fn attributes(self) -> String {
        let mut parts: Vec<String> = Vec::new();
        let count = self.kind.activations();
        if self.activations[..count] != *self.row().activations {
            parts.extend(self.activations[..count].iter().map(|activation| format!("{activation:?}").to_lowercase()));
        }
        parts.extend(self.clip.map(|limit| format!("clip={limit}")));
        parts.join(" ")
    }

    /// Gates with a recurrent product; these are the first columns.
    pub fn gates(self) -> usize {
        self.row().stages.iter().sum()
    }

    /// Columns of the pre-activations.
    pub fn columns(self) -> usize {
        self.gates() + self.row().further
    }

    /// The gates whose recurrent product is made at each stage of a step.
    pub fn stages(self) -> Vec<Range<usize>> {
        let mut end = 0;
        let stages = self.row().stages.iter().map(|count| {
            end += count;
            end - count..end
        });
        stages.collect()
    }

    /// The plane that the recurrent weight multiplies at a stage: that of `h`, before the step, at the first.
    pub fn multiplied(self, stage: usize) -> usize {
        match stage.checked_sub(1) {
            Some(k) => self.form().places[self.row().multiplied[k]],
            None => self.plane(self.states() - 1),
        }
    }

    /// Number of states; the last is `h`.
    pub fn states(self) -> usize {
        self.row().states.len()
    }

    /// The plane of the tape that holds a state.
    pub fn plane(self, state: usize) -> usize {
        self.form().places[self.row().states[state]]
    }

    /// Planes of the tape; the last is `h`.
    pub fn planes(self) -> usize {
        self.form().planes.len()
    }

    /// The planes that are made at a stage.
    pub fn made(self, stage: usize) -> Range<usize> {
        let planes = self.form().planes;
        let first = planes.iter().position(|plane| plane.0 == stage).unwrap_or(planes.len());
        first..planes.iter().rposition(|plane| plane.0 == stage).map_or(first, |last| last + 1)
    }

    /// The states whose value before the step the backward step reads.
    pub fn reread(self) -> Vec<usize> {
        let codes: Vec<Routine> = (0..self.row().stages.len()).map(|stage| self.backward(stage)).collect();
        let first = self.planes();
        (0..self.states()).filter(|k| codes.iter().any(|code| code.read.contains(&(first + k)))).collect()
    }

    /// The states whose cotangent goes to their value before the step without passing through the recurrent product.
    pub fn carried(self) -> Vec<usize> {
        let code = self.backward(0);
        (0..self.states()).filter(|k| code.outputs[self.columns() + k].is_some()).collect()
    }

    fn form(self) -> Form {
        let row = self.row();
        let mut form = Form { planes: vec![], places: vec![] };
        for made in row.values {
            let stage = self.stage(&made.of);
            let mut part = self.part(&made.of, &form);
            if let Some(k) = made.squash {
                let activation = self.activations[k];
                if self.clip.is_some() || activation.plain().is_none() {
                    // A derivative that reads the argument.
                    form.planes.push((stage, part));
                    part = self.operand(form.planes.len() - 1);
                    if let Some(limit) = self.clip {
                        part = clipped(part, limit);
                    }
                }
                part = activation.of(part);
            }
            form.planes.push((stage, part));
            form.places.push(form.planes.len() - 1);
        }
        form
    }

    /// A plane, among the operands of parts.
    fn operand(self, plane: usize) -> Part {
        Part::Operand(self.columns() + self.states() + plane)
    }

    fn part(self, of: &Of, form: &Form) -> Part {
        match of {
            Of::Column(k) => Part::Operand(*k),
            Of::Before(k) => Part::Operand(self.columns() + k),
            Of::Made(k) => self.operand(form.places[*k]),
            Of::Number(number) => Part::Number(*number),
            Of::Call(func, args) => Part::Call(*func, args.iter().map(|arg| self.part(arg, form)).collect()),
            Of::Squash(k, of) => self.activations[*k].of(self.part(of, form)),
        }
    }

    /// The stage at which what a part reads is there.
    fn stage(self, of: &Of) -> usize {
        match of {
            Of::Column(k) => self.stages().iter().position(|gates| gates.contains(k)).unwrap_or(0),
            Of::Made(k) => self.stage(&self.row().values[*k].of),
            Of::Call(_, args) => args.iter().map(|arg| self.stage(arg)).max().unwrap_or(0),
            Of::Squash(_, of) => self.stage(of),
            Of::Before(_) | Of::Number(_) => 0,
        }
    }

    /// A stage of a step: of the columns, with their products, the states before the step and the planes of the stages
    /// before; yields the planes [made](Cell::made) at the stage.
    pub fn forward(self, stage: usize) -> Routine {
        let form = self.form();
        let first = self.columns() + self.states();
        let made = self.made(stage);
        let mut code = Routine::of(first + made.start);
        let mut values: Vec<usize> = (0..first + made.start).collect();
        for (_, part) in &form.planes[made] {
            let value = code.evaluate(part, &values);
            values.push(value);
        }
        let outputs = values[code.operands..].iter().map(|value| Some(*value)).collect();
        code.yielding(outputs)
    }

    /// A stage of the step back: of the planes, the states before the step, the cotangents of the states after it, and those
    /// of what the stages after the first multiply; yields the cotangents of the columns and of the states before the step,
    /// where there are some. Those of the stage's own gates and, at the first stage, of the further columns and states are
    /// meant; what else is yielded is nothing.
    pub fn backward(self, stage: usize) -> Routine {
        let (form, row, columns, states) = (self.form(), self.row(), self.columns(), self.states());
        let planes = form.planes.len();
        let mut code = Routine::of(planes + 2 * states + row.multiplied.len());
        // Columns are not kept; nothing that is pulled reads them.
        let mut values: Vec<usize> = vec![usize::MAX; columns];
        values.extend(planes..planes + states);
        values.extend(0..planes);
        let mut cotangents: Vec<Option<usize>> = vec![None; values.len()];
        for k in 0..states {
            cotangents[columns + states + form.places[row.states[k]]] = Some(planes + states + k);
        }
        for (plane, (made, part)) in form.planes.iter().enumerate().rev().filter(|(_, (made, _))| *made >= stage) {
            let at = columns + states + plane;
            for (k, value) in row.multiplied.iter().enumerate() {
                if form.places[*value] == plane && *made == stage {
                    let product = planes + 2 * states + k;
                    cotangents[at] = Some(match cotangents[at] {
                        Some(sum) => code.call(Add, &[sum, product]),
                        None => product,
                    });
                }
            }
            if let Some(d) = cotangents[at] {
                code.pull(part, Some(plane), d, &values, &mut cotangents);
            }
        }
        let own = &self.stages()[stage];
        let meant = |k: &usize| own.contains(k) || (stage == 0 && *k >= self.gates());
        code.yielding((0..columns + states).map(|k| cotangents[k].filter(|_| meant(&k))).collect())
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

    /// The steps that these results need, with the results.
    fn yielding(self, outputs: Vec<Option<usize>>) -> Routine {
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

    fn push(&mut self, step: Step) -> usize {
        self.steps.iter().position(|known| *known == step).unwrap_or_else(|| {
            self.steps.push(step);
            self.steps.len() - 1
        })
    }

    fn call(&mut self, func: Func, args: &[usize]) -> usize {
        self.push(Step::Call(func, std::array::from_fn(|k| args.get(k).copied().unwrap_or(0))))
    }

    /// The value of a part of `values`.
    fn evaluate(&mut self, part: &Part, values: &[usize]) -> usize {
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
    fn derivative(&mut self, term: &Term, args: &[usize], y: usize, d: usize) -> usize {
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
    fn pull(&mut self, part: &Part, known: Option<usize>, d: usize, values: &[usize], out: &mut [Option<usize>]) {
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
        let lstm = Cell::from(Kind::Lstm);
        let forward = text(&lstm.forward(0), &["zi", "zo", "zf", "zg", "c'", "h'"]);
        assert_eq!(forward[..4], ["sigmoid(zi)", "sigmoid(zo)", "sigmoid(zf)", "tanh(zg)"]);
        assert_eq!(forward[4], "add(mul(sigmoid(zf), c'), mul(sigmoid(zi), tanh(zg)))");
        assert_eq!(forward[5], format!("mul(sigmoid(zo), tanh({}))", forward[4]));
        let backward = text(&lstm.backward(0), &["i", "o", "f", "g", "c", "h", "c'", "h'", "dc", "dh"]);
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
        assert_eq!((lstm.reread(), lstm.carried()), (vec![0], vec![0]));
    }

    #[test]
    fn a_gru_whose_reset_comes_first_has_two_stages() {
        let gru = Cell::from(Kind::Gru);
        assert_eq!((gru.stages(), gru.multiplied(0), gru.multiplied(1)), (vec![0..2, 2..3], 4, 2));
        assert_eq!((gru.made(0), gru.made(1)), (0..3, 3..5));
        let first = text(&gru.forward(0), &["zz", "zr", "zn", "h'"]);
        assert_eq!(first, ["sigmoid(zz)", "sigmoid(zr)", "mul(sigmoid(zr), h')"]);
        let second = text(&gru.forward(1), &["zz", "zr", "zn", "h'", "z", "r", "m"]);
        assert_eq!(second[0], "tanh(zn)");
        assert_eq!(second[1], "add(mul(sub(1.0, z), tanh(zn)), mul(z, h'))");
        let names = ["z", "r", "m", "n", "h", "h'", "dh", "dm"];
        let dn = "tanh_vjp(n, mul(dh, sub(1.0, z)))";
        assert_eq!(text(&gru.backward(1), &names), ["nothing", "nothing", dn, "nothing"]);
        let last = text(&gru.backward(0), &names);
        assert_eq!(last[1..], ["sigmoid_vjp(r, mul(dm, h'))", "nothing", "add(mul(dh, z), mul(dm, r))"]);
    }

    /// Every row, with its own activations and with others.
    fn all() -> impl Iterator<Item = Cell> {
        let others =
            [Activation::Softplus, Activation::Elu { alpha: 0.5 }, Activation::HardSigmoid { alpha: 0.2, beta: 0.5 }];
        Kind::ALL.iter().flat_map(move |&kind| {
            [Cell::from(kind), Cell { activations: others, ..kind.into() }, Cell { clip: Some(0.5), ..kind.into() }]
        })
    }

    #[test]
    fn every_cell_can_keep_what_it_carries() {
        for cell in all() {
            let stages = cell.stages();
            // The columns that carry it are written by the stage back that is made last.
            assert!(cell.carried().len() <= stages[0].len(), "{}", cell.name());
            assert_eq!(cell.plane(cell.states() - 1) + 1, cell.planes(), "{}", cell.name());
            let made: Vec<usize> = (0..stages.len()).flat_map(|stage| cell.made(stage)).collect();
            assert_eq!(made, (0..cell.planes()).collect::<Vec<_>>(), "{}", cell.name());
        }
    }

    #[test]
    fn no_step_back_reads_a_column() {
        for cell in all() {
            for code in (0..cell.stages().len()).map(|stage| cell.backward(stage)) {
                let arguments = code.steps.iter().filter_map(|step| match step {
                    Step::Call(func, args) => Some(&args[..func.arity()]),
                    _ => None,
                });
                assert!(arguments.flatten().all(|arg| *arg < code.steps.len()), "{}", cell.name());
            }
        }
    }
}
