//! The dominating pairs of histories.
//!
//! A pair (P, Q) dominates a step if none of its divergences `H(α) = sup_S P(S) - α Q(S)`, α ≥ 0, is below
//! that between the step's outputs on neighbouring datasets. The product of the steps' pairs then
//! dominates their composition, adaptive as it may be (Zhu, Dong and Wang 2022,
//! <https://arxiv.org/abs/2106.08567>, Theorem 10). With `N(m)` for noise of variance 1 around m, μ = 1/σ
//! and q for the rate:
//!
//! - **Poisson, add-remove.** `(1-q) N(0) + q N(μ)` against `N(0)` where the unit is removed, and turned
//!   round where it is added (ibid., Theorem 11). Either of them may be the worse one after composition,
//!   and each is composed with its own kind only (Lebeda et al. 2024, <https://arxiv.org/abs/2405.20769>).
//! - **Poisson, replace-one.** `(1-q) N(0) + q N(μ)` against `(1-q) N(0) + q N(-μ)`. Given the other
//!   units, the outputs are `(1-q) A + q B` and `(1-q) A + q C` with `A = N(0)`, `B = N(g)`, `C = N(g')`
//!   and `|g|, |g'| ≤ μ`, and for α ≥ 1 their divergence is `F = q H(B, (1-β) A + β C)` at `α' = 1 + (α-1)/q`
//!   with `β = α/α'`. Where `|g - g'| ≤ μ`, F is at most `q H(N(μ), N(0))` by convexity, and that at most F
//!   at `(μ, -μ)`, as `N(-μ)` has less of every upper tail than `N(0)`. Elsewhere the derivatives of F by
//!   `g` and `g'` are positive combinations of `g` and `g - g'`, and negative ones, so that a maximum has
//!   both on one line and, as they are apart, at opposite ends. For α < 1 exchange both datasets.
//! - **Fixed size, replace-one.** Draw a batch without the unit, and with probability q let the unit take
//!   the place of a random one in it. The outputs are as above, but A, B and C are up to 2μ from each
//!   other. For α ≥ 1, F is at most `q H(N(2μ), N(0))` by convexity: the divergence of removing with
//!   2μ. For α < 1 it is that of adding, and the larger of both profiles is one (ibid., Theorem 11).
//! - **Truncated Poisson.** Whether at least `max_batch` of the m other units came is independent of the
//!   unit, and does no harm if disclosed. If they did not, this is Poisson sampling. If they did, the batch
//!   without the unit is a uniform one, and the unit takes a random place in it with probability
//!   `p = E[q max_batch/(K+1)]` over their number K: as with a fixed size, with p for q; and for add-remove
//!   `(1-p) N(0) + p N(2μ)` against `N(0)`, and turned round. The larger dataset has `units` units or one
//!   more; both are tried.
//! - **Shuffle, replace-one.** Given the permutation, the unit is in one step of the epoch at most, which
//!   is `N(2μ)` against `N(0)`; the permutation is independent of the units' values.

use super::super::Mechanism;
use super::super::history::{joined, merged};
use super::binomial::Binomial;
use super::pairs::{Pair, Shape, Step};
use crate::privacy::adjacency::Adjacency;
use crate::privacy::sampling::Sampling;

/// The steps of a composition, and how many of each.
pub(in super::super) type Composition = Vec<(Step, u64)>;

/// More distinct steps than this become fewer.
const MOST_DISTINCT: usize = 64;

/// Which of two neighbouring datasets has the unit.
#[derive(Clone, Copy)]
enum Change {
    Remove,
    Add,
    Replace,
}

/// Whether a dominating pair is known.
pub(in super::super) fn known(sampling: Sampling, adjacency: Adjacency) -> bool {
    match sampling {
        Sampling::Poisson { .. } | Sampling::TruncatedPoisson { .. } => true,
        Sampling::FixedSize { .. } | Sampling::Shuffle { .. } => adjacency == Adjacency::ReplaceOne,
        Sampling::Cyclic { .. } => false,
    }
}

/// The compositions of pairs of which one dominates `history`; `None` where a step has no noise.
pub(in super::super) fn compositions(history: &[Mechanism], adjacency: Adjacency) -> Option<Vec<Composition>> {
    let mut steps = merged(history);
    if steps.iter().any(|entry| entry.noise_multiplier == 0.0) {
        return None;
    }
    if steps.len() > MOST_DISTINCT {
        steps = joined(&steps);
    }
    let truncated = steps.iter().any(|entry| matches!(entry.sampling, Sampling::TruncatedPoisson { .. }));
    let (changes, extra): (&[Change], _) = match adjacency {
        Adjacency::AddRemove => (&[Change::Remove, Change::Add], u64::from(truncated)),
        Adjacency::ReplaceOne => (&[Change::Replace], 0),
    };
    let all = changes.iter().flat_map(|&change| (0..=extra).map(move |more| (change, more)));
    Some(all.map(|(change, more)| composition(&steps, change, more)).collect())
}

/// Gaussians without sampling become one.
fn composition(steps: &[Mechanism], change: Change, more: u64) -> Composition {
    let mut square = 0.0;
    let mut sampled = Composition::new();
    for entry in steps {
        let step = step(entry, change, more);
        match step.0.as_slice() {
            [(_, Pair { rate: 1.0, .. })] => square += entry.steps as f64 * step.distance() * step.distance(),
            [] => {}
            _ => sampled.push((step, entry.steps)),
        }
    }
    if square > 0.0 {
        let pair = Pair { shape: Shape::Remove, shift: libm::sqrt(square), rate: 1.0 };
        sampled.push((Step(vec![(1.0, pair)]), 1));
    }
    sampled
}

fn step(mechanism: &Mechanism, change: Change, more: u64) -> Step {
    let shift = 1.0 / mechanism.noise_multiplier;
    // What the unit does alone, and what it does in the place of another.
    let (alone, instead) = match change {
        Change::Remove => (Shape::Remove, Shape::Remove),
        Change::Add => (Shape::Add, Shape::Add),
        Change::Replace => (Shape::Replace, Shape::Larger),
    };
    let alone = |rate: f64| Pair { shape: alone, shift, rate };
    let instead = |rate: f64| Pair { shape: instead, shift: 2.0 * shift, rate };
    let parts = match mechanism.sampling {
        Sampling::Poisson { rate } | Sampling::Cyclic { rate, .. } => vec![(1.0, alone(rate))],
        Sampling::FixedSize { .. } => vec![(1.0, instead(mechanism.sampling.rate()))],
        Sampling::Shuffle { .. } => vec![(1.0, instead(1.0))],
        Sampling::TruncatedPoisson { rate, units, max_batch } => {
            match Truncation::new(rate, units - 1 + more, max_batch) {
                Some(Truncation { plain, full, share }) => vec![(plain, alone(rate)), (full, instead(share))],
                // This dominates either.
                None => vec![(1.0, instead(rate))],
            }
        }
    };
    Step(parts.into_iter().filter(|(weight, pair)| *weight > 0.0 && pair.rate > 0.0).collect())
}

/// Whether the batch is full without the unit. Either probability is an upper bound, for rounding, so that
/// they sum to 1 or a little more.
pub(super) struct Truncation {
    /// The probability that it is not,
    pub plain: f64,
    /// and that it is.
    pub full: f64,
    /// The probability of the unit being in the batch all the same.
    pub share: f64,
}

impl Truncation {
    /// Of `others` units, each in the batch with probability `rate`; `None` where that takes too long.
    pub fn new(rate: f64, others: u64, max_batch: u64) -> Option<Truncation> {
        if others < max_batch {
            return Some(Truncation { plain: 1.0, full: 0.0, share: 0.0 });
        }
        let most = max_batch as f64;
        if rate == 1.0 {
            return Some(Truncation { plain: 0.0, full: 1.0, share: most / (others as f64 + 1.0) });
        }
        let binomial = Binomial { trials: others, rate };
        let [plain, full] = binomial.split(max_batch)?;
        let share = (rate * most * binomial.mean_inverse(max_batch)?).min(rate);
        Some(Truncation { plain, full, share })
    }
}
