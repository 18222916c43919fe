//! Stochastic gradient descent, as PyTorch's `SGD` defines it.

use serde::{Deserialize, Serialize};

use super::contract::work;
use super::{Binding, KernelRules};
use crate::lower::hyper;
use crate::lower::program::Extent;

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
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn buffers(&self) -> Vec<Binding> {
        let len = Extent::fixed(self.len);
        let written = ["param", "velocity"].map(|name| Binding::floats(name, len).written());
        let written = if self.momentum == 0.0 { &written[..1] } else { &written };
        [&[Binding::floats("grad", len), Binding::floats("hyper", Extent::fixed(hyper::LEN))], written].concat()
    }

    fn flops(&self, _rows: usize) -> u64 {
        work(&[6, self.len])
    }

    fn text(&self) -> String {
        format!("[{}] momentum {}", self.len, self.momentum)
    }
}
