//! Privacy loss distributions and privacy random variables.

use dpc::privacy::accountant::{Accountant, Gdp, Mechanism, Pld, Prv};
use dpc::privacy::adjacency::Adjacency::{AddRemove, ReplaceOne};
use dpc::privacy::sampling::Sampling;

use super::{Worst, known, poisson, random};

#[test]
fn pld_of_known_settings() {
    for row in known().google {
        for (adjacency, expected) in [(AddRemove, row.pld), (ReplaceOne, row.pld_replace_one)] {
            let found = Pld.epsilon(&row.history(), adjacency, row.delta).unwrap();
            let name = row.name();
            assert!(
                found <= expected * 1.005 && found >= expected - 1e-3,
                "{adjacency} {name}: {found}, not {expected}"
            );
        }
    }
}

/// Never above `dp_accounting` on its default grid by 0.5 %, nor below it on a finer one by 1e-3.
#[test]
fn pld_of_500_random_mechanisms() {
    for adjacency in [AddRemove, ReplaceOne] {
        let (mut above, mut below) = (Worst::default(), Worst::default());
        for row in random() {
            let (expected, fine) = match adjacency {
                AddRemove => (row.pld, row.pld_fine),
                ReplaceOne => (row.pld_replace_one, row.pld_replace_one_fine),
            };
            let least = fine.unwrap_or(expected).min(expected) - 1e-3;
            let found = Pld.epsilon(&row.history(), adjacency, row.delta).unwrap();
            let name = row.name();
            assert!(found <= expected * 1.005 && found >= least, "{adjacency} {name}: {found}, not {expected}");
            above.see(found / expected - 1.0, &row);
            below.see(1.0 - found / expected, &row);
        }
        println!("PLD ({adjacency}) beside dp_accounting's: at most {above} above, {below} below");
    }
}

/// `dp_accounting`'s PLD of truncated Poisson sampling, σ 1, q 0.01, n 1000, T 128, δ 1e-6, by the most units of a
/// batch; 64 hardly ever truncate.
#[test]
fn pld_of_truncated_batches() {
    for (max_batch, expected) in [(16, 5.105), (24, 1.761), (32, 1.0154), (64, 1.01533)] {
        let sampling = Sampling::TruncatedPoisson { rate: 0.01, units: 1000, max_batch };
        let found = Pld.epsilon(&[Mechanism { noise_multiplier: 1.0, sampling, steps: 128 }], AddRemove, 1e-6);
        assert!((found.clone().unwrap() / expected - 1.0).abs() < 5e-3, "{max_batch}: {found:?}, not {expected}");
    }
}

/// The upper end of Opacus's interval, with its default error of 0.01 in ε.
#[test]
fn prv_of_opacus() {
    for row in known().opacus {
        let found =
            Prv.epsilon(&poisson(row.noise_multiplier, row.sample_rate, row.steps), AddRemove, row.delta).unwrap();
        let (sigma, q, steps) = (row.noise_multiplier, row.sample_rate, row.steps);
        assert!((found - row.prv).abs() < 1e-3, "σ {sigma} q {q} T {steps}: {found}, not {}", row.prv);
    }
}

/// The analytic Gaussian mechanism at δ = 1e-5, by `dp_accounting`, whose replace-one sensitivity is twice that of
/// add-remove.
#[test]
fn closed_forms_without_sampling() {
    for (sigma, expected) in
        [(0.5, 9.99725615), (1.0, 4.37717810), (2.0, 1.99309140), (4.0, 0.92634154), (10.0, 0.34066936)]
    {
        for accountant in [&Pld as &dyn Accountant, &Prv, &Gdp] {
            let close = |found: f64| (found / expected - 1.0).abs() < 1e-6;
            let one = accountant.epsilon(&poisson(sigma, 1.0, 1), AddRemove, 1e-5).unwrap();
            assert!(close(one), "{} {sigma}: {one}, not {expected}", accountant.name());
            let many = accountant.epsilon(&poisson(20.0 * sigma, 1.0, 100), ReplaceOne, 1e-5).unwrap();
            assert!(close(many), "{} {sigma}: {many}, not {expected}", accountant.name());
        }
    }
}

/// δ by `dp_accounting`, `pld_privacy_accountant_test.py`.
#[test]
fn deltas_of_three_steps() {
    for (sigma, q, expected) in [(3.0_f64.sqrt(), 1.0, 0.126936), (0.5, 0.2, 0.15594)] {
        let found = Pld.delta(&poisson(sigma, q, 3), AddRemove, 1.0).unwrap();
        assert!((found / expected - 1.0).abs() < 1e-3, "{found}, not {expected}");
    }
}
