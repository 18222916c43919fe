//! Sets every element of a buffer.

use serde::{Deserialize, Serialize};

use super::{Binding, KernelRules};
use crate::lower::program::Extent;

/// `y[i] = value` for `len` elements.
///
/// Buffers: `y`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fill {
    /// Number of elements.
    pub len: Extent,
    /// The value.
    pub value: f32,
}

impl KernelRules for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn buffers(&self) -> Vec<Binding> {
        vec![Binding::floats("y", self.len).written()]
    }

    fn flops(&self, _rows: usize) -> u64 {
        0
    }

    fn text(&self) -> String {
        format!("{:?}", self.value)
    }
}
