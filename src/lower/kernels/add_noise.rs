//! Noise and division: the one place where a gradient sum becomes a gradient.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Launch};

/// `y[i] = (sum[i] + noise[i]) · hyper[INVERSE_BATCH]`: the clipped sum of a logical step, plus noise that the host has
/// drawn once for the step and already scaled by σC, over the expected batch size.
///
/// Buffers: `sum`, `noise`, `hyper`; then `y`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddNoise {
    /// Number of elements.
    pub len: usize,
}

impl KernelRules for AddNoise {
    fn template(&self) -> &'static str {
        "add_noise"
    }

    fn launches(&self, _rows: usize) -> Vec<Launch> {
        Launch::linear(self.len, &[])
    }

    fn flops(&self, _rows: usize) -> u64 {
        2 * self.len as u64
    }

    fn text(&self) -> String {
        format!("[{}]", self.len)
    }
}
