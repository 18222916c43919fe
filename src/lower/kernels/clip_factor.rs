//! The clip factors: the one place where a record's share of the update is bounded.

use serde::{Deserialize, Serialize};

use super::contract::work;
use super::{Binding, KernelRules};
use crate::lower::program::Extent;
pub use crate::privacy::clipping::ClipFunction;
use crate::privacy::grid;

/// For each of `R` records, `norm[n, group] = √sq[n]`, and `factor[n]` = the clip function's factor of a bound on that norm
/// and of `bounds[group]`, times `weight[n]`; 0 where `weight[n]` is 0: a row that holds no record. It is -0 where any number is not finite: such a
/// record adds nothing, and on the cpu device takes as long as any other.
///
/// The bound on the norm is `√(sq + square_error) + √norm_error + P √row_error` with P the rows of a physical batch, which
/// covers what rounding may hide where terms cancel: `square_error` of the square, the others of norm and share (see
/// [`crate::passes::privatize`]). Of these three the first `errors` are read. Where none is, no terms cancel, and a negative
/// square counts as not finite. All of it is then increased by what `additions` of positive numbers may hide.
///
/// On the `grid`, the factor is then multiplied by [`ClipFactor::scale`]; no factor is above [`ClipFunction::LARGEST`].
///
/// Tests for NaN and infinity read the bits, since a shader compiler may assume neither occurs.
///
/// Buffers: `sq`, `square_error`, `norm_error`, `row_error` and `weight`, `f32[R]`; `bounds`, `f32[K]`; then `factor`,
/// `f32[R]`, and `norm`, `f32[R, K]`, of which other groups' columns stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipFactor {
    /// R.
    pub records: Extent,
    /// How a norm becomes a factor.
    pub function: ClipFunction,
    /// The clip group.
    pub group: usize,
    /// Number of clip groups, K.
    pub groups: usize,
    /// How many bounds on what rounding hides there are: 0, 2 or 3.
    pub errors: usize,
    /// The longest chain of additions on the way to the square.
    pub additions: usize,
    /// Whether the factor is to grid units: C is then [`grid::UNITS`] of them.
    #[serde(default)]
    pub grid: bool,
}

impl ClipFactor {
    /// Grid units to a clip bound.
    pub const UNITS: f32 = grid::UNITS as f32;

    /// What a factor is multiplied by, with the clip bound `bound`.
    pub fn scale(&self, bound: f32) -> f32 {
        if self.grid { ClipFactor::UNITS / bound } else { 1.0 }
    }

    /// What the bound on the norm is multiplied by: each addition may take a unit roundoff from the square, and so half of it
    /// from the root. As many as [`ClipFactor::OTHERS`] are for the rest.
    pub fn excess(&self) -> f32 {
        1.0 + (self.additions as f32 + ClipFactor::OTHERS) / (1 << 25) as f32
    }

    /// Halves of a unit roundoff that norm and share may lose in proportion to themselves beside those of `additions`: two for each
    /// element of either that is rounded to a number, 18 for the root by WGSL's accuracy (`1 / inverseSqrt`), and a few for the additions
    /// here. What comes after, to the share itself, is [`grid::SLACK`].
    const OTHERS: f32 = 32.0;
}

impl KernelRules for ClipFactor {
    fn name(&self) -> &'static str {
        "clip_factor"
    }

    fn buffers(&self) -> Vec<Binding> {
        let each = |name| Binding::floats(name, self.records);
        let read = ["sq", "square_error", "norm_error", "row_error", "weight"].map(each);
        let bounds = Binding::floats("bounds", Extent::fixed(self.groups));
        let norm = Binding::floats("norm", self.records.times(self.groups)).written();
        [&read[..], &[bounds, each("factor").written(), norm]].concat()
    }

    fn problem(&self) -> Option<String> {
        let (group, groups) = (self.group, self.groups);
        (group >= groups).then(|| format!("has no clip group {group} of {groups}"))
    }

    fn is_of_records(&self) -> bool {
        true
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[6, self.records.at(rows)])
    }

    fn text(&self) -> String {
        let function = match self.function {
            ClipFunction::Threshold => "min(1, C/norm)".to_owned(),
            ClipFunction::Automatic { gamma } => format!("C/(norm + {gamma:?})"),
        };
        let grid = if self.grid { ", in grid units" } else { "" };
        format!("{function}, group {} of {}{grid}", self.group, self.groups)
    }
}
