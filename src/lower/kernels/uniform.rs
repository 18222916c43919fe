//! Random numbers that depend on the record alone.

use serde::{Deserialize, Serialize};

use super::contract::work;
use super::{Binding, KernelRules};
use crate::lower::program::Extent;

/// `y[n, i] = u`, between 0 and 1 and neither.
///
/// `u` is word 0 of Threefry-2x32-20 with key `(keys[n, 0], keys[n, 1])` and counter `(i, layer)`, as for
/// [`Dropout`](super::Dropout), its 23 high bits and a half over 2²³.
///
/// Buffers: `keys`, `i32[P, 2]`; then `y`, `f32[P, len]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Uniform {
    /// Elements per record.
    pub len: usize,
    /// Which use of random numbers in the model this is, dropouts among them.
    pub layer: u32,
}

impl KernelRules for Uniform {
    fn name(&self) -> &'static str {
        "uniform"
    }

    fn buffers(&self) -> Vec<Binding> {
        vec![Binding::integers("keys", Extent::rows(2)), Binding::floats("y", Extent::rows(self.len)).written()]
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[rows, self.len])
    }

    fn text(&self) -> String {
        format!("[{}] layer {}", self.len, self.layer)
    }
}
