//! Ends a unit of several records: the one place where a unit's gradient joins those of others.

use serde::{Deserialize, Serialize};

use super::contract::work;
use super::{Binding, KernelRules};
use crate::lower::program::Extent;

/// `unit[i] += factor[0] · sum[i]`, then `sum[i] = 0`, for `len` elements. A factor of 0 leaves `unit` as it is, whatever
/// `sum` holds. On the `grid`, what is added is the integer next to `factor[0] · sum[i]`, ties to even, and `unit` has integers of 64
/// bits: two words each, the low one first.
///
/// Buffers: `factor`, `f32[1]`; then `unit`, `f32[len]` or `i32[2 len]`, and `sum`, `f32[len]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fold {
    /// Number of elements.
    pub len: usize,
    /// Whether the sum over units is of integers.
    #[serde(default)]
    pub grid: bool,
}

impl KernelRules for Fold {
    fn name(&self) -> &'static str {
        "fold"
    }

    fn buffers(&self) -> Vec<Binding> {
        let len = Extent::fixed(self.len);
        let unit = if self.grid { Binding::integers("unit", len.times(2)) } else { Binding::floats("unit", len) };
        vec![Binding::floats("factor", Extent::fixed(1)), unit.written(), Binding::floats("sum", len).written()]
    }

    fn flops(&self, _rows: usize) -> u64 {
        work(&[2, self.len])
    }

    fn text(&self) -> String {
        format!("[{}]{}", self.len, if self.grid { ", in grid units" } else { "" })
    }
}
