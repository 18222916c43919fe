//! Adam and AdamW, as PyTorch defines them.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Launch};
use crate::lower::emit::Specialise;

/// With `g = grad + weight_decay · param` (Adam) or `param −= lr · weight_decay · param` first (AdamW, `decoupled`):
/// `m = β₁ m + (1−β₁) g`, `v = β₂ v + (1−β₂) g²`,
/// `param −= lr / c₁ · m / (√(v / c₂) + eps)`; `lr` is `hyper[LEARNING_RATE]`, and `c₁ = 1−β₁ᵗ`, `c₂ = 1−β₂ᵗ` are
/// `hyper[BIAS_CORRECTION_1]` and `hyper[BIAS_CORRECTION_2]`.
///
/// Buffers: `grad`, `hyper`; then `param`, `m`, `v`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adam {
    /// Number of elements.
    pub len: usize,
    /// Decay rates of the two moments.
    pub betas: [f32; 2],
    /// Added to the denominator.
    pub eps: f32,
    /// L2 penalty, or decoupled decay.
    pub weight_decay: f32,
    /// Whether the decay is decoupled (AdamW).
    pub decoupled: bool,
}

impl KernelRules for Adam {
    fn template(&self) -> &'static str {
        "adam"
    }

    fn writes(&self) -> usize {
        3
    }

    fn specialise(&self, template: &mut Specialise) {
        template.constant("DECOUPLED", self.decoupled);
    }

    fn launches(&self, _rows: usize) -> Vec<Launch> {
        let [beta_1, beta_2] = self.betas;
        let floats = [beta_1, beta_2, 1.0 - beta_1, 1.0 - beta_2, self.eps, self.weight_decay];
        Launch::linear(self.len, &floats.map(f32::to_bits))
    }

    fn flops(&self, _rows: usize) -> u64 {
        12 * self.len as u64
    }

    fn text(&self) -> String {
        format!("[{}] betas {:?}", self.len, self.betas)
    }
}
