//! What rounding may hide of a norm, and how a clip factor takes it into account.
//!
//! What is bounded is a record's share of the sum as it is computed, in floating point. A gradient that is stored is summed
//! from where its norm is taken, so that its norm says all. One that is not is a sum of terms `a_t ⊗ b_t` for its norm, and
//! again for the sum, where the kernels add up a record's terms by themselves before the result joins those of others. Where
//! large terms cancel, rounding may leave little of the norm, or of the share. Both are in proportion to the terms' total
//! length `M = Σ_t ‖a_t‖ ‖b_t‖`, u being the unit roundoff and T the number of positions:
//!
//! - each element of norm or share is a sum of T terms: `T u M` each beside the norm, together `(2T + 8) u M`;
//! - a ghost norm's square is a sum of products of inner products: `k u M²` below the root, with k of
//!   [`ghost_rounding`] (Higham, Accuracy and Stability of Numerical Algorithms, §3.1);
//! - of a parameter with several uses, M is the sum over its uses, whose sums over the P rows of a physical batch stay
//!   apart to the end: each of the m terms that an element is added to meanwhile may lose `u M`, and m is at most 64 T + P
//!   for products, which are summed in parts of 64 records at most, and P T for rows by id: `apart` for each row.
//!
//! A sum of squares loses a little too, in proportion to itself, which is the number of additions of a clip factor.
//!
//! Such a factor is that of `√(‖g‖² + below) + beside + P apart`. Where nothing cancels, this is a small part of a percent
//! more than the norm; where nearly everything does, the record counts for less. Other trainers leave this out, and can be
//! made to add a gradient of any length unclipped.
//!
//! # What is not bounded
//!
//! The shares of N records are then added in `f32`, first those of a physical batch, and each addition rounds. With a record
//! or without it, the others' sum may be rounded differently: by some `N u C` as a rule, and at worst, for records made for
//! it, by a unit in the last place of the sum for each physical batch after its own, `N² u C / P`. Where a parameter has
//! several uses, whose sums are apart to the end, other records' large terms round differently too, by a few hundredths of C
//! at worst. Only sums of integers are free of that.

use super::Rewrite;
use super::norms::Use;
use crate::graph::{NodeId, TypeError};
use crate::lower::kernels::GhostNorm;
use crate::ops::Op;
use crate::ops::elementwise::Elementwise;
use crate::ops::norm::LengthBound;
use crate::passes::strategy::NormStrategy;

/// The unit roundoff of `f32`.
const ROUNDOFF: f64 = 1.0 / (1 << 24) as f64;

/// What rounding may hide of the square of a ghost norm of `positions[0]` by `positions[1]` positions, relative to the
/// square of the total length of the terms: the inner products, of `rows` and `cols` terms, are summed one after the other,
/// their products in tiles.
pub fn ghost_rounding(rows: usize, cols: usize, positions: [usize; 2]) -> f64 {
    let tiles = positions.iter().map(|t| t.div_ceil(GhostNorm::TILE)).product::<usize>();
    (rows + cols + 2 * GhostNorm::TILE + tiles / 16) as f64 * ROUNDOFF
}

/// What rounding may hide of a norm: multiples of a [`LengthBound`].
#[derive(Clone, Copy)]
pub(super) struct Hidden {
    /// The square of a bound on the terms' total length.
    length: NodeId,
    /// Of that square, below the root.
    below: f64,
    /// Of the length, beside the root.
    beside: f64,
    /// Of the length, beside the root, for each row of a physical batch.
    apart: f64,
}

impl Rewrite {
    /// What rounding hides of a parameter's only use, whose norm was found by a `strategy` that does not store it; `None` if there is
    /// no bound.
    pub(super) fn hidden_of_one(
        &mut self,
        used: &Use,
        strategy: NormStrategy,
        label: &str,
    ) -> Result<Option<Vec<Hidden>>, TypeError> {
        // A single product is all there is to add.
        if strategy == NormStrategy::Outer {
            return Ok(Some(vec![]));
        }
        let below = match &used.op {
            Op::Outer(x) if strategy == NormStrategy::Ghost => ghost_rounding(x.rows, x.cols, [x.steps; 2]),
            _ => 0.0,
        };
        let Some((length, positions)) = self.length(used, label)? else { return Ok(None) };
        Ok(Some(vec![Hidden { length, below, beside: (2.0 * positions + 8.0) * ROUNDOFF, apart: 0.0 }]))
    }

    /// What rounding hides of a sum of uses, whose square norm is that of their norms and cross terms;
    /// `None` if there is no bound.
    pub(super) fn hidden_of_many(&mut self, uses: &[Use], label: &str) -> Result<Option<Vec<Hidden>>, TypeError> {
        // (Σᵢ Mᵢ)² is at most the number of uses times Σᵢ Mᵢ².
        let number = uses.len() as f64;
        // Their squares and cross terms are added one after the other.
        let parts = number * (number + 1.0) / 2.0 + 1.0;
        let below = number * (self.cross_rounding(uses) + parts * ROUNDOFF);
        let scale = number.sqrt() * ROUNDOFF;
        let mut hidden = Vec::new();
        for used in uses {
            let Some((length, positions)) = self.length(used, label)? else { return Ok(None) };
            let products = matches!(used.op, Op::Outer(_));
            let (beside, apart) = if products { (66.0, 1.0) } else { (2.0, positions) };
            hidden.push(Hidden { length, below, beside: scale * (beside * positions + 8.0), apart: scale * apart });
        }
        Ok(Some(hidden))
    }

    /// The operands of a clip factor that tell what rounding hides: none, or those of [`ClipFactor`] for `below`, `beside`
    /// and, if any, `apart`.
    ///
    /// [`ClipFactor`]: crate::ops::clip::ClipFactor
    pub(super) fn hidden_totals(
        &mut self,
        hidden: &[Hidden],
        named: impl Fn(&str) -> String,
    ) -> Result<Vec<NodeId>, TypeError> {
        let mut totals = Vec::new();
        if !hidden.is_empty() {
            totals.push(self.scaled(hidden, |h| h.below, &named("below"))?);
            totals.push(self.scaled(hidden, |h| h.beside * h.beside, &named("beside"))?);
        }
        if hidden.iter().any(|h| h.apart > 0.0) {
            totals.push(self.scaled(hidden, |h| h.apart * h.apart, &named("apart"))?);
        }
        Ok(totals)
    }

    /// The sum of the length bounds, each multiplied by its `share`.
    fn scaled(&mut self, hidden: &[Hidden], share: impl Fn(&Hidden) -> f64, name: &str) -> Result<NodeId, TypeError> {
        let mut parts = Vec::new();
        for part in hidden.iter().filter(|part| share(part) > 0.0) {
            parts.push(self.add(Elementwise::scale(share(part) as f32), &[part.length], "")?);
        }
        let total = self.total(&parts, name)?;
        self.graph.name(total, name);
        Ok(total)
    }

    /// The bound on the total length of the terms of a weight gradient, and the number of positions.
    fn length(&mut self, used: &Use, label: &str) -> Result<Option<(NodeId, f64)>, TypeError> {
        let (operands, label) = (&used.operands, label.replacen("sq.", "length.", 1));
        Ok(match &used.op {
            Op::Outer(x) => {
                let length = self.add(LengthBound::Products(Box::new(x.clone())), operands, &label)?;
                Some((length, x.steps as f64))
            }
            Op::Scatter(_) => {
                let count = self.graph.ty(operands[0]).len() as f64;
                let rows = self.add(LengthBound::Rows, &operands[1..2], "")?;
                Some((self.add(Elementwise::scale(count as f32), &[rows], &label)?, count))
            }
            _ => None,
        })
    }

    /// The largest [`ghost_rounding`] of the products of two uses. Those with rows by id are summed pair by pair.
    fn cross_rounding(&self, uses: &[Use]) -> f64 {
        let ids = |used: &Use| self.graph.ty(used.operands[0]).len();
        let of_pair = |one: &Use, other: &Use| match (&one.op, &other.op) {
            (Op::Outer(x), Op::Outer(y)) => ghost_rounding(x.rows, x.cols, [x.steps, y.steps]),
            (Op::Outer(x), _) => (x.rows.max(x.cols) + x.steps * ids(other)) as f64 * ROUNDOFF,
            (_, Op::Outer(y)) => (y.rows.max(y.cols) + y.steps * ids(one)) as f64 * ROUNDOFF,
            _ => 0.0,
        };
        uses.iter().flat_map(|one| uses.iter().map(move |other| of_pair(one, other))).fold(0.0, f64::max)
    }
}
