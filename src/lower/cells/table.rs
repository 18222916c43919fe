//! The rows: what a step of each cell makes.

use serde::{Deserialize, Serialize};

use super::Activation;
use crate::lower::scalar::Func::{self, *};

/// A part of a row.
#[derive(Debug)]
pub(super) enum Of {
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
pub(super) struct Made {
    /// The activation that makes it, of what a clip bounds.
    pub(super) squash: Option<usize>,
    pub(super) of: Of,
}

pub(super) const fn squash(activation: usize, of: Of) -> Made {
    Made { squash: Some(activation), of }
}

pub(super) const fn plain(of: Of) -> Made {
    Made { squash: None, of }
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Row {
    /// The name in the textual form.
    pub(super) name: &'static str,
    /// The activations of a cell that names none.
    pub(super) activations: &'static [Activation],
    /// How many of the first columns of the pre-activations get a recurrent product at each stage of a step, in the order of
    /// the weight's rows. The first stage multiplies `h` before the step.
    pub(super) stages: &'static [usize],
    /// The values that the other stages multiply.
    pub(super) multiplied: &'static [usize],
    /// Columns of the pre-activations without a recurrent product, behind those with one.
    pub(super) further: usize,
    /// What a step makes, stage by stage: a value is made at the stage of the columns and values that it reads.
    pub(super) values: &'static [Made],
    /// Those of the values that are states; the last is `h`.
    pub(super) states: &'static [usize],
}

/// The activations, in ONNX's order.
pub(super) const F: usize = 0;
pub(super) const G: usize = 1;
pub(super) const H: usize = 2;

/// `h = f(z)`.
pub(super) const RNN: Row = Row {
    name: "rnn",
    activations: &[Activation::Tanh],
    stages: &[1],
    multiplied: &[],
    further: 0,
    values: &[squash(F, Of::Column(0))],
    states: &[0],
};

/// `h = (1 - z) n + z h'`, of the values 0, `z`, and 3, `n`.
pub(super) const UPDATE: Made = {
    const ONE_LESS: Of = Of::Call(Sub, &[Of::Number(1.0), Of::Made(0)]);
    plain(Of::Call(Add, &[Of::Call(Mul, &[ONE_LESS, Of::Made(3)]), Of::Call(Mul, &[Of::Made(0), Of::Before(0)])]))
};

/// Gates z, r, n; the reset `r` is of the state that the recurrent weight multiplies for n.
pub(super) const GRU: Row = Row {
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
pub(super) const GRU_RESET_AFTER: Row = Row {
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
pub(super) const LSTM: Row = {
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
pub(super) const LSTM_COUPLED: Row = {
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
pub(super) const LSTM_PEEPHOLES: Row = {
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
pub(super) const LSTM_COUPLED_PEEPHOLES: Row = {
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

    pub(super) fn row(self) -> &'static Row {
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
