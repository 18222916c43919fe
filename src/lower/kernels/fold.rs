//! Ends a unit of several records: the one place where a unit's gradient joins those of others.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Launch};

/// `unit[i] += factor[0] · sum[i]`, then `sum[i] = 0`, for `len` elements. A factor of 0 leaves `unit` as it is, whatever
/// `sum` holds.
///
/// Buffers: `factor`, `f32[1]`; then `unit` and `sum`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fold {
    /// Number of elements.
    pub len: usize,
}

impl KernelRules for Fold {
    fn template(&self) -> &'static str {
        "fold"
    }

    fn writes(&self) -> usize {
        2
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
