//! Privacy loss distributions and privacy random variables.

use dpc::privacy::accountant::{Accountant, Gdp, Mechanism, Pld, Prv};
use dpc::privacy::adjacency::Adjacency::{AddRemove, ReplaceOne};
use dpc::privacy::sampling::Sampling;

use super::{LowRate, Setting, Worst, floors, known, poisson, random};

/// Never above `dp_accounting` on its default grid by 0.5 %, and never below what is exact.
#[test]
fn pld_of_known_settings() {
    for (row, floor) in known().google.iter().zip(floors().known) {
        for (adjacency, expected) in [(AddRemove, row.pld), (ReplaceOne, row.pld_replace_one)] {
            let found = Pld.epsilon(&row.history(), adjacency, row.delta).unwrap();
            let (name, floor) = (row.name(), floor.of(adjacency));
            assert!(found <= expected * 1.005 && floor.holds(found), "{adjacency} {name}: {found}, not {expected}");
        }
    }
}

/// Never above `dp_accounting` on its default grid by 0.5 %, never below what is exact, and near it where that grid is too
/// coarse.
#[test]
fn pld_of_500_random_mechanisms() {
    for adjacency in [AddRemove, ReplaceOne] {
        let (mut above, mut below) = (Worst::default(), Worst::default());
        for (row, floor) in random().iter().zip(floors().random) {
            let expected = if adjacency == AddRemove { row.pld } else { row.pld_replace_one };
            let found = Pld.epsilon(&row.history(), adjacency, row.delta).unwrap();
            let name = row.name();
            assert!(found <= expected * 1.005, "{adjacency} {name}: {found}, not {expected}");
            let floor = floor.of(adjacency);
            let exact = floor.extrapolated;
            assert!(floor.holds(found) && found <= exact * 1.01, "{adjacency} {name}: {found}, not {exact}");
            above.see(found / exact - 1.0, row);
            below.see(1.0 - found / exact, row);
        }
        println!("PLD ({adjacency}) beside an infinitely fine grid: at most {above} above, {below} below");
    }
}

/// Rates so low, and steps so many, that a unit is in few batches or none. Under replace-one adjacency no grid of
/// `dp_accounting` is fine enough there to tell the exact ε (its answers do not settle as the grid gets finer), which is at
/// least that of removing a unit.
#[test]
fn pld_of_low_rates() {
    for LowRate { setting, pld, pld_replace_one, floor } in floors().low_rates {
        let Setting { noise_multiplier: sigma, sample_rate: q, steps, delta } = setting;
        for (adjacency, expected) in [(AddRemove, pld), (ReplaceOne, pld_replace_one)] {
            let found = Pld.epsilon(&poisson(sigma, q, steps), adjacency, delta).unwrap();
            let exact = floor.of(AddRemove);
            let case = format!("{adjacency} σ {sigma} q {q} T {steps}: {found}, not {}", exact.extrapolated);
            assert!(exact.holds(found) && found <= 1.02 * expected, "{case}, nor {expected}");
            println!("{case}");
        }
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
