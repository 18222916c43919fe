//! Adam and AdamW, as PyTorch defines them.

use serde::{Deserialize, Serialize};

use super::contract::work;
use super::{Binding, KernelRules};
use crate::lower::hyper;
use crate::lower::program::Extent;

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
    fn name(&self) -> &'static str {
        "adam"
    }

    fn buffers(&self) -> Vec<Binding> {
        let (len, hyper) = (Extent::fixed(self.len), Extent::fixed(hyper::LEN));
        let written = ["param", "m", "v"].map(|name| Binding::floats(name, len).written());
        [vec![Binding::floats("grad", len), Binding::floats("hyper", hyper)], written.to_vec()].concat()
    }

    fn flops(&self, _rows: usize) -> u64 {
        work(&[12, self.len])
    }

    fn text(&self) -> String {
        format!("[{}] betas {:?}", self.len, self.betas)
    }
}
