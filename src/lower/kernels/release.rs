//! Noise and division of integer sums: the one place where they become a gradient.

use serde::{Deserialize, Serialize};

use super::contract::work;
use super::{Binding, KernelRules};
use crate::lower::hyper;
use crate::lower::program::Extent;

/// `y[i] = (sum[i] + noise[i]) · unit[group] · hyper[INVERSE_BATCH]`, then `sum[i] = 0`: the integer sum of a logical step, plus
/// the integer that the host has drawn once for the step. The sum of both is exact; what follows is not, and need not be, since it
/// depends on nothing else that is private.
///
/// Integers are of 64 bits: two words each, the low one first.
///
/// Buffers: `noise`, `i32[2 len]`; `hyper`; `unit`, `f32[K]`, the size of each clip group's grid unit; then `sum`, `i32[2 len]`, and
/// `y`, `f32[len]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Number of integers.
    pub len: usize,
    /// The clip group.
    pub group: usize,
    /// Number of clip groups, K.
    pub groups: usize,
}

impl KernelRules for Release {
    fn name(&self) -> &'static str {
        "release"
    }

    fn buffers(&self) -> Vec<Binding> {
        let (len, pairs) = (Extent::fixed(self.len), Extent::fixed(self.len).times(2));
        vec![
            Binding::integers("noise", pairs),
            Binding::floats("hyper", Extent::fixed(hyper::LEN)),
            Binding::floats("unit", Extent::fixed(self.groups)),
            Binding::integers("sum", pairs).written(),
            Binding::floats("y", len).written(),
        ]
    }

    fn problem(&self) -> Option<String> {
        let (group, groups) = (self.group, self.groups);
        (group >= groups).then(|| format!("has no clip group {group} of {groups}"))
    }

    fn flops(&self, _rows: usize) -> u64 {
        work(&[4, self.len])
    }

    fn text(&self) -> String {
        format!("[{}], group {} of {}", self.len, self.group, self.groups)
    }
}
