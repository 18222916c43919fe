//! Weight gradients: sums over records and positions of outer products.

use serde::{Deserialize, Serialize};

use super::contract::work;
use super::operand::{is_long, pair, pair_problem};
use super::{Binding, KernelRules, Packing, Sums, View};
use crate::graph::product;
use crate::lower::program::Extent;

/// `y[g, i, j] = Σ_n w[n] Σ_t a[n, g](i, t) · b[n, g](j, t)`. A row of weight 0 is skipped, whatever it holds. A row's
/// positions are summed apart from other rows' and then added, so that what it adds does not depend on them but for the
/// rounding of one sum. Of integers ([`Sums`]), what is rounded is a row's own sum times its weight; of a row with one position
/// `(w · a) · b`. Of a long product ([`OuterSum::precise`]), the row's own sum is worked out in more bits than `f32` has.
///
/// Buffers: `a`, `b`; `w`, an `f32[P]`; then `y`, contiguous. An operand that is packed is the words of a
/// [`Narrow`](super::Narrow).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OuterSum {
    /// Groups.
    pub groups: usize,
    /// Rows `i` of the result: items of `a`.
    pub rows: usize,
    /// Columns `j` of the result: items of `b`.
    pub cols: usize,
    /// Positions `t`.
    pub steps: usize,
    /// Row is the item `i`, column the position `t`.
    pub a: View,
    /// Row is the item `j`, column the position `t`.
    pub b: View,
    /// What is summed over records.
    #[serde(default)]
    pub sums: Sums,
    /// Whether the weights are clip factors: what a row adds is then bounded by its norm, to the last bit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clipped: bool,
    /// How `a` and `b` are kept in words, where they are: all of a record's elements, which the views are of.
    #[serde(default, skip_serializing_if = "is_plain")]
    pub packed: [Option<Packing>; 2],
}

fn is_plain(packed: &[Option<Packing>; 2]) -> bool {
    *packed == [None; 2]
}

impl OuterSum {
    /// Whether a row's own sums are worked out in more bits than `f32` has: of long products ([`is_long`]), where they are clipped.
    pub fn precise(&self) -> bool {
        (self.clipped || self.sums.integers()) && is_long(self.rows, self.cols, self.steps)
    }

    /// Elements of the result.
    pub fn size(&self) -> usize {
        product(&[self.groups, self.rows, self.cols])
    }
}

impl KernelRules for OuterSum {
    fn name(&self) -> &'static str {
        "outer_sum"
    }

    fn buffers(&self) -> Vec<Binding> {
        let size = Extent::fixed(self.size());
        let mut buffers = pair([&self.a, &self.b], self.groups, [self.rows, self.cols], self.steps, size);
        for (buffer, packing) in buffers.iter_mut().zip(self.packed) {
            if let Some(packing) = packing {
                *buffer = Binding::integers(buffer.name, Extent::rows(packing.words()));
            }
        }
        buffers.insert(2, Binding::floats("w", Extent::rows(1)));
        buffers.pop();
        buffers.push(self.sums.binding("y", size));
        buffers
    }

    fn problem(&self) -> Option<String> {
        let views = [&self.a, &self.b];
        let read = pair(views, self.groups, [self.rows, self.cols], self.steps, Extent::fixed(0));
        let beyond = |k: usize| self.packed[k].is_some_and(|packing| read[k].len != Extent::rows(packing.len));
        pair_problem(views, self.groups, [self.rows, self.cols], self.steps)
            .or_else(|| self.packed.iter().flatten().find_map(Packing::problem))
            .or_else(|| (beyond(0) || beyond(1)).then(|| "reads other elements than are kept".into()))
    }

    fn most_rows(&self) -> Option<usize> {
        self.sums.most_rows()
    }

    fn is_of_records(&self) -> bool {
        true
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[2, rows, self.groups, self.steps, self.rows, self.cols])
    }

    fn text(&self) -> String {
        let kept = match self.packed.iter().flatten().next() {
            Some(packing) => format!(", kept in {}", packing.half),
            None => String::new(),
        };
        let Self { groups, rows, cols, steps, sums, .. } = self;
        format!("{groups}×[{rows}, {cols}] over {steps} positions{kept}{}", sums.text())
    }
}
