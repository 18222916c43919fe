//! Rényi differential privacy.

use dpc::privacy::accountant::{Accountant, Mechanism, Rdp};
use dpc::privacy::adjacency::Adjacency::{AddRemove, ReplaceOne};
use dpc::privacy::sampling::Sampling;
use serde::Deserialize;

use super::{Worst, known, poisson, random};

fn rdp(noise_multiplier: f64, rate: f64, steps: u64, delta: f64) -> f64 {
    Rdp.epsilon(&poisson(noise_multiplier, rate, steps), AddRemove, delta).unwrap()
}

/// Whether an ε is that of `dp_accounting`: a denser grid of orders gives lower values, never by much.
fn agrees(found: f64, expected: f64) -> bool {
    (0.98..=1.01).contains(&(found / expected))
}

/// RDP is never below PLD, which is all but exact; under replace-one adjacency `dp_accounting` has PLD only.
#[test]
fn rdp_of_known_settings() {
    for row in known().google {
        let found = Rdp.epsilon(&row.history(), AddRemove, row.delta).unwrap();
        assert!(agrees(found, row.rdp) && found > row.pld, "{}: {found}, not {}", row.name(), row.rdp);
        let replaced = Rdp.epsilon(&row.history(), ReplaceOne, row.delta).unwrap();
        let (least, most) = (row.pld_replace_one, 2.5 * row.pld_replace_one);
        assert!(least < replaced && replaced < most, "{}: {replaced}, not above {least}", row.name());
    }
}

/// `dp_accounting` takes the noise relative to what replacing a record can do, twice what removing it can.
#[test]
fn rdp_of_batches_of_a_fixed_size() {
    for row in known().fixed_size {
        let sampling = Sampling::FixedSize { units: row.records, batch: row.batch };
        let step = Mechanism { noise_multiplier: 2.0 * row.noise_multiplier, sampling, steps: row.steps };
        let found = Rdp.epsilon(&[step], ReplaceOne, row.delta).unwrap();
        assert!(agrees(found, row.rdp), "{step:?}: {found}, not {}", row.rdp);
    }
}

/// An epoch of shuffled batches is one Gaussian with half the noise: the closed forms without sampling.
#[test]
fn shuffled_epochs_are_not_amplified() {
    let sampling = Sampling::Shuffle { units: 60_000, batch: 256 };
    for (sigma, epochs) in [(2.0, 1), (20.0, 100)] {
        let found = Rdp.epsilon(&[Mechanism { noise_multiplier: sigma, sampling, steps: epochs }], ReplaceOne, 1e-5);
        assert!(agrees(found.unwrap(), 4.72850707));
    }
    assert!(Rdp.epsilon(&[Mechanism { noise_multiplier: 2.0, sampling, steps: 1 }], AddRemove, 1e-5).is_err());
}

/// Opacus, `tests/accountants_test.py`; its fractional orders are exact as ours are.
#[test]
fn rdp_of_opacus() {
    let found = rdp(1.5, 0.04, 2250, 1e-5);
    assert!((found / 7.32911117143 - 1.0).abs() < 1e-3, "{found}");
}

/// TensorFlow Privacy, `compute_dp_sgd_privacy_test.py`.
#[test]
fn rdp_of_tensorflow_privacy() {
    for (sigma, q, steps, delta, expected) in
        [(1.3, 150.0 / 60000.0, 6000, 1e-5, 0.7242234026), (1.0, 1e-3, 30_000, 1e-7, 1.41549884954)]
    {
        let found = rdp(sigma, q, steps, delta);
        assert!(agrees(found, expected), "{found}, not {expected}");
    }
}

#[derive(Deserialize)]
struct Golden {
    steps: Vec<Step>,
    replace_one_steps: Vec<Step>,
    mechanisms: Vec<Dense>,
}

#[derive(Deserialize)]
struct Step {
    noise_multiplier: f64,
    sample_rate: f64,
    order: f64,
    rdp: f64,
}

#[derive(Deserialize)]
struct Dense {
    noise_multiplier: f64,
    sample_rate: f64,
    steps: u64,
    delta: f64,
    epsilon: f64,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../golden/rdp.json")).unwrap()
}

/// Divergences integrated numerically. Integration errs by about 1e-15 in A.
#[test]
fn divergence_of_random_steps() {
    let Golden { steps, replace_one_steps, .. } = golden();
    assert_eq!((steps.len(), replace_one_steps.len()), (30, 30));
    let all = steps.iter().map(|row| (row, AddRemove)).chain(replace_one_steps.iter().map(|row| (row, ReplaceOne)));
    for (row, adjacency) in all {
        let sampling = Sampling::Poisson { rate: row.sample_rate };
        let found = Rdp::divergence(row.noise_multiplier, sampling, adjacency, row.order).unwrap();
        let error = (found - row.rdp) * (row.order - 1.0);
        let (sigma, q) = (row.noise_multiplier, row.sample_rate);
        assert!(
            error.abs() < 1e-9 * row.rdp.max(1e-3) + 1e-12,
            "{adjacency} {sigma} {q} {}: {found}, not {}",
            row.order,
            row.rdp
        );
    }
}

/// Random mechanisms, with exact divergences at fractional orders and a dense grid of orders.
#[test]
fn rdp_of_random_mechanisms() {
    let mechanisms = golden().mechanisms;
    assert_eq!(mechanisms.len(), 60);
    for row in mechanisms {
        let (sigma, q, steps) = (row.noise_multiplier, row.sample_rate, row.steps);
        let found = rdp(sigma, q, steps, row.delta);
        let expected = row.epsilon;
        assert!((0.99..=1.01).contains(&(found / expected)), "{sigma} {q} {steps}: {found}, not {expected}");
    }
}

/// RDP is between the PLD and the RDP of `dp_accounting`, many of whose fractional orders do not converge.
#[test]
fn rdp_of_500_random_mechanisms() {
    let (mut above, mut below) = (Worst::default(), Worst::default());
    for row in random() {
        let found = Rdp.epsilon(&row.history(), AddRemove, row.delta).unwrap();
        assert!(found >= row.pld && found <= row.rdp * 1.001, "{}: {found}, not {}", row.name(), row.rdp);
        let replaced = Rdp.epsilon(&row.history(), ReplaceOne, row.delta).unwrap();
        assert!(replaced >= row.pld_replace_one && replaced >= found, "{}: {replaced}", row.name());
        above.see(found / row.rdp - 1.0, &row);
        below.see(1.0 - found / row.rdp, &row);
    }
    println!("RDP beside dp_accounting's: at most {above} above, {below} below");
}
