//! The accountants against Google's `dp_accounting` 0.6.0 and values published by others.

use dpc::privacy::accountant::{self, Accountant, Rdp};
use dpc::privacy::adjacency::Adjacency;
use dpc::privacy::calibrate::{Target, noise_multiplier};
use dpc::privacy::sampling::Sampling;
use serde::Deserialize;

/// A denser grid of orders gives lower values, never by much.
fn agrees(found: f64, expected: f64) -> bool {
    (0.98..=1.01).contains(&(found / expected))
}

fn epsilon(noise_multiplier: f64, rate: f64, steps: u64, delta: f64) -> f64 {
    let history = [accountant::Mechanism { noise_multiplier, sampling: Sampling::Poisson { rate }, steps }];
    Rdp.epsilon(&history, Adjacency::AddRemove, delta).unwrap()
}

/// Settings of well-known tutorials, tests and papers: σ, q, T, δ and ε by `dp_accounting`.
#[test]
fn rdp_of_known_settings() {
    let rows = [
        (1.1, 256.0 / 60000.0, 14062, 1e-5, 2.59655587),
        (1.3, 250.0 / 60000.0, 3600, 1e-5, 0.94220022),
        (1.3, 0.0025, 6000, 1e-5, 0.72422340),
        (1.3, 256.0 / 60000.0, 3510, 1e-5, 0.95375729),
        (1.5, 0.04, 2250, 1e-5, 7.32933470),
        (1.54, 0.02048, 1470, 1e-5, 2.61396528),
        (1.23, 512.0 / 60000.0, 4720, 1e-5, 2.59059827),
        (4.05, 8192.0 / 60000.0, 320, 1e-5, 2.78271587),
        (0.8, 0.05, 100, 1e-6, 7.66563677),
        (1.5, 0.001, 1000, 1e-6, 0.33380178),
        (3.0, 0.1, 512, 1e-6, 4.05097038),
        (1.0, 0.01, 1000, 1e-5, 2.10136653),
        (1.0, 1.0, 1, 1e-5, 4.72850707),
        (10.0, 1.0, 100, 1e-5, 4.72850707),
        (1.0, 1e-4, 100_000, 1e-6, 0.61761934),
        (0.5, 0.01, 1000, 1e-5, 15.47213342),
        (20.0, 0.5, 2000, 1e-5, 5.38653818),
        (2.0, 64.0 / 1437.0, 660, 1e-4, 2.44901242),
        (10.0, 4096.0 / 50000.0, 875, 1e-5, 0.98771),
    ];
    for (sigma, q, steps, delta, expected) in rows {
        let found = epsilon(sigma, q, steps, delta);
        assert!(agrees(found, expected), "{sigma} {q} {steps}: {found}, not {expected}");
    }
}

/// Opacus, `tests/accountants_test.py`; its fractional orders are exact as ours are.
#[test]
fn rdp_of_opacus() {
    let found = epsilon(1.5, 0.04, 2250, 1e-5);
    assert!((found / 7.32911117143 - 1.0).abs() < 1e-3, "{found}");
}

/// TensorFlow Privacy, `compute_dp_sgd_privacy_test.py`.
#[test]
fn rdp_of_tensorflow_privacy() {
    for (sigma, q, steps, delta, expected) in
        [(1.3, 150.0 / 60000.0, 6000, 1e-5, 0.7242234026), (1.0, 1e-3, 30_000, 1e-7, 1.41549884954)]
    {
        let found = epsilon(sigma, q, steps, delta);
        assert!(agrees(found, expected), "{found}, not {expected}");
    }
}

#[derive(Deserialize)]
struct Golden {
    steps: Vec<Step>,
    mechanisms: Vec<Mechanism>,
}

#[derive(Deserialize)]
struct Step {
    noise_multiplier: f64,
    sample_rate: f64,
    order: f64,
    rdp: f64,
}

#[derive(Deserialize)]
struct Mechanism {
    noise_multiplier: f64,
    sample_rate: f64,
    steps: u64,
    delta: f64,
    epsilon: f64,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/rdp.json")).unwrap()
}

/// Divergences integrated numerically. Integration errs by about 1e-15 in A.
#[test]
fn divergence_of_random_steps() {
    let steps = golden().steps;
    assert_eq!(steps.len(), 30);
    for row in steps {
        let (sigma, q) = (row.noise_multiplier, row.sample_rate);
        let found = Rdp::divergence(sigma, Sampling::Poisson { rate: q }, Adjacency::AddRemove, row.order).unwrap();
        let error = (found - row.rdp) * (row.order - 1.0);
        assert!(error.abs() < 1e-9 * row.rdp.max(1e-3) + 1e-12, "{sigma} {q} {}: {found}, not {}", row.order, row.rdp);
    }
}

/// Random mechanisms, with exact divergences at fractional orders (`oracles/accounting.py`).
#[test]
fn rdp_of_random_mechanisms() {
    let mechanisms = golden().mechanisms;
    assert_eq!(mechanisms.len(), 60);
    for row in mechanisms {
        let (sigma, q, steps) = (row.noise_multiplier, row.sample_rate, row.steps);
        let found = epsilon(sigma, q, steps, row.delta);
        let expected = row.epsilon;
        assert!((0.99..=1.01).contains(&(found / expected)), "{sigma} {q} {steps}: {found}, not {expected}");
    }
}

/// σ for well-known settings: q, T, target ε, δ and σ by `dp_accounting`.
#[test]
fn calibrated_noise_of_known_settings() {
    let rows = [
        (512.0 / 60000.0, 4688, 1.0, 1e-5, 2.49351),
        (512.0 / 60000.0, 4688, 2.0, 1e-5, 1.45648),
        (512.0 / 60000.0, 4688, 3.0, 1e-5, 1.12348),
        (2048.0 / 60000.0, 1172, 1.0, 1e-5, 4.83537),
        (2048.0 / 60000.0, 1172, 2.7, 1e-5, 2.09104),
        (2048.0 / 60000.0, 1172, 3.0, 1e-5, 1.92868),
        (1024.0 / 50000.0, 1465, 3.0, 1e-5, 1.40064),
        (1024.0 / 50000.0, 1465, 8.0, 1e-5, 0.83405),
        (4096.0 / 50000.0, 875, 1.0, 1e-5, 9.88956),
    ];
    for (rate, steps, goal, delta, expected) in rows {
        let sampling = Sampling::Poisson { rate };
        let target = Target { epsilon: goal, delta, sampling, adjacency: Adjacency::AddRemove, steps };
        let sigma = noise_multiplier(&Rdp, target).unwrap();
        assert!((sigma / expected - 1.0).abs() < 5e-3, "{sigma}, not {expected}");
        assert!(epsilon(sigma, rate, steps, delta) <= goal);
    }
}
