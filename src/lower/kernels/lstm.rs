//! The recurrence of an LSTM layer, and its VJP.

use serde::{Deserialize, Serialize};

use super::contract::{work, zero};
use super::{Binding, KernelRules};
use crate::graph::product;
use crate::lower::program::Extent;

/// Sizes of an LSTM recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LstmSizes {
    /// Time steps.
    pub steps: usize,
    /// Hidden units.
    pub hidden: usize,
    /// Whether there are initial states; without them they are zero.
    pub initial: bool,
    /// Elements between records of the initial states: `hidden`, or 0 if shared.
    pub initial_record: usize,
}

/// The recurrence, from gate pre-activations: with gates in ONNX order i, o, f, g and
/// `z_t = pre[n, t] + R h_{t−1}` (`R` is `[4H, H]`),
/// `i, o, f = σ(z)`, `g = tanh(z)`, `c_t = f c_{t−1} + i g`, `h_t = o tanh(c_t)`.
///
/// The tape holds six planes of `[T, H]`: i, o, f, g, c, h.
///
/// Buffers: `pre`, `f32[P, T, 4H]`; `R`; `h0` and `c0`, `f32[P or 1, H]`, if `initial`; then `tape`, `f32[P, 6, T, H]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lstm(pub LstmSizes);

/// Cotangents of the gate pre-activations, by one sweep back in time.
///
/// Buffers: `tape`; `R`; `c0` if `initial`; `dh`, the cotangent of all `h_t`, `f32[P, T, H]`; `dc`, that of all `c_t`, if
/// `cell`; then `dpre`, `f32[P, T, 4H]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LstmVjp {
    /// Sizes.
    pub sizes: LstmSizes,
    /// Whether there is a cotangent of the cell states.
    pub cell: bool,
}

impl LstmSizes {
    /// The length of a number for each unit and time step.
    fn plane(&self) -> Extent {
        Extent::rows(self.steps.saturating_mul(self.hidden))
    }

    fn state(&self) -> Extent {
        Extent::rows(1).strided(self.initial_record, self.hidden)
    }

    fn recurrent(&self) -> Binding {
        Binding::floats("R", Extent::fixed(product(&[4, self.hidden, self.hidden])))
    }

    fn problem(&self) -> Option<String> {
        zero(&[("time steps", self.steps), ("hidden units", self.hidden)])
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[8, rows, self.steps, self.hidden, self.hidden])
    }
}

impl KernelRules for Lstm {
    fn name(&self) -> &'static str {
        "lstm"
    }

    fn buffers(&self) -> Vec<Binding> {
        let LstmSizes { initial, .. } = self.0;
        let states = ["h0", "c0"].map(|name| Binding::floats(name, self.0.state()));
        let tape = Binding::floats("tape", self.0.plane().times(6)).written();
        let states = if initial { &states[..] } else { &[] };
        [&[Binding::floats("pre", self.0.plane().times(4)), self.0.recurrent()], states, &[tape]].concat()
    }

    fn problem(&self) -> Option<String> {
        self.0.problem()
    }

    fn flops(&self, rows: usize) -> u64 {
        self.0.flops(rows)
    }

    fn text(&self) -> String {
        format!("{:?}", self.0)
    }
}

impl KernelRules for LstmVjp {
    fn name(&self) -> &'static str {
        "lstm_vjp"
    }

    fn buffers(&self) -> Vec<Binding> {
        let plane = self.sizes.plane();
        let mut buffers = vec![Binding::floats("tape", plane.times(6)), self.sizes.recurrent()];
        if self.sizes.initial {
            buffers.push(Binding::floats("c0", self.sizes.state()));
        }
        buffers.push(Binding::floats("dh", plane));
        if self.cell {
            buffers.push(Binding::floats("dc", plane));
        }
        buffers.push(Binding::floats("dpre", plane.times(4)).written());
        buffers
    }

    fn problem(&self) -> Option<String> {
        self.sizes.problem()
    }

    fn flops(&self, rows: usize) -> u64 {
        self.sizes.flops(rows)
    }

    fn text(&self) -> String {
        format!("{:?}", self.sizes)
    }
}
