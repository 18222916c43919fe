//! The clip factors: the one place where a record's share of the update is bounded.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Launch};
use crate::lower::emit::Specialise;
use crate::lower::program::Extent;
use crate::privacy::clipping::ClipFunction;

/// For each of `R` records, `norm[n, group] = √sq[n]`, and `factor[n]` = the clip function's factor of a bound on that norm
/// and of `bounds[group]`, times `weight[n]`; 0 where `weight[n]` is 0 or any number is not finite.
///
/// The bound on the norm is `√(sq + below) + √beside + P √apart` with P the rows of a physical batch, which covers what
/// rounding may hide where terms cancel: `below` of the square, the rest of the sum over records (see
/// [`crate::passes::privatize`]). Of these three the first `hidden` are read. Where none is, no terms cancel, and a negative
/// square counts as not finite. All of it is then increased by what `additions` of positive numbers may hide.
///
/// Tests for NaN and infinity read the bits, since a shader compiler may assume neither occurs.
///
/// Buffers: `sq`, `below`, `beside`, `apart` and `weight`, `f32[R]`; `bounds`, `f32[K]`; then `factor`, `f32[R]`, and `norm`,
/// `f32[R, K]`, of which other groups' columns stay.
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
    /// How many of the ways in which rounding may hide some of the norm there are: 0, 2 or 3.
    pub hidden: usize,
    /// The longest chain of additions on the way to the square.
    pub additions: usize,
}

impl ClipFactor {
    /// What the bound on the norm is multiplied by: each addition may take a unit roundoff from the square, and so half of it
    /// from the root, and a few more are for the operations here.
    pub fn excess(&self) -> f32 {
        1.0 + (self.additions as f32 + 16.0) / (1 << 25) as f32
    }
}

impl KernelRules for ClipFactor {
    fn template(&self) -> &'static str {
        "clip_factor"
    }

    fn specialise(&self, template: &mut Specialise) {
        template.constant("AUTOMATIC", matches!(self.function, ClipFunction::Automatic { .. }));
        template.constant("ROUNDING", self.hidden >= 2);
        template.constant("APART", self.hidden >= 3);
    }

    fn writes(&self) -> usize {
        2
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let gamma = match self.function {
            ClipFunction::Threshold => 0.0,
            ClipFunction::Automatic { gamma } => gamma as f32,
        };
        let (nan, all) = (f32::NAN.to_bits(), (rows as f32).to_bits());
        let rest = [self.group as u32, self.groups as u32, gamma.to_bits(), nan, all, self.excess().to_bits()];
        Launch::linear(self.records.at(rows), &rest)
    }

    fn flops(&self, rows: usize) -> u64 {
        6 * self.records.at(rows) as u64
    }

    fn text(&self) -> String {
        let function = match self.function {
            ClipFunction::Threshold => "min(1, C/norm)".to_owned(),
            ClipFunction::Automatic { gamma } => format!("C/(norm + {gamma:?})"),
        };
        format!("{function}, group {} of {}", self.group, self.groups)
    }
}
