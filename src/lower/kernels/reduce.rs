//! Sums over axes, over records, or both.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Lanes, Launch, Span, words};
use crate::lower::emit::Specialise;
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
    pub fn elements(&self) -> usize {
        self.kept.iter().map(|w| w.size).product()
    }

    /// Terms of each sum, records aside.
    pub fn terms(&self) -> usize {
        self.reduced.iter().map(|w| w.size).product()
    }

    /// Invocations that share a sum.
    fn lanes(&self) -> Lanes {
        Lanes::of(self.terms())
    }
}

impl KernelRules for Reduce {
    fn template(&self) -> &'static str {
        "reduce"
    }

    fn specialise(&self, template: &mut Specialise) {
        template.constant("KEPT", format!("{}u", self.kept.len().max(1)));
        template.constant("REDUCED", format!("{}u", self.reduced.len().max(1)));
        template.constant("SQUARE", self.square);
        template.constant("EACH", matches!(self.records, Records::Each(_)));
        if self.records == Records::Weighted {
            template.block(
                "results",
                "@group(0) @binding(2) var<storage, read> weight: array<f32>;\n\
                 @group(0) @binding(3) var<storage, read_write> y: array<f32>;",
            );
            template.block("weight", "    return weight[n];");
        }
        self.lanes().specialise(template);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let (results, summed) = match self.records {
            Records::Each(e) => (e.at(rows), 1),
            Records::All(e) => (1, e.at(rows)),
            Records::Weighted => (1, rows),
        };
        let count = results * self.elements();
        let grid = self.lanes().grid(count);
        let axes = |walks: &[Walk]| -> Vec<u32> {
            let walks = if walks.is_empty() { &[Walk { size: 1, stride: 0 }] } else { walks };
            walks.iter().flat_map(|w| words(&[w.size, w.stride, 0, 0])).collect()
        };
        let launch = |part: &Span| {
            let inner = part.inner.map(|step| (step * self.lanes().0).min(self.terms()));
            let sizes = [&[count, self.elements(), self.record], &part.outer[..], &inner].concat();
            let adds = [u32::from(!part.is_first())];
            Launch::new([words(&sizes), adds.into(), axes(&self.kept), axes(&self.reduced)].concat(), grid)
        };
        let steps = self.lanes().steps(self.terms());
        Span::split(summed, steps, 1 + self.reduced.len() + self.kept.len()).iter().map(launch).collect()
    }

    fn flops(&self, rows: usize) -> u64 {
        let n = match self.records {
            Records::Each(e) | Records::All(e) => e.at(rows),
            Records::Weighted => 2 * rows,
        };
        (n * self.elements() * self.terms() * if self.square { 2 } else { 1 }) as u64
    }

    fn text(&self) -> String {
        let records = match self.records {
            Records::Each(records) => format!("in each of {records} rows"),
            Records::All(records) => format!("over {records} rows"),
            Records::Weighted => "over P weighted rows".to_owned(),
        };
        format!(
            "{} → {}{}, {records}",
            self.elements() * self.terms(),
            self.elements(),
            if self.square { " of squares" } else { "" }
        )
    }
}
