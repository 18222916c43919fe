use proptest::prelude::*;
use serde::Deserialize;

use super::*;

const ADDED: Adjacency = Adjacency::AddRemove;
const REPLACED: Adjacency = Adjacency::ReplaceOne;

fn mechanism(noise_multiplier: f64, sampling: Sampling, steps: u64) -> Mechanism {
    Mechanism { noise_multiplier, sampling, steps }
}

fn poisson(noise_multiplier: f64, rate: f64, steps: u64) -> Mechanism {
    mechanism(noise_multiplier, Sampling::Poisson { rate }, steps)
}

fn epsilon(history: &[Mechanism], adjacency: Adjacency, delta: f64) -> f64 {
    Pld.epsilon(history, adjacency, delta).unwrap()
}

fn delta(history: &[Mechanism], adjacency: Adjacency, epsilon: f64) -> f64 {
    Pld.delta(history, adjacency, epsilon).unwrap()
}

/// tests/oracles/pld.py
#[derive(Deserialize)]
struct Golden {
    histories: Vec<History>,
    pairs: Vec<PairOfSteps>,
}

#[derive(Deserialize)]
struct History {
    steps: Vec<(f64, f64, u64)>,
    adjacency: Adjacency,
    delta: f64,
    epsilon: f64,
    #[serde(rename = "epsilon_at_1e-4")]
    default: f64,
}

#[derive(Deserialize)]
struct PairOfSteps {
    steps: Vec<(f64, f64)>,
    epsilon: f64,
    delta: f64,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../../tests/golden/pld.json")).unwrap()
}

/// Never below the truth, and hardly above what others say.
#[test]
fn histories_of_one_and_more_mechanisms() {
    for row in golden().histories {
        let history: Vec<Mechanism> = row.steps.iter().map(|&(sigma, q, n)| poisson(sigma, q, n)).collect();
        let found = epsilon(&history, row.adjacency, row.delta);
        let case = format!("{:?} {} δ={}: {found}, not {}", row.steps, row.adjacency, row.delta, row.epsilon);
        assert!(found >= row.epsilon * (1.0 - 1e-5) - 1e-6, "{case}");
        assert!(found <= f64::max(row.epsilon, row.default) * 1.001, "{case}");
    }
}

/// Deltas however small, of compositions that are far from normal.
#[test]
fn deltas_of_two_steps() {
    for row in golden().pairs {
        let history: Vec<Mechanism> = row.steps.iter().map(|&(sigma, q)| poisson(sigma, q, 1)).collect();
        let found = delta(&history, ADDED, row.epsilon);
        let case = format!("{:?} ε={}: {found:e}, not {:e}", row.steps, row.epsilon, row.delta);
        assert!(found >= row.delta * (1.0 - 1e-9), "{case}");
        assert!(found <= row.delta * 1.05, "{case}");
    }
}

/// One step in closed form: `δ(ε) = q H(N(μ), N(0))` at `α = 1 + (e^ε-1)/q` (Balle et al. 2018, Theorem 2).
#[test]
fn single_steps_in_closed_form() {
    for (sigma, q) in [(0.5, 0.01), (1.0, 0.3), (1.0, 1e-4), (3.0, 0.05), (0.3, 1e-3)] {
        for epsilon in [0.01, 0.1, 1.0, 3.0, 10.0] {
            let exact = q * gaussian::delta(1.0 / sigma, libm::log1p(libm::expm1(epsilon) / q));
            let found = delta(&[poisson(sigma, q, 1)], ADDED, epsilon);
            assert!(found >= exact * (1.0 - 1e-9), "{sigma} {q} {epsilon}: {found:e}, not {exact:e}");
            if exact > 1e-12 {
                assert!(found <= exact * 1.05, "{sigma} {q} {epsilon}: {found:e}, not {exact:e}");
            }
        }
    }
}

/// dp_accounting 0.6.0, for 1,000 units as the larger dataset; here either dataset has so many.
#[test]
fn truncated_poisson() {
    for (max_batch, expected) in [(16, 5.1048), (24, 1.7612), (32, 1.01529), (64, 1.01522)] {
        let sampling = Sampling::TruncatedPoisson { rate: 0.01, units: 1000, max_batch };
        let found = epsilon(&[mechanism(1.0, sampling, 128)], ADDED, 1e-6);
        assert!((found / expected - 1.0).abs() < 4e-3, "{max_batch}: {found}");
        // dp_accounting's bound for replace-one is as if a unit could move the sum by 4.
        assert!(epsilon(&[mechanism(1.0, sampling, 128)], REPLACED, 1e-6) > found);
    }
    // No truncation, and no sampling but truncation.
    let all = Sampling::TruncatedPoisson { rate: 0.1, units: 100, max_batch: 101 };
    assert_eq!(epsilon(&[mechanism(1.0, all, 9)], ADDED, 1e-5), epsilon(&[poisson(1.0, 0.1, 9)], ADDED, 1e-5));
    let full = Sampling::TruncatedPoisson { rate: 1.0, units: 100, max_batch: 10 };
    let fixed = Sampling::FixedSize { units: 100, batch: 10 };
    let (truncated, fixed) = (mechanism(3.0, full, 50), mechanism(3.0, fixed, 50));
    let (truncated, fixed) = (epsilon(&[truncated], REPLACED, 1e-5), epsilon(&[fixed], REPLACED, 1e-5));
    assert!((truncated / fixed - 1.0).abs() < 1e-5, "{truncated} {fixed}");
}

#[test]
fn binomial_tails() {
    // scipy 1.17.1: binom.sf(B-1, m, q), binom.cdf(B-1, m, q) and B/(m+1) binom.sf(B, m+1, q) by the first.
    for (rate, others, max_batch, full, plain, share) in [
        (0.01, 999, 16, 0.04752691295237383, 0.9524730870476262, 0.008884578027966283),
        (0.01, 999, 24, 0.00010747453929794663, 0.9998925254607021, 0.009385488036049541),
        (0.01, 999, 32, 1.8942886271508245e-08, 0.9999999810571137, 0.00958350869062838),
        (0.01, 999, 64, 9.121558298124416e-31, 1.0, 0.009821076594526157),
        (0.1, 10_000_000, 999_905, 0.5400369124727411, 0.4599630875272589, 0.09992076198510501),
        (0.1, 10_000_000, 1_003_000, 0.0007875257245097013, 0.9992124742754903, 0.09997419512309976),
        (0.1, 10_000_000, 990_000, 1.0, 2.3575135061379693e-26, 0.09899999010000099),
        (0.1, 10_000_000, 1_030_000, 7.273456213470039e-218, 1.0, 0.09999700603960786),
        (1e-3, 100_000_000, 101_000, 0.000795470143735835, 0.9992045298562642, 0.0009991410450644698),
        (0.01, 1_000_000_000, 10_010_000, 0.0007425548546030758, 0.9992574451453969, 0.009999147353355605),
        (0.5, 1_000_000, 300_000, 1.0, 0.0, 0.2999997000003),
    ] {
        let found = neighbours::Truncation::new(rate, others, max_batch).unwrap();
        let close = |found: f64, expected: f64| {
            let case = format!("{rate} {others} {max_batch}: {found}, not {expected}");
            assert!((found - expected).abs() <= 1e-7 * expected + 1e-280, "{case}");
        };
        close(found.full, full);
        close(found.plain, plain);
        close(found.share, share);
        assert!(found.full + found.plain >= 1.0 && found.full + found.plain < 1.0 + 1e-7);
    }
    // Every sum that is short has an answer; others have none.
    for (rate, others) in [(5e-324, u64::MAX), (1.0 - f64::EPSILON, 1 << 40), (1e-17, 1 << 60)] {
        assert!(neighbours::Truncation::new(rate, others, others / 2).is_some());
    }
    assert!(neighbours::Truncation::new(0.5, 1 << 50, 1 << 49).is_none());
}

/// Where the chance of truncation is not summed up, as if every batch were full, with the unit as likely in it.
#[test]
fn truncated_poisson_of_many_units() {
    let truncated = |units| Sampling::TruncatedPoisson { rate: 0.01, units, max_batch: units / 100 };
    let of = |units| epsilon(&[mechanism(2.0, truncated(units), 100)], ADDED, 1e-6);
    let fixed = epsilon(&[poisson(1.0, 0.01, 100)], ADDED, 1e-6);
    let (few, many) = (of(10_000_000), of(1 << 60));
    assert!(few < many && (many / fixed - 1.0).abs() < 1e-12, "{few} {many} {fixed}");
}

/// Replacing a unit of a batch of fixed size: all of Rényi's bound with the same sensitivity, and less than
/// twice that of Poisson sampling with half of the noise.
#[test]
fn fixed_size_and_shuffle() {
    let fixed = |sigma: f64| mechanism(sigma, Sampling::FixedSize { units: 60_000, batch: 256 }, 14_062);
    // dp_accounting's RDP for a noise multiplier of 1.1 beside what replacing one unit does, here 2.
    assert!(epsilon(&[fixed(2.2)], REPLACED, 1e-5) < 5.243);
    assert!(epsilon(&[fixed(4.4)], REPLACED, 1e-5) < 2.110);
    let removed = epsilon(&[poisson(1.1, 256.0 / 60_000.0, 14_062)], ADDED, 1e-5);
    assert!(epsilon(&[fixed(2.2)], REPLACED, 1e-5) > removed);
    let whole = mechanism(3.0, Sampling::FixedSize { units: 10, batch: 10 }, 4);
    assert!((epsilon(&[whole], REPLACED, 1e-5) / gaussian::epsilon(4.0 / 3.0, 1e-5) - 1.0).abs() < 1e-12);
    let epochs = mechanism(3.0, Sampling::Shuffle { units: 10, batch: 2 }, 4);
    assert_eq!(epsilon(&[epochs], REPLACED, 1e-5), epsilon(&[whole], REPLACED, 1e-5));
    for history in [fixed(1.0), epochs] {
        assert!(Pld.epsilon(&[history], ADDED, 1e-5).is_err());
        assert!(Pld.delta(&[history], ADDED, 1.0).is_err());
    }
}

#[test]
fn steps_without_sampling_are_exact() {
    let close = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-7, "{found} {expected}");
    close(epsilon(&[poisson(1.0, 1.0, 1)], ADDED, 1e-5), 4.37717810);
    close(epsilon(&[poisson(10.0, 1.0, 64), poisson(10.0, 1.0, 36)], ADDED, 1e-5), 4.37717810);
    close(epsilon(&[poisson(1.0, 1.0, 1)], REPLACED, 1e-5), 9.99725615);
    close(epsilon(&[poisson(3.73063163, 1.0, 1)], ADDED, 1e-5), 1.0);
    close(delta(&[poisson(1.0, 1.0, 1)], ADDED, 0.0), 0.38292492254802624);
}

#[test]
fn edges() {
    for adjacency in [ADDED, REPLACED] {
        let epsilon = |sigma: f64, q: f64, count: u64| epsilon(&[poisson(sigma, q, count)], adjacency, 1e-5);
        assert_eq!(Pld.epsilon(&[], adjacency, 1e-5).unwrap(), 0.0);
        assert_eq!(Pld.delta(&[], adjacency, 0.0).unwrap(), 0.0);
        assert_eq!(epsilon(1.0, 0.1, 0), 0.0);
        assert_eq!(epsilon(0.0, 0.1, 0), 0.0);
        assert_eq!(epsilon(1.0, 0.0, 100), 0.0);
        assert_eq!(epsilon(0.0, 0.0, 100), 0.0);
        assert_eq!(epsilon(0.0, 0.1, 1), f64::INFINITY);
        assert_eq!(delta(&[poisson(0.0, 0.1, 1)], adjacency, 1.0), 1.0);
        for (sigma, q, count) in [
            (1e-200, 1e-200, 1),
            (1e200, 1e-200, u64::MAX),
            (1e-200, 0.5, u64::MAX),
            (1e200, 0.5, 1),
            (1.0, f64::MIN_POSITIVE / 4.0, u64::MAX),
            (5e-324, 5e-324, 1),
            (1.0, 1e-12, 1 << 50),
            (1e-4, 1e-3, 1000),
        ] {
            assert!(epsilon(sigma, q, count) >= 0.0, "{sigma} {q}");
            let delta = delta(&[poisson(sigma, q, count)], adjacency, 0.5);
            assert!((0.0..=1.0).contains(&delta), "{sigma} {q}: {delta}");
        }
        assert!(epsilon(1.0, 1e-3, u64::MAX) > 1e9);
        // The unit is in half of all batches, and then the loss is 50²/2 or so.
        assert!((1400.0..1500.0).contains(&epsilon(0.02, 0.5, 1)));
        assert!(epsilon(1.0, 1.0 - f64::EPSILON, 1) > 4.377);
    }
}

/// Steps of many noise multipliers are joined to fewer, on the safe side.
#[test]
fn many_distinct_steps() {
    let schedule =
        |count: u64| (0..count).map(move |i| poisson(1.0 + (i as f64 + 0.5) / count as f64, 0.01, 1000 / count));
    let few = epsilon(&schedule(40).collect::<Vec<_>>(), ADDED, 1e-5);
    for count in [200, 1000] {
        let many = epsilon(&schedule(count).collect::<Vec<_>>(), ADDED, 1e-5);
        assert!(many > few * (1.0 - 1e-3) && many < few * (1.0 + 8e-3), "{count}: {few} {many}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Within the accuracy of the grid.
    #[test]
    fn epsilon_grows_with_steps_and_rate_and_falls_with_noise(
        log_sigma in -1.0..3.0_f64,
        log_q in -9.0..0.0_f64,
        count in 1..100_000_u64,
        log_delta in -25.0..-2.0_f64,
        growth in 1.0..3.0_f64,
        replaced in any::<bool>(),
    ) {
        let (sigma, q, delta) = (log_sigma.exp(), log_q.exp(), log_delta.exp());
        let adjacency = if replaced { REPLACED } else { ADDED };
        let epsilon = |sigma: f64, q: f64, count: u64, delta: f64| epsilon(&[poisson(sigma, q, count)], adjacency, delta);
        let base = epsilon(sigma, q, count, delta);
        prop_assert!(base >= 0.0 && base.is_finite());
        let slack = if base > 1.0 { 1.001 } else { 1.005 };
        prop_assert!(epsilon(sigma, q, (count as f64 * growth) as u64, delta) * slack >= base);
        prop_assert!(epsilon(sigma, (q * growth).min(1.0), count, delta) * slack >= base);
        prop_assert!(epsilon(sigma * growth, q, count, delta) <= base * slack + 1e-9);
        prop_assert!(epsilon(sigma, q, count, (delta * growth).min(0.5)) <= base * slack + 1e-9);
    }

    #[test]
    fn composition_does_not_depend_on_grouping(
        log_sigma in -0.5..2.0_f64,
        log_q in -7.0..-0.5_f64,
        count in 2..10_000_u64,
        share in 0.0..1.0_f64,
    ) {
        let (sigma, q) = (log_sigma.exp(), log_q.exp());
        let first = (count as f64 * share) as u64;
        let other = poisson(2.0 * sigma, q, 10);
        let whole = epsilon(&[poisson(sigma, q, count), other], ADDED, 1e-6);
        let parts = epsilon(&[poisson(sigma, q, first), other, poisson(sigma, q, count - first)], ADDED, 1e-6);
        prop_assert_eq!(whole, parts);
    }
}
