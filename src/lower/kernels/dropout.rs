//! Dropout with a mask that depends on the record alone.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Launch};

/// `y[n, i] = x[n, i] · m / (1 − ratio)` with `m = [u(keys[n], layer, i) ≥ ratio]`.
///
/// `u` is word 0 of Threefry-2x32-20 (Salmon et al., SC 2011) with key `(keys[n, 0], keys[n, 1])` and counter
/// `(i, layer)`, its 24 high bits over 2²⁴: the mask of a record depends on its own key and on nothing else in the batch.
///
/// Buffers: `x`, `f32[P, len]`; `keys`, `i32[P, 2]`; then `y`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dropout {
    /// Elements per record.
    pub len: usize,
    /// The share of elements set to zero.
    pub ratio: f32,
    /// Which dropout of the model this is.
    pub layer: u32,
}

impl KernelRules for Dropout {
    fn template(&self) -> &'static str {
        "dropout"
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let floats = [self.ratio, 1.0 / (1.0 - self.ratio)].map(f32::to_bits);
        Launch::linear(rows * self.len, &[self.len as u32, self.layer, floats[0], floats[1]])
    }

    fn flops(&self, rows: usize) -> u64 {
        (rows * self.len) as u64
    }

    fn text(&self) -> String {
        format!("[{}] ratio {} layer {}", self.len, self.ratio, self.layer)
    }
}
