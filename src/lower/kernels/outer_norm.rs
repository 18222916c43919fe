//! The squares of two sides' norms: of a gradient that is one outer product the square norm, of a sum of them a bound on
//! what its terms could add up to.

use serde::{Deserialize, Serialize};

use super::operand::View;
use super::{KernelRules, Launch, Span, linear_grid, words};
use crate::lower::emit::Specialise;

/// `y[n] = Σ_g (Σ_{i,t} a[n, g](i, t)²) (Σ_{j,t} b[n, g](j, t)²)`. With one position that is the square norm of `a ⊗ b`
/// (Goodfellow, arXiv 1510.01799), with more at least that of `Σ_t ‖a_t‖ ‖b_t‖`, by the Cauchy-Schwarz inequality.
///
/// To each sum of squares [`OuterNorm::UNDERFLOW`] is added for every term, more than a square that underflows can have
/// lost: the result is never below the exact one but by relative rounding.
///
/// Buffers: `a`, `b`; then `y`, an `f32[P]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OuterNorm {
    /// Groups.
    pub groups: usize,
    /// Items of `a`.
    pub rows: usize,
    /// Items of `b`.
    pub cols: usize,
    /// Positions.
    pub steps: usize,
    /// Row is the item `i`, column the position `t`.
    pub a: View,
    /// Row is the item `j`, column the position `t`.
    pub b: View,
}

impl OuterNorm {
    /// 2⁻¹⁰⁸. Numbers below 2⁻¹²⁶ may count as 0 on a GPU, and so may squares of numbers below 2⁻⁶³. That much more is
    /// added, so that sums which are only exact to a few times 2⁻²⁴ of this bound have the bound's share of it too.
    pub const UNDERFLOW: f32 = f32::MIN_POSITIVE * (1 << 18) as f32;
}

impl KernelRules for OuterNorm {
    fn template(&self) -> &'static str {
        "outer_norm"
    }

    fn specialise(&self, template: &mut Specialise) {
        template.constant("A_VIEW", self.a.constant());
        template.constant("B_VIEW", self.b.constant());
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let launch = |part: &Span| {
            let sizes = [rows, self.rows, self.cols, self.steps, part.outer[0], part.outer[1]];
            Launch::new([self.a.words(), self.b.words(), words(&sizes)].concat(), linear_grid(rows, 1))
        };
        Span::split(self.groups, 1, self.iterations()).iter().map(launch).collect()
    }

    fn iterations(&self) -> usize {
        (self.rows * self.steps).div_ceil(64) + (self.cols * self.steps).div_ceil(64) + 16
    }

    fn flops(&self, rows: usize) -> u64 {
        2 * (rows * self.groups * self.steps * (self.rows + self.cols)) as u64
    }

    fn text(&self) -> String {
        let steps = if self.steps == 1 { String::new() } else { format!(" over {} positions", self.steps) };
        format!("{}×[{}, {}]{steps}", self.groups, self.rows, self.cols)
    }
}
