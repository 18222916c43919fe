//! The recurrence of an LSTM layer, and its VJP.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Lanes, Launch, Span, linear_grid, words};
use crate::lower::emit::Specialise;
use crate::lower::scalar;

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
    /// Invocations that share a record's units.
    fn lanes(&self) -> Lanes {
        Lanes::workgroup(self.hidden, 256)
    }

    /// Launches of sweeps over time in which a unit sums `gates · hidden` terms.
    fn launches(&self, rows: usize, gates: usize) -> Vec<Launch> {
        let launch = |part: &Span| {
            let sizes = [rows, self.steps, self.hidden, self.initial_record];
            Launch::new(words(&[&sizes[..], &part.outer, &part.inner].concat()), linear_grid(rows, 1))
        };
        let blocks = self.lanes().steps(self.hidden);
        Span::split(self.steps, blocks, gates * self.hidden + 2).iter().map(launch).collect()
    }

    fn flops(&self, rows: usize) -> u64 {
        8 * (rows * self.steps) as u64 * (self.hidden * self.hidden) as u64
    }
}

impl KernelRules for Lstm {
    fn template(&self) -> &'static str {
        "lstm"
    }

    fn specialise(&self, template: &mut Specialise) {
        self.0.lanes().specialise(template);
        template.block("prelude", scalar::WGSL_PRELUDE);
        if self.0.initial {
            template.block(
                "results",
                "@group(0) @binding(3) var<storage, read> h0: array<f32>;\n\
                 @group(0) @binding(4) var<storage, read> c0: array<f32>;\n\
                 @group(0) @binding(5) var<storage, read_write> tape: array<f32>;",
            );
            template.block("first_h", "    return h0[n * params.initial_record + u];");
            template.block("first_c", "    return c0[n * params.initial_record + u];");
        }
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        self.0.launches(rows, 1)
    }

    fn iterations(&self) -> usize {
        self.0.hidden + 1_000
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

    fn specialise(&self, template: &mut Specialise) {
        self.sizes.lanes().specialise(template);
        template.block("prelude", scalar::WGSL_PRELUDE);
        let mut names = Vec::new();
        if self.sizes.initial {
            names.push("c0");
            template.block("first_c", "    return c0[n * params.initial_record + u];");
        }
        names.push("dh");
        if self.cell {
            names.push("dc");
            template.block("outer_dc", "    return dc[at];");
        }
        let mut bindings = String::new();
        for (k, name) in names.iter().enumerate() {
            bindings += &format!("@group(0) @binding({}) var<storage, read> {name}: array<f32>;\n", k + 3);
        }
        bindings += &format!("@group(0) @binding({}) var<storage, read_write> dpre: array<f32>;", names.len() + 3);
        template.block("results", &bindings);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        self.sizes.launches(rows, 4)
    }

    fn iterations(&self) -> usize {
        4 * self.sizes.hidden + 1_000
    }

    fn flops(&self, rows: usize) -> u64 {
        self.sizes.flops(rows)
    }

    fn text(&self) -> String {
        format!("{:?}", self.sizes)
    }
}
