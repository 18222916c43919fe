//! The phases of units that are several records: a user's gradient is the mean over the user's records, clipped as one.
//!
//! The plain phase sums a unit's records, each of weight one over their number, into the gradient sums, over as many
//! physical batches as it takes. [`Phase::Fold`] then does to that mean what the private phase does to a record's
//! gradient: its norm in each clip group, the clip factor, and the sum over units. [`Phase::Collect`] puts the sum over
//! units where the update reads it; integer sums over units are there already.

use super::phases::Builder;
use crate::graph::DType;
use crate::lower::kernels::{
    Accumulate, Broadcast, ClipFactor, Elementwise, Fill, Fold, Kernel, Records, Reduce, Walk,
};
use crate::lower::program::{BufferId, Extent, Phase, Role};
use crate::lower::scalar::{Expr, Func};
use crate::lower::target::Targets;
use crate::lower::{host_inputs, host_outputs};
use crate::privacy::clipping::{ClipFunction, ClipGroup};

/// The largest number of parts that a square norm is worked out in.
const PARTS: usize = 1024;
/// Elements up to which a square norm is worked out in one go.
const WHOLE: usize = 4096;
/// The first number where the second is finite, else -0.
fn guard() -> Elementwise {
    let operands = vec![Broadcast { record: 0, strides: vec![1] }; 2];
    Elementwise { batched: false, dims: vec![1], operands, expr: Expr::call(Func::Guard) }
}

/// A gradient sum: the parameter, the buffer and its length.
struct Sum {
    parameter: String,
    buffer: BufferId,
    len: usize,
}

impl Builder {
    /// Appends [`Phase::Fold`] and [`Phase::Collect`] for the gradient sums of the phases that are there.
    pub fn units(&mut self, function: ClipFunction, groups: &[ClipGroup], exact: bool, targets: Targets<'_>) {
        let bounds = self.get_or_add(Role::Input(host_inputs::CLIP_BOUNDS.into()), "bounds", groups.len());
        let mut weight = self.get_or_add(Role::ConstantF32(vec![1.0]), "one", 1);
        let norm = host_outputs::UNIT_NORM;
        let norm = self.get_or_add(Role::Output(norm.into()), norm, groups.len());
        let mut squares = Vec::new();
        for group in groups {
            let sums: Vec<Sum> = group.parameters.iter().filter_map(|name| self.gradient_sum(name)).collect();
            let square = self.temporary(&format!("unit_sq.{}", group.name), 1);
            if sums.is_empty() {
                self.dispatch(Phase::Fold, Fill { len: Extent::fixed(1), value: 0.0 }, &[square], &group.name);
            }
            for (i, sum) in sums.iter().enumerate() {
                if i == 0 {
                    self.square_norm(sum, square);
                    continue;
                }
                let part = self.temporary(&format!("unit_sq.{}", sum.parameter), 1);
                self.square_norm(sum, part);
                self.dispatch(Phase::Fold, Accumulate { len: 1 }, &[part, square], &group.name);
            }
            squares.push((sums, square));
        }
        if groups.len() > 1 {
            // A unit whose gradient is not finite in one group counts as zero in all of them.
            for (group, (_, square)) in groups.iter().zip(&squares) {
                let guarded = self.temporary(&format!("unit_counted.{}", group.name), 1);
                self.dispatch(Phase::Fold, guard(), &[weight, *square, guarded], &group.name);
                weight = guarded;
            }
        }
        for (k, (group, (sums, square))) in groups.iter().zip(squares).enumerate() {
            let factor = self.temporary(&format!("unit_clip.{}", group.name), 1);
            // The norm is that of the sum that is folded, so that no terms cancel unseen.
            let (records, groups) = (Extent::fixed(1), groups.len());
            let longest = sums.iter().map(|sum| roundings(sum.len, targets)).max();
            let additions = longest.unwrap_or(0) + sums.len();
            let clip = ClipFactor { records, function, group: k, groups, errors: 0, additions, grid: exact };
            let buffers = [square, square, square, square, weight, bounds, factor, norm];
            self.dispatch(Phase::Fold, clip, &buffers, &group.name);
            for Sum { parameter, buffer, len } in sums {
                if exact {
                    let unit = self.grid_sum(&parameter, len);
                    self.dispatch(Phase::Fold, Fold { len, grid: true }, &[factor, unit, buffer], &parameter);
                    continue;
                }
                let role = Role::UnitSum(parameter.clone());
                let unit = self.get_or_add(role, &format!("unit.{parameter}"), len);
                self.dispatch(Phase::Fold, Fold { len, grid: false }, &[factor, unit, buffer], &parameter);
                self.dispatch(Phase::Collect, Accumulate { len }, &[unit, buffer], &parameter);
                self.dispatch(Phase::Collect, Fill { len: Extent::fixed(len), value: 0.0 }, &[unit], &parameter);
            }
        }
    }

    /// The integer sum of a parameter's gradients.
    pub(super) fn grid_sum(&mut self, parameter: &str, len: usize) -> BufferId {
        self.get_or_add_of(Role::GridSum(parameter.into()), &format!("grid.{parameter}"), DType::I32, 2 * len)
    }

    fn gradient_sum(&self, parameter: &str) -> Option<Sum> {
        let (buffer, len) = self.find(&Role::GradientSum(parameter.into()))?;
        Some(Sum { parameter: parameter.into(), buffer, len })
    }

    /// Writes the square norm of a gradient sum to `square`.
    fn square_norm(&mut self, sum: &Sum, square: BufferId) {
        let Sum { parameter, buffer, .. } = sum;
        let mut kernels = square_norm(sum.len).into_iter();
        let (Some(first), second) = (kernels.next(), kernels.next()) else { return };
        let Some(second) = second else {
            return self.dispatch(Phase::Fold, first, &[*buffer, square], parameter);
        };
        let partial = self.temporary(&format!("unit_sq.{parameter}.parts"), first.elements());
        self.dispatch(Phase::Fold, first, &[*buffer, partial], parameter);
        self.dispatch(Phase::Fold, second, &[partial, square], parameter);
    }
}

/// The kernels of the square norm of `len` elements, in parts of equal length where they are many.
fn square_norm(len: usize) -> Vec<Reduce> {
    let reduce = |len: usize, parts: usize, square: bool| Reduce {
        records: Records::Each(Extent::fixed(1)),
        record: len,
        kept: vec![Walk { size: parts, stride: len / parts }],
        reduced: vec![Walk { size: len / parts, stride: 1 }],
        square,
    };
    let parts = if len <= WHOLE { 1 } else { (1..=PARTS).rev().find(|parts| len.is_multiple_of(*parts)).unwrap_or(1) };
    match parts {
        1 => vec![reduce(len, 1, true)],
        _ => vec![reduce(len, parts, true), reduce(parts, 1, false)],
    }
}

/// How often the square norm of `len` elements is rounded at most on the way.
fn roundings(len: usize, targets: Targets<'_>) -> usize {
    targets.rounding_of(&square_norm(len).into_iter().map(Kernel::from).collect::<Vec<_>>()).square
}
