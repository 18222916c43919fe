//! The recurrence of an LSTM layer, and its VJP.

use serde::{Deserialize, Serialize};

use super::KernelRules;


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
    fn flops(&self, rows: usize) -> u64 {
        8 * (rows * self.steps) as u64 * (self.hidden * self.hidden) as u64
    }
}

impl KernelRules for Lstm {
    fn template(&self) -> &'static str {
        "lstm"
    }

    fn flops(&self, rows: usize) -> u64 {
        self.0.flops(rows)
    }

    fn text(&self) -> String {
        format!("{:?}", self.0)
    }
}

impl KernelRules for LstmVjp {
    fn template(&self) -> &'static str {
        "lstm_vjp"
    }

    fn flops(&self, rows: usize) -> u64 {
        self.sizes.flops(rows)
    }

    fn text(&self) -> String {
        format!("{:?}", self.sizes)
    }
}
