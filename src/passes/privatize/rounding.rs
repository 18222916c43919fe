//! What rounding may hide of a norm, and how a clip factor takes it into account.
//!
//! What is bounded is a record's share of the sum as it is computed, in floating point. A gradient that is stored is summed
//! from where its norm is taken, so that its norm says all. One that is not is a sum of terms `a_t ⊗ b_t` for its norm, and
//! again for the sum, where the kernels add up a record's terms by themselves before the result joins those of others. Where
//! large terms cancel, rounding may leave little of the norm, or of the share. Both are in proportion to the terms' total
//! length `M = Σ_t ‖a_t‖ ‖b_t‖`, u being the unit roundoff and T the number of positions:
//!
//! - each element of norm or share is a sum of T terms that is rounded k times: `k u M` each, the error of the norm;
//! - a ghost norm's square is a sum of products of inner products: `k u M²`, the error of the square (Higham, Accuracy and
//!   Stability of Numerical Algorithms, §3.1);
//! - of a parameter with several uses, M is the sum over its uses, whose sums over the P rows of a physical batch stay
//!   apart to the end: each of the m roundings of an element on its way through the sum may lose `u M`; those that are as
//!   many as the rows are the error of each row.
//!
//! What is rounded to a number in the end loses a little in proportion to itself, and so does a sum of squares: that is the
//! number of additions of a clip factor. How often a kernel rounds, each device states for itself ([`Rounding`]), and the
//! largest counts.
//!
//! Such a factor is that of `√(‖g‖² + square error) + norm error + P row error`.
//!
//! # How large it is
//!
//! Where T terms point in one direction M is `‖g‖`, where they do so at random `√T ‖g‖`, and where nearly all cancels it is
//! as many times `‖g‖` as there may be. So a record would count for less than C, by 3 % of it for 4,096 random positions that
//! are added in `f32`. How much depends on the length of the product ([`is_long`]), and never on the record, nor does the time
//! that a step takes:
//!
//! - Of a long product, whose gradient is no larger than its sides, norm and share are worked out in `f64` on the cpu device and
//!   in pairs of `f32` in WGSL, as are runs of ids: k is below 2⁻⁵, whatever T, and the record counts for what it should within
//!   a few times 10⁻⁶ unless all but 10⁻⁴ of M cancels. That takes longer, but for sides that are vectors; such gradients are
//!   stored wherever there is memory for them ([`crate::passes::strategy`]), and have no such error at all.
//! - Of others, positions are added in parts, and k is about 64 + T/64 for norm and share: 10⁻⁴ of the norm for 128 random positions.
//! - A Gram matrix is worked out in `f64` or pairs; what is lost is in the sum over its elements, which are of both signs. So
//!   Gram matrices are for few positions, unless a parameter with several uses needs their cross terms.
//!
//! Nothing of this is a matter of what is likely: the bound holds for records that are made to cancel, which then count for less.
//! Other trainers leave it out, and can be made to add a gradient of any length unclipped.
//!
//! # Sums over records
//!
//! Shares are then rounded to a grid and added as integers, which no other record's share can change ([`crate::privacy::grid`]).
//!
//! With [`Sums::Floats`] they are added in `f32` instead, and what that does is not bounded: first those of a physical batch, and each addition rounds. With a record
//! or without it, the others' sum may be rounded differently: by some `N u C` as a rule, and at worst, for records made for
//! it, by a unit in the last place of the sum for each physical batch after its own, `N² u C / P`. Where a parameter has
//! several uses, whose sums are apart to the end, other records' large terms round differently too, by a few hundredths of C
//! at worst. Only sums of integers are free of that.
//!
//! [`is_long`]: crate::lower::kernels::is_long

use super::Rewrite;
use super::norms::Use;
use crate::graph::{NodeId, TypeError};
use crate::lower::kernels::{Kernel, Records, Scatter, Sums};
use crate::lower::target::{Rounding, Targets};
use crate::ops::Op;
use crate::ops::elementwise::Elementwise;
use crate::ops::norm::{GhostNorm, LengthBound, OuterNorm, SegmentCross, SegmentNorm, SquareNorm, TileNorm};
use crate::ops::outer::Outer;
use crate::ops::sum_batch::products_kernel;
use crate::passes::strategy::NormStrategy;

/// The unit roundoff of `f32`.
const ROUNDOFF: f64 = 1.0 / (1 << 24) as f64;

/// What the devices that a program is compiled for state of the kernels of norms and sums.
#[derive(Clone, Copy)]
pub struct Bounds<'a>(pub Targets<'a>, pub Sums);

impl Bounds<'_> {
    /// Of a gradient that is stored.
    pub fn stored(self, len: usize) -> Rounding {
        self.0.rounding(SquareNorm::kernel(len))
    }

    /// Of one outer product.
    pub fn outer(self, outer: &Outer) -> Rounding {
        self.0.rounding(OuterNorm(outer.clone()).kernel([outer.a, outer.b]))
    }

    /// Of tiles of the gradient.
    pub fn tile(self, outer: &Outer) -> Rounding {
        self.of_tiles(TileNorm(outer.clone()).kernels([outer.a, outer.b]))
    }

    /// Of Gram matrices of one sum of outer products, or of two.
    pub fn ghost(self, first: &Outer, second: Option<&Outer>) -> Rounding {
        let other = second.unwrap_or(first);
        let op = GhostNorm { first: first.clone(), second: second.cloned() };
        self.of_tiles(op.kernels([first.a, first.b, other.a, other.b]))
    }

    /// Of runs of equal ids.
    pub fn segment(self, segment: &SegmentNorm) -> Rounding {
        self.0.rounding(segment.kernel())
    }

    /// Of rows by id with outer products.
    pub fn cross(self, cross: &SegmentCross) -> Rounding {
        self.0.rounding(cross.kernel([cross.outer.a, cross.outer.b]))
    }

    /// Of the weighted sum of a use that is not stored.
    fn sum(self, used: &Op, count: usize, width: usize) -> Rounding {
        match used {
            Op::Outer(x) => self.0.rounding(products_kernel(x, [x.a, x.b], self.1)),
            // Ids of each record are ordered, where there are several.
            _ => self.0.rounding(Scatter {
                records: Records::Weighted(self.1),
                ids_record: count,
                record: count.saturating_mul(width),
                count,
                width,
                table_rows: 1,
                ordered: count > 1,
            }),
        }
    }

    /// A kernel of tiles and what adds them up.
    fn of_tiles(self, [kernel, sum]: [Option<Kernel>; 2]) -> Rounding {
        self.0.rounding_of(&[kernel, sum].into_iter().flatten().collect::<Vec<_>>())
    }
}

/// What a number of roundings may take, relative to the total length of what is summed. A hundredth more is for roundings of what
/// was rounded, and for what the length bound loses itself.
fn share(roundings: impl IntoIterator<Item = f64>) -> f64 {
    roundings.into_iter().map(|roundings| 1.01 * roundings * ROUNDOFF).sum()
}

/// What rounding may hide of the square of a ghost norm, relative to the square of the total length of the terms.
pub fn ghost_rounding(bounds: Bounds<'_>, outer: &Outer) -> f64 {
    let Rounding { element, square, .. } = bounds.ghost(outer, None);
    share([element, square as f64])
}

/// Bounds on what rounding may hide of a norm, as multiples of a [`LengthBound`].
#[derive(Clone, Copy)]
pub(super) struct ErrorBounds {
    /// The square of a bound on the terms' total length.
    length: NodeId,
    /// The error of the square norm, relative to that square.
    square_error: f64,
    /// The error of norm and share, relative to the length.
    norm_error: f64,
    /// The error of the share for each row of a physical batch, relative to the length.
    row_error: f64,
}

impl Rewrite<'_> {
    /// What rounding hides of a parameter's only use, whose norm was found by a `strategy` that does not store it, with the
    /// roundings `norm`; `None` if there is no bound.
    pub(super) fn errors_of_one(
        &mut self,
        used: &Use,
        strategy: NormStrategy,
        norm: Rounding,
        label: &str,
    ) -> Result<Option<Vec<ErrorBounds>>, TypeError> {
        // A single product is all there is to add.
        if strategy == NormStrategy::Outer {
            return Ok(Some(vec![]));
        }
        let sum = self.sum_rounding(used);
        let (square_error, element) = match strategy {
            NormStrategy::Ghost => (share([norm.element, norm.square as f64]), 0.0),
            _ => (0.0, norm.element),
        };
        let norm_error = share([element, sum.element]);
        let Some(length) = self.length(used, label)? else { return Ok(None) };
        Ok(Some(vec![ErrorBounds { length, square_error, norm_error, row_error: 0.0 }]))
    }

    /// What rounding hides of a sum of uses, whose square norm is that of their norms and cross terms, with the `roundings`
    /// of each of these; `None` if there is no bound.
    pub(super) fn errors_of_many(
        &mut self,
        uses: &[Use],
        roundings: &[(NormStrategy, Rounding)],
        label: &str,
    ) -> Result<Option<Vec<ErrorBounds>>, TypeError> {
        // (Σᵢ Mᵢ)² is at most the number of uses times Σᵢ Mᵢ².
        let number = uses.len() as f64;
        let of_part = |(strategy, Rounding { element, square, .. }): &(NormStrategy, Rounding)| match strategy {
            NormStrategy::Ghost => share([*element, *square as f64]),
            // An element that is squared counts twice.
            _ => share([*element, *element, *square as f64]),
        };
        let largest = roundings.iter().map(of_part).fold(0.0, f64::max);
        // They are numbers, which are added one after the other.
        let square_error = number * (largest + share([roundings.len() as f64 + 2.0]));
        let mut errors = Vec::new();
        for used in uses {
            let sum = self.sum_rounding(used);
            let Some(length) = self.length(used, label)? else { return Ok(None) };
            // A use's share is a number, which is multiplied by the factor and then rounded to the grid or added.
            let norm_error = number.sqrt() * share([sum.element, sum.records.fixed as f64, 3.0]);
            errors.push(ErrorBounds {
                length,
                square_error,
                norm_error,
                row_error: number.sqrt() * share([sum.records.per_row as f64]),
            });
        }
        Ok(Some(errors))
    }

    fn sum_rounding(&self, used: &Use) -> Rounding {
        let lens: Vec<usize> = used.operands.iter().map(|&operand| self.graph.ty(operand).len()).collect();
        let count = lens.first().copied().unwrap_or(0);
        self.bounds.sum(&used.op, count, lens.get(1).copied().unwrap_or(0) / count.max(1))
    }

    /// The operands of a clip factor that tell what rounding hides: none, or those of [`ClipFactor`] for the errors of square
    /// and norm and, if there is one, of rows.
    ///
    /// [`ClipFactor`]: crate::ops::clip::ClipFactor
    pub(super) fn error_totals(
        &mut self,
        errors: &[ErrorBounds],
        named: impl Fn(&str) -> String,
    ) -> Result<Vec<NodeId>, TypeError> {
        let mut totals = Vec::new();
        if !errors.is_empty() {
            totals.push(self.scaled(errors, |h| h.square_error, &named("square_error"))?);
            totals.push(self.scaled(errors, |h| h.norm_error * h.norm_error, &named("norm_error"))?);
        }
        if errors.iter().any(|h| h.row_error > 0.0) {
            totals.push(self.scaled(errors, |h| h.row_error * h.row_error, &named("row_error"))?);
        }
        Ok(totals)
    }

    /// The sum of the length bounds, each multiplied by its `share`.
    fn scaled(
        &mut self,
        errors: &[ErrorBounds],
        share: impl Fn(&ErrorBounds) -> f64,
        name: &str,
    ) -> Result<NodeId, TypeError> {
        let mut parts = Vec::new();
        for part in errors.iter().filter(|part| share(part) > 0.0) {
            parts.push(self.add(Elementwise::scale(share(part) as f32), &[part.length], "")?);
        }
        let total = self.total(&parts, name)?;
        self.graph.name(total, name);
        Ok(total)
    }

    /// The bound on the total length of the terms of a gradient.
    fn length(&mut self, used: &Use, label: &str) -> Result<Option<NodeId>, TypeError> {
        let (operands, label) = (&used.operands, label.replacen("sq.", "length.", 1));
        Ok(match &used.op {
            Op::Outer(x) => Some(self.add(LengthBound::Products(Box::new(x.clone())), operands, &label)?),
            Op::Scatter(_) => {
                let count = self.graph.ty(operands[0]).len();
                let rows = self.add(LengthBound::Rows, &operands[1..2], "")?;
                Some(self.add(Elementwise::scale(count as f32), &[rows], &label)?)
            }
            _ => None,
        })
    }
}
