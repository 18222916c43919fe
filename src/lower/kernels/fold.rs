//! Ends a unit of several records: the one place where a unit's gradient joins those of others.

use serde::{Deserialize, Serialize};

use super::contract::work;
use super::{Binding, KernelRules};
use crate::lower::program::Extent;

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
    fn name(&self) -> &'static str {
        "fold"
    }

    fn buffers(&self) -> Vec<Binding> {
        let written = ["unit", "sum"].map(|name| Binding::floats(name, Extent::fixed(self.len)).written());
        [&[Binding::floats("factor", Extent::fixed(1))], &written[..]].concat()
    }

    fn flops(&self, _rows: usize) -> u64 {
        work(&[2, self.len])
    }

    fn text(&self) -> String {
        format!("[{}]", self.len)
    }
}
