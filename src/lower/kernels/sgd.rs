//! Stochastic gradient descent, as PyTorch's `SGD` defines it.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Launch};
use crate::lower::emit::Specialise;

/// With `g = grad + weight_decay · param`: without momentum `param −= lr · g`; with it `velocity = momentum · velocity + g`
/// and `param −= lr · velocity`, or `param −= lr · (g + momentum · velocity)` if `nesterov`. `lr` is `hyper[LEARNING_RATE]`.
///
/// Buffers: `grad`, `hyper`; then `param`, and `velocity` if there is momentum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sgd {
    /// Number of elements.
    pub len: usize,
    /// Momentum, 0 for none.
    pub momentum: f32,
    /// Whether Nesterov's form is used.
    pub nesterov: bool,
    /// L2 penalty.
    pub weight_decay: f32,
}

impl KernelRules for Sgd {
    fn template(&self) -> &'static str {
        "sgd"
    }

    fn writes(&self) -> usize {
        if self.momentum == 0.0 { 1 } else { 2 }
    }

    fn specialise(&self, template: &mut Specialise) {
        if self.momentum != 0.0 {
            template.block("state", "@group(0) @binding(4) var<storage, read_write> velocity: array<f32>;");
            let step = if self.nesterov { "g + params.momentum * v" } else { "v" };
            template.block(
                "momentum",
                &format!("    let v = params.momentum * velocity[i] + g;\n    velocity[i] = v;\n    step = {step};"),
            );
        }
    }

    fn launches(&self, _rows: usize) -> Vec<Launch> {
        Launch::linear(self.len, &[self.momentum.to_bits(), self.weight_decay.to_bits()])
    }

    fn flops(&self, _rows: usize) -> u64 {
        6 * self.len as u64
    }

    fn text(&self) -> String {
        format!("[{}] momentum {}", self.len, self.momentum)
    }
}
