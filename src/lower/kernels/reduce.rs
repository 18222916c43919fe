//! Sums over axes, over records, or both.

use serde::{Deserialize, Serialize};

use super::contract::{reach, work, zero};
use super::{Binding, KernelRules, Sums};
use crate::graph::product;
use crate::lower::check::MAX_ROWS;
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
    Weighted(Sums),
}

impl Records {
    /// How many records are read.
    pub(super) fn summed_or_each(self) -> Extent {
        match self {
            Records::Each(records) | Records::All(records) => records,
            Records::Weighted(_) => Extent::rows(1),
        }
    }

    /// How many results there are.
    pub(super) fn results(self) -> Extent {
        match self {
            Records::Each(records) => records,
            Records::All(_) | Records::Weighted(_) => Extent::fixed(1),
        }
    }

    /// Whether they are weighted.
    pub fn weighted(self) -> bool {
        matches!(self, Records::Weighted(_))
    }

    /// What the sums are made of.
    pub fn sums(self) -> Sums {
        if let Records::Weighted(sums) = self { sums } else { Sums::Floats }
    }

    pub(super) fn problem(self) -> Option<String> {
        let Extent { per_row, fixed } = self.summed_or_each();
        (per_row > 1 || fixed > MAX_ROWS).then(|| format!("has {fixed} + {per_row} P records"))
    }
}

/// `y[n, e] = Σ_r f(x[n·record + kept(e) + reduced(r)])` with `f` the identity or the square; with `n` summed too where
/// `records` says so. `e` runs over `kept` and `r` over `reduced`, row-major.
///
/// Where weighted sums are integers ([`Sums`]), nothing is reduced but the records.
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
    pub fn elements(&self) -> usize {
        product(&self.kept.iter().map(|w| w.size).collect::<Vec<_>>())
    }

    /// Terms of each sum, records aside.
    pub fn terms(&self) -> usize {
        product(&self.reduced.iter().map(|w| w.size).collect::<Vec<_>>())
    }
}

impl KernelRules for Reduce {
    fn name(&self) -> &'static str {
        "reduce"
    }

    fn buffers(&self) -> Vec<Binding> {
        let axes = self.kept.iter().chain(&self.reduced).map(|walk| (walk.size, walk.stride));
        let x = self.records.summed_or_each().strided(self.record, reach(axes));
        let mut buffers = vec![Binding::floats("x", x)];
        if self.records.weighted() {
            buffers.push(Binding::floats("weight", Extent::rows(1)));
        }
        buffers.push(self.records.sums().binding("y", self.records.results().times(self.elements())));
        buffers
    }

    fn problem(&self) -> Option<String> {
        let walks = || self.kept.iter().chain(&self.reduced);
        let sizes: Vec<usize> = walks().map(|walk| walk.size).collect();
        if sizes.len() > 64 {
            return Some(format!("has {} axes", sizes.len()));
        }
        if product(&sizes) > reach(walks().map(|walk| (walk.size, walk.stride))) {
            return Some("sums an element more than once".into());
        }
        if self.records.sums().integers() && (self.square || !self.reduced.is_empty()) {
            return Some("sums integers of more than the records".into());
        }
        zero(&[("results", self.elements())]).or_else(|| self.records.problem())
    }

    fn most_rows(&self) -> Option<usize> {
        self.records.sums().most_rows()
    }

    fn is_of_records(&self) -> bool {
        self.records.weighted()
    }

    fn flops(&self, rows: usize) -> u64 {
        let weighted = if self.records.weighted() { 2 } else { 1 };
        let records = self.records.summed_or_each().at(rows);
        work(&[weighted, records, self.elements(), self.terms(), if self.square { 2 } else { 1 }])
    }

    fn text(&self) -> String {
        let records = match self.records {
            Records::Each(records) => format!("in each of {records} rows"),
            Records::All(records) => format!("over {records} rows"),
            Records::Weighted(sums) => format!("over P weighted rows{}", sums.text()),
        };
        format!(
            "{} → {}{}, {records}",
            self.elements() * self.terms(),
            self.elements(),
            if self.square { " of squares" } else { "" }
        )
    }
}
