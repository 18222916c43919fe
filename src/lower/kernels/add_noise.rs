//! Noise and division: the one place where a gradient sum becomes a gradient.

use serde::{Deserialize, Serialize};

use super::contract::work;
use super::{Binding, KernelRules};
use crate::lower::hyper;
use crate::lower::program::Extent;

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
    fn name(&self) -> &'static str {
        "add_noise"
    }

    fn buffers(&self) -> Vec<Binding> {
        let len = Extent::fixed(self.len);
        let [sum, noise] = ["sum", "noise"].map(|name| Binding::floats(name, len));
        vec![sum, noise, Binding::floats("hyper", Extent::fixed(hyper::LEN)), Binding::floats("y", len).written()]
    }

    fn flops(&self, _rows: usize) -> u64 {
        work(&[2, self.len])
    }

    fn text(&self) -> String {
        format!("[{}]", self.len)
    }
}
