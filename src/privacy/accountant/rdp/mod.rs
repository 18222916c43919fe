//! Rényi differential privacy of the subsampled Gaussian mechanism.
//!
//! The Rényi divergence of a step adds up over steps; Canonne, Kamath and Steinke 2020
//! (<https://arxiv.org/abs/2004.00010>), Proposition 12, turns it into (ε, δ), and the Bretagnolle–Huber
//! bound `δ ≤ √(1-e⁻ᴷᴸ)` serves where the divergence is tiny. Every value is an upper bound, and an order
//! at which no bound converges is left out. Each file has the divergence of one kind of step:
//!
//! | sampling | add-remove | replace-one |
//! |---|---|---|
//! | Poisson | [`poisson`] | [`replaced`] |
//! | fixed size | | [`fixed_size`] |
//! | shuffled | | a Gaussian an epoch, as below |
//!
//! **Shuffling** is charged for without amplification. Replacing a unit changes one batch of an epoch, by
//! at most 2S, whatever the permutation, so that an epoch is a Gaussian mechanism with multiplier σ/2.
//! Adding a unit moves others to other batches, and nothing bounds that; so too for batches of a fixed
//! size, whose number of units is public. For truncated Poisson sampling no such bound is known to hold.

mod fixed_size;
mod poisson;
mod replaced;

use std::sync::LazyLock;

use rayon::prelude::*;

use super::history::{merged, rounded};
use super::{Accountant, InvalidInput, Mechanism, check, delta_problem, epsilon_problem};
use crate::privacy::adjacency::Adjacency;
use crate::privacy::sampling::Sampling;

/// The accountant over a dense grid of orders between 1.01 and 8,192.
#[derive(Clone, Copy, Debug)]
pub struct Rdp;

/// The orders tried. They contain the default ones of Google's `dp_accounting`.
static ORDERS: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let grid = |from: u32, to: u32, unit: f64| (from..to).map(move |i| f64::from(i) / unit);
    grid(101, 120, 100.0)
        .chain(grid(24, 80, 20.0))
        .chain(grid(40, 110, 10.0))
        .chain(grid(22, 32, 2.0))
        .chain(grid(16, 256, 1.0))
        .chain(grid(64, 128, 0.25))
        .chain(grid(32, 64, 0.0625))
        .chain((0..=24).map(|i| (1024.0 * libm::exp2(f64::from(i) / 8.0)).round()))
        .collect()
});

const LARGEST_ORDER: u32 = 8192;

/// More distinct steps than this are rounded to about as many.
const MOST_DISTINCT: usize = 128;

/// `ln n` for every n up to the largest order.
static LOG: LazyLock<Vec<f64>> = LazyLock::new(|| (0..=LARGEST_ORDER).map(|n| libm::log(f64::from(n))).collect());

impl Accountant for Rdp {
    fn name(&self) -> &'static str {
        "rdp"
    }

    fn supports(&self, sampling: Sampling, adjacency: Adjacency) -> bool {
        match sampling {
            Sampling::Poisson { .. } => true,
            Sampling::TruncatedPoisson { .. } | Sampling::Cyclic { .. } => false,
            Sampling::FixedSize { .. } | Sampling::Shuffle { .. } => adjacency == Adjacency::ReplaceOne,
        }
    }

    fn epsilon(&self, history: &[Mechanism], adjacency: Adjacency, delta: f64) -> Result<f64, InvalidInput> {
        check(self, history, adjacency, delta_problem(delta))?;
        Ok(composed(history, adjacency).map(|(order, rdp)| epsilon_at(order, rdp, delta)).fold(f64::INFINITY, f64::min))
    }

    fn delta(&self, history: &[Mechanism], adjacency: Adjacency, epsilon: f64) -> Result<f64, InvalidInput> {
        check(self, history, adjacency, epsilon_problem(epsilon))?;
        Ok(composed(history, adjacency).map(|(order, rdp)| delta_at(order, rdp, epsilon)).fold(1.0, f64::min))
    }
}

/// The orders at which the divergence of `history` is known, with it.
fn composed(history: &[Mechanism], adjacency: Adjacency) -> impl Iterator<Item = (f64, f64)> {
    curve(history, adjacency).into_iter().filter_map(|(order, rdp)| Some((order, rdp?)))
}

/// The divergence of `history` at every order; `None` where no bound on it is known.
pub(super) fn curve(history: &[Mechanism], adjacency: Adjacency) -> Vec<(f64, Option<f64>)> {
    let known: Vec<_> = few(history)
        .into_par_iter()
        .map(|entry| (divergences(entry.noise_multiplier, entry.sampling, adjacency, &ORDERS), entry.steps as f64))
        .collect();
    let total = |index: usize| known.iter().map(|(step, count)| Some(step[index]? * count)).sum::<Option<f64>>();
    ORDERS.iter().enumerate().map(|(index, &order)| (order, total(index))).collect()
}

/// The steps of `history`, those of many noise multipliers rounded down to about [`MOST_DISTINCT`].
fn few(history: &[Mechanism]) -> Vec<Mechanism> {
    let steps = merged(history);
    match (steps.first(), steps.last()) {
        (Some(first), Some(last)) if steps.len() > MOST_DISTINCT && first.noise_multiplier > 0.0 => {
            let span = libm::log(last.noise_multiplier / first.noise_multiplier);
            rounded(&steps, (span / MOST_DISTINCT as f64).max(f64::EPSILON))
        }
        _ => steps,
    }
}

/// The divergence of one step at each of `orders`, which ascend.
fn divergences(sigma: f64, sampling: Sampling, adjacency: Adjacency, orders: &[f64]) -> Vec<Option<f64>> {
    let added = |sigma: f64, q: f64| orders.iter().map(|&order| poisson::divergence(sigma, q, order)).collect();
    match (sampling, adjacency) {
        (Sampling::Poisson { rate }, Adjacency::AddRemove) => added(sigma, rate),
        (Sampling::Poisson { rate: 1.0 } | Sampling::Shuffle { .. }, Adjacency::ReplaceOne) => added(sigma / 2.0, 1.0),
        (Sampling::Poisson { rate }, Adjacency::ReplaceOne) => replaced::divergences(sigma, rate, orders),
        (Sampling::FixedSize { .. }, Adjacency::ReplaceOne) => {
            fixed_size::divergences(sigma / 2.0, sampling.rate(), orders)
        }
        _ => vec![None; orders.len()],
    }
}

pub(super) fn epsilon_at(order: f64, rdp: f64, delta: f64) -> f64 {
    if delta * delta > -libm::expm1(-rdp) {
        return 0.0;
    }
    let epsilon = rdp + libm::log1p(-1.0 / order) - (libm::log(delta) + libm::log(order)) / (order - 1.0);
    epsilon.max(0.0)
}

pub(super) fn delta_at(order: f64, rdp: f64, epsilon: f64) -> f64 {
    let huber = libm::sqrt(-libm::expm1(-rdp));
    let log_delta = (order - 1.0) * (rdp - epsilon + libm::log1p(-1.0 / order)) - libm::log(order);
    huber.min(libm::exp(log_delta)).min(1.0)
}

impl Rdp {
    /// The Rényi divergence of one step, the larger of the two directions, at order α in (1, 8192]:
    /// infinite without noise, `None` where no bound is known to converge or a number is out of range.
    pub fn divergence(sigma: f64, sampling: Sampling, adjacency: Adjacency, order: f64) -> Option<f64> {
        let in_range = sigma >= 0.0 && sampling.is_valid() && order > 1.0 && order <= f64::from(LARGEST_ORDER);
        if in_range { divergences(sigma, sampling, adjacency, &[order])[0] } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ADDED: Adjacency = Adjacency::AddRemove;

    fn steps(noise_multiplier: f64, rate: f64, steps: u64) -> Mechanism {
        Mechanism { noise_multiplier, sampling: Sampling::Poisson { rate }, steps }
    }

    fn epsilon(noise_multiplier: f64, sample_rate: f64, count: u64, delta: f64) -> f64 {
        Rdp.epsilon(&[steps(noise_multiplier, sample_rate, count)], ADDED, delta).unwrap()
    }

    fn close(found: f64, expected: f64, tolerance: f64) {
        let error = (found - expected).abs() / expected.abs();
        assert!(error <= tolerance, "{found} is not {expected} ({error:e})");
    }

    #[test]
    fn edge_cases() {
        assert_eq!(Rdp.epsilon(&[], ADDED, 1e-5).unwrap(), 0.0);
        assert_eq!(epsilon(1.0, 0.1, 0, 1e-5), 0.0);
        assert_eq!(epsilon(0.0, 0.1, 0, 1e-5), 0.0);
        assert_eq!(epsilon(1.0, 0.0, 100, 1e-5), 0.0);
        assert_eq!(epsilon(0.0, 0.0, 100, 1e-5), 0.0);
        assert_eq!(epsilon(0.0, 0.1, 1, 1e-5), f64::INFINITY);
        assert_eq!(epsilon(0.0, 1.0, 1, 1e-5), f64::INFINITY);
        assert_eq!(Rdp.delta(&[steps(0.0, 0.1, 1)], ADDED, 1.0).unwrap(), 1.0);
        assert_eq!(Rdp.delta(&[], ADDED, 1.0).unwrap(), 0.0);
        close(epsilon(1.0, 1.0, 1, 1e-5), 4.728507, 1e-3);
        close(epsilon(1e-3, 1.0, 1, 1e-5), 500_000.0, 0.02);
        for (sigma, q, count) in [
            (1e-200, 1e-200, 1),
            (1e200, 1e-200, u64::MAX),
            (1e-200, 0.5, u64::MAX),
            (1e200, 0.5, 1),
            (1.0, f64::MIN_POSITIVE / 4.0, u64::MAX),
            (1.0, 1.0 - f64::EPSILON, 1),
            (5e-324, 5e-324, 1),
        ] {
            assert!(epsilon(sigma, q, count, 1e-5) >= 0.0, "{sigma} {q}");
        }
        assert!(epsilon(1.0, 1e-3, u64::MAX, 1e-5) > 1e9);
    }

    /// A schedule of a thousand noise multipliers is rounded, on the safe side and by less than a percent.
    #[test]
    fn a_long_schedule_is_accounted_by_fewer_steps() {
        let sigma = |i: i32| 2.0 * 0.9993_f64.powi(i);
        let history: Vec<Mechanism> = (0..1000).map(|i| steps(sigma(i), 0.01, 1)).collect();
        assert!(few(&history).len() <= MOST_DISTINCT + 1);
        let exact =
            |order: f64| -> f64 { (0..1000).map(|i| poisson::divergence(sigma(i), 0.01, order).unwrap()).sum() };
        for (order, found) in composed(&history, ADDED).filter(|(order, _)| [2.0, 8.0, 16.0].contains(order)) {
            let exact = exact(order);
            assert!(found >= exact && found <= 1.03 * exact, "{order}: {found}, not {exact}");
        }
        let ends = [epsilon(sigma(0), 0.01, 1000, 1e-5), epsilon(sigma(999), 0.01, 1000, 1e-5)];
        let found = Rdp.epsilon(&history, ADDED, 1e-5).unwrap();
        assert!(ends[0] < found && found < ends[1]);
    }

    #[test]
    fn some_order_converges_with_hardly_any_noise() {
        assert!(epsilon(0.02, 0.5, 1, 1e-5).is_finite());
    }

    #[test]
    fn composition_does_not_depend_on_grouping() {
        let whole = [steps(1.1, 0.01, 1000), steps(2.0, 0.02, 500)];
        let parts = [steps(2.0, 0.02, 100), steps(1.1, 0.01, 999), steps(2.0, 0.02, 400), steps(1.1, 0.01, 1)];
        let expected = Rdp.epsilon(&whole, ADDED, 1e-5).unwrap();
        close(Rdp.epsilon(&parts, ADDED, 1e-5).unwrap(), expected, 1e-12);
        assert!(expected > epsilon(1.1, 0.01, 1000, 1e-5));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn epsilon_grows_with_steps_and_rate_and_falls_with_noise(
            log_sigma in -1.0..3.0_f64,
            log_q in -10.0..0.0_f64,
            count in 1..100_000_u64,
            log_delta in -20.0..-2.0_f64,
            growth in 1.0..3.0_f64,
        ) {
            let (sigma, q, delta) = (log_sigma.exp(), log_q.exp(), log_delta.exp());
            let base = epsilon(sigma, q, count, delta);
            prop_assert!(base >= 0.0);
            let slack = 1.0 + 1e-9;
            prop_assert!(epsilon(sigma, q, (count as f64 * growth) as u64, delta) * slack >= base);
            prop_assert!(epsilon(sigma, (q * growth).min(1.0), count, delta) * slack >= base);
            prop_assert!(epsilon(sigma * growth, q, count, delta) <= base * slack);
            prop_assert!(epsilon(sigma, q, count, (delta * growth).min(0.5)) <= base * slack);
        }

        #[test]
        fn delta_and_epsilon_undo_each_other(
            log_sigma in -0.5..2.0_f64,
            log_q in -7.0..0.0_f64,
            count in 1..10_000_u64,
            log_delta in -20.0..-2.0_f64,
        ) {
            let history = [steps(log_sigma.exp(), log_q.exp(), count)];
            let delta = log_delta.exp();
            let epsilon = Rdp.epsilon(&history, ADDED, delta).unwrap();
            if epsilon > 0.0 && epsilon < 1e6 {
                let back = Rdp.delta(&history, ADDED, epsilon).unwrap();
                prop_assert!((back / delta - 1.0).abs() < 1e-6, "{} {}", back, delta);
            }
        }
    }
}
