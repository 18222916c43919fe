//! Rounding a step's privacy loss to a grid.
//!
//! Between neighbouring points of the grid, the masses P and Q of the losses there are known; they move to
//! both points. [`Rounding::Dots`] keeps both masses: that is connect-the-dots (Doroshenko et al. 2022,
//! <https://arxiv.org/abs/2207.04380>, Algorithm 1), whose divergence `δ(ε)` joins the exact ones at the
//! grid's points by chords in `e^ε`. As divergences are convex in `e^ε`, it is never below the exact one,
//! and any subset of a uniform grid will do. [`Rounding::Mean`] keeps the mean loss instead, where cells are
//! narrow.
//!
//! Points are one interval apart around 0, where most of the mass is, and further apart in proportion to
//! the loss: a cell of width w adds `w²/6` at most to the variance, which is small beside the square of
//! the loss.

use rayon::prelude::*;

use super::neighbours::Composition;
use super::pairs::{Masses, Step};
use super::sum::Sum;

/// Where the points are.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Grid {
    /// Every loss is a multiple of this.
    pub interval: f64,
    /// The distance between points beside their loss, where it is more than the interval.
    pub growth: f64,
    /// The most it is, unless more than [`MOST_POINTS`] would be needed.
    pub widest: f64,
}

/// What rounding keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Rounding {
    /// Both masses of each cell: connect-the-dots.
    Dots,
    /// The mean loss of cells that are one interval wide, or a little more; else as `Dots`.
    Mean,
}

/// A distribution of losses on a grid.
#[derive(Clone, Debug)]
pub(in super::super) struct Losses {
    /// Multiples of the grid's interval in ascending order, and their probabilities under P.
    pub points: Vec<(i64, f64)>,
    /// The probability of an infinite loss,
    pub infinite: f64,
    /// and of all losses, which may be a little more than 1.
    pub total: f64,
}

/// Bounds the linear part of a grid.
const MOST_POINTS: f64 = 8192.0;
/// Bounds the rounding of differences beside the larger number,
const CANCELLATION: f64 = 4.0 * f64::EPSILON;
/// and of what goes to the upper end of a cell.
const SHARE_ROUNDING: f64 = 1e-9;
/// The furthest point in intervals; losses beyond are infinite or this.
const FURTHEST: f64 = 1e12;

impl Grid {
    /// The points from 0 to the first at or beyond `end`.
    fn ladder(self, end: f64) -> Vec<i64> {
        let widest = self.widest.max(end / MOST_POINTS) / self.interval;
        let end = libm::ceil(end / self.interval).clamp(1.0, FURTHEST) as i64;
        let mut points = vec![0];
        let mut last = 0_i64;
        while last < end {
            let step = (self.growth * last as f64).min(widest).max(1.0);
            last = end.min(last + step as i64);
            points.push(last);
        }
        points
    }
}

/// The losses of `steps` on `grid`, as [`discretize`].
pub(in super::super) fn discretized(steps: &Composition, grid: Grid, tail: f64, rounding: Rounding) -> Sum {
    let round = |(step, count): &(Step, u64)| (discretize(step, grid, tail, rounding), *count);
    Sum { interval: grid.interval, terms: steps.par_iter().map(round).collect() }
}

/// The loss of `step` on `grid`; losses that P gives less than about `tail` become infinite or the
/// grid's lowest.
pub(in super::super) fn discretize(step: &Step, grid: Grid, tail: f64, rounding: Rounding) -> Losses {
    let (least, most) = step.range(tail);
    let interval = grid.interval;
    let (down, up) = (grid.ladder(-least), grid.ladder(most));
    let below: Vec<Masses> = down.iter().map(|&k| step.below(-(k as f64 * interval))).collect();
    let above: Vec<Masses> = up.iter().map(|&k| step.above(k as f64 * interval)).collect();

    let mut points: Vec<(i64, f64)> = down.iter().rev().map(|&k| (-k, 0.0)).collect();
    points.extend(up[1..].iter().map(|&k| (k, 0.0)));
    let zero = down.len() - 1;
    points[0].1 = below[zero].p;
    points[zero].1 += (step.total() - below[0].p - above[0].p).max(0.0);
    for i in 0..points.len() - 1 {
        let (inner, outer) =
            if i < zero { (below[zero - i - 1], below[zero - i]) } else { (above[i - zero], above[i - zero + 1]) };
        let (from, to) = (points[i].0, points[i + 1].0);
        let cell = Cell { inner, outer, bottom: from as f64 * interval, width: (to - from) as f64 * interval };
        let rounding = if to - from > 1 { Rounding::Dots } else { rounding };
        let (lower, upper) = cell.split(rounding);
        points[i].1 += lower;
        points[i + 1].1 += upper;
    }
    Losses { points, infinite: above[above.len() - 1].p, total: step.total() }
}

/// The losses between two neighbouring points.
struct Cell {
    /// The masses from the end that is nearer to 0 outwards, and from the other.
    inner: Masses,
    outer: Masses,
    bottom: f64,
    width: f64,
}

impl Cell {
    /// The masses of the lower and the upper end. Rounding errors go to the upper one.
    fn split(&self, rounding: Rounding) -> (f64, f64) {
        let p = (self.inner.p - self.outer.p).max(0.0);
        let q = (self.inner.q - self.outer.q).max(0.0);
        let upper = match rounding {
            Rounding::Dots => {
                // Where this overflows, Q has underflowed, and all goes up.
                let scale = Some(libm::exp(self.bottom)).filter(|scale| scale.is_finite()).unwrap_or(0.0);
                let slack = CANCELLATION * (self.inner.p + self.inner.q * scale);
                (p - q * scale + slack) / -libm::expm1(-self.width)
            }
            Rounding::Mean => {
                // By Jensen's inequality ln(P/Q) is below the mean, by half the variance or so.
                let mean = libm::log(p / q) + self.width * self.width / 8.0;
                let slack = CANCELLATION * (self.inner.p / p + self.inner.q / q);
                p * ((mean + slack - self.bottom) / self.width + SHARE_ROUNDING)
            }
        };
        let upper = if upper.is_nan() { p } else { upper };
        let upper = upper.clamp(0.0, p);
        (p - upper, upper)
    }
}
