//! The clip factors: the one place where a record's share of the update is bounded.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Launch};
use crate::privacy::ClipRule;

/// `norm[n] = √sq[n]`, and `factor[n]` = the clip rule's factor of that norm times `weight[n]`; 0 where `weight[n]` is 0
/// or `sq[n]` is not finite. A square that rounding made negative counts as not finite.
///
/// Tests for NaN and infinity read the bits, since a shader compiler may assume neither occurs.
///
/// Buffers: `sq`, `f32[P]`; `weight`, `f32[P]`; then `factor` and `norm`, `f32[P]` each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipFactor {
    /// The clip rule.
    pub rule: ClipRule,
}

impl KernelRules for ClipFactor {
    fn template(&self) -> &'static str {
        "clip_factor"
    }

    fn writes(&self) -> usize {
        2
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let ClipRule::Flat { c } = self.rule;
        Launch::linear(rows, &[(c as f32).to_bits(), f32::NAN.to_bits()])
    }

    fn flops(&self, rows: usize) -> u64 {
        2 * rows as u64
    }

    fn text(&self) -> String {
        self.rule.to_string()
    }
}
