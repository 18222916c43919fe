//! How kernels sum what records add, weighted.

use serde::{Deserialize, Serialize};

use super::Binding;
use crate::graph::DType;
use crate::lower::program::Extent;
use crate::privacy::grid;

/// What a sum over weighted records is made of: the addends themselves, or integers.
///
/// Of integers, the sum is `Σ_n ⟦w[n] x[n]⟧` modulo 2³², for `⟦v⟧` the integer next to the `f32` product v, ties to even. It is
/// the same in any order, on any device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sums {
    /// Floats, each addition rounded.
    #[default]
    Floats,
    /// Integers, of products below 2²² in magnitude, as those of a record are whose norm is bounded.
    Grid,
    /// Integers, of products below 2⁶², as those of one of a parameter's several uses.
    WideGrid,
}

impl Sums {
    /// Whether they are integers.
    pub fn integers(self) -> bool {
        self != Sums::Floats
    }

    /// The element type of the sums.
    pub fn dtype(self) -> DType {
        if self.integers() { DType::I32 } else { DType::F32 }
    }

    /// The binding of the sums, which are written.
    pub(super) fn binding(self, name: &'static str, len: Extent) -> Binding {
        let binding = if self.integers() { Binding::integers(name, len) } else { Binding::floats(name, len) };
        binding.written()
    }

    /// The most rows of a physical batch whose sum the result tells, if there is such a number.
    pub fn most_rows(self) -> Option<usize> {
        self.integers().then_some(grid::ROWS)
    }

    /// For people, after the kernel's sizes.
    pub(super) fn text(self) -> &'static str {
        match self {
            Sums::Floats => "",
            Sums::Grid => ", in grid units",
            Sums::WideGrid => ", in grid units, wide",
        }
    }
}
