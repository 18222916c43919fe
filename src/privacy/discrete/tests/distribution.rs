//! Ten million draws each, by the sampler as it is used.

use super::*;

const DRAWS: usize = 10_000_000;

/// χ² over cells of 1/8 of a K, where there is one, and of single integers elsewhere; and over the last bits of y.
fn has_the_distribution(s: f64, seed: u64) {
    let sampler = DiscreteGaussian::new(scale(s));
    let s = sampler.scale().to_f64();
    let values = draw(seed, &sampler, DRAWS);
    let width = ((1 << sampler.shift) / 8).max(1);
    let rarity_of_cells = Cells::new(s, width, DRAWS).rarity(&values);
    assert!(rarity_of_cells > RARE, "{rarity_of_cells}");
    if s > 1e4 {
        let mut last = [0.0; 256];
        values.iter().for_each(|value| last[(value & 255) as usize] += 1.0);
        let found = rarity(&last, &[1.0 / 256.0; 256]);
        assert!(found > RARE, "{found}");
    }
    has_the_moments(s, &values);
    has_the_tails(s, &values);
}

/// The first four moments within 5 deviations of their estimators.
fn has_the_moments(s: f64, values: &[i64]) {
    let (all, n) = (total(s), values.len() as f64);
    let exact = |k: i32| {
        let reach = (15.0 * s) as i64 + 2;
        2.0 * (1..reach).map(|z| (z as f64 / s).powi(k) * weight(s, z)).sum::<f64>() / all
    };
    for k in [1, 2, 3, 4] {
        let found = values.iter().map(|&z| (z as f64 / s).powi(k)).sum::<f64>() / n;
        let expected = if k % 2 == 0 { exact(k) } else { 0.0 };
        let deviation = ((exact(2 * k) - expected * expected) / n).sqrt();
        assert!((found - expected).abs() < 5.0 * deviation, "{k}: {found}, not {expected}");
    }
}

/// Counts beyond 3, 4 and 5 s, each side, within 5 Poisson deviations.
fn has_the_tails(s: f64, values: &[i64]) {
    let all = total(s);
    for far in [3.0, 4.0, 5.0] {
        let from = (far * s).ceil() as i64;
        let tail = (from..=(15.0 * s) as i64 + 2).map(|z| weight(s, z)).sum::<f64>() / all;
        let expected = values.len() as f64 * tail;
        for sign in [1, -1] {
            let count = values.iter().filter(|z| sign * **z >= from).count() as f64;
            assert!((count - expected).abs() < 5.0 * expected.sqrt() + 1.0, "{far}: {count}, not {expected}");
        }
    }
}

#[test]
fn s_of_seven_tenths() {
    has_the_distribution(0.7, 1);
}

#[test]
fn s_of_three() {
    has_the_distribution(3.0, 2);
}

#[test]
fn s_of_a_thousand() {
    has_the_distribution(1000.0, 3);
}

#[test]
fn s_of_two_to_the_twentieth() {
    has_the_distribution(f64::from(1 << 20), 4);
}

/// Where y has more bits than a word has for it. The cells' probabilities are those of the normal distribution, which differ by less
/// than rounding does.
#[test]
fn s_of_two_to_the_thirty_fifth() {
    let sampler = DiscreteGaussian::new(scale(2_f64.powi(35) * 1.3));
    let s = sampler.scale().to_f64();
    let values = draw(5, &sampler, 500_000);
    let below = |z: f64| 0.5 * libm::erfc(-z / s / std::f64::consts::SQRT_2);
    let ends: Vec<i64> = (-300..300).map(|i| (f64::from(i) * s / 100.0) as i64).collect();
    let mut last = 0.0;
    let mut probabilities: Vec<f64> =
        ends.iter().map(|&end| below(end as f64 - 0.5)).map(|p| p - std::mem::replace(&mut last, p)).collect();
    probabilities.push(1.0 - last);
    let found = Cells { ends, probabilities }.rarity(&values);
    assert!(found > RARE, "{found}");
    for shift in [0, 8, 16, 22] {
        let mut bits = [0.0; 256];
        values.iter().for_each(|value| bits[(value >> shift & 255) as usize] += 1.0);
        assert!(rarity(&bits, &[1.0 / 256.0; 256]) > RARE);
    }
}
