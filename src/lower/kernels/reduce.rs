//! Sums over axes, over records, or both.

use serde::{Deserialize, Serialize};

use super::KernelRules;
use crate::lower::program::Extent;


/// An axis of a strided walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Walk {
    /// Number of elements.
    pub size: usize,
    /// Elements of the buffer between neighbours.
    pub stride: usize,
}

/// Which records a [`Reduce`] sums over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Records {
    /// None: one result for each of these many records (`Extent::rows(1)` for a batched value, 1 for a shared one).
    Each(Extent),
    /// All of these many, each counted once.
    All(Extent),
    /// All `P` rows, row `n` multiplied by `weight[n]`; a row of weight 0 is skipped, whatever it holds.
    Weighted,
}

/// `y[n, e] = Σ_r f(x[n·record + kept(e) + reduced(r)])` with `f` the identity or the square; with `n` summed too where
/// `records` says so. `e` runs over `kept` and `r` over `reduced`, row-major.
///
/// Buffers: `x`; `weight` if weighted; then `y`, contiguous.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reduce {
    /// Which records are summed.
    pub records: Records,
    /// Elements between records of `x`.
    pub record: usize,
    /// Axes that stay.
    pub kept: Vec<Walk>,
    /// Axes that are summed.
    pub reduced: Vec<Walk>,
    /// Whether squares are summed.
    pub square: bool,
}

impl Reduce {
    /// Elements of one result.
    pub fn len(&self) -> usize {
        self.kept.iter().map(|w| w.size).product()
    }

    /// Terms of each sum, records aside.
    pub fn terms(&self) -> usize {
        self.reduced.iter().map(|w| w.size).product()
    }
}

impl KernelRules for Reduce {
    fn template(&self) -> &'static str {
        "reduce"
    }

    fn flops(&self, rows: usize) -> u64 {
        let n = match self.records {
            Records::Each(e) | Records::All(e) => e.at(rows),
            Records::Weighted => 2 * rows,
        };
        (n * self.len() * self.terms() * if self.square { 2 } else { 1 }) as u64
    }

    fn text(&self) -> String {
        let square = if self.square { " of squares" } else { "" };
        format!("{:?}{square} keep {} of {} terms", self.records, self.len(), self.terms())
    }
}
