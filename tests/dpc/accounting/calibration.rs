//! Calibrations of noise, steps and sample rate.

use dpc::privacy::accountant::{Accountant, Gdp, Pld, Prv, Rdp};
use dpc::privacy::adjacency::Adjacency::AddRemove;
use dpc::privacy::calibrate::{Target, noise_multiplier, sample_rate, steps};

use super::poisson;

fn target(epsilon: f64, delta: f64) -> Target {
    Target { epsilon, delta, adjacency: AddRemove }
}

fn sigma(accountant: &dyn Accountant, target: Target, rate: f64, steps: u64) -> f64 {
    let found = noise_multiplier(accountant, target, |sigma| poisson(sigma, rate, steps)).unwrap();
    assert!(accountant.epsilon(&poisson(found, rate, steps), AddRemove, target.delta).unwrap() <= target.epsilon);
    found
}

fn close(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 5e-3, "{found}, not {expected}");
}

/// Settings calibrated with `dp_accounting` at δ = 1e-5: q, T, target ε, and σ by RDP and by PLD.
const CALIBRATED: [(f64, u64, f64, f64, f64); 9] = [
    (512.0 / 60000.0, 4688, 1.0, 2.49351, 2.32376),
    (512.0 / 60000.0, 4688, 2.0, 1.45648, 1.37270),
    (512.0 / 60000.0, 4688, 3.0, 1.12348, 1.06864),
    (2048.0 / 60000.0, 1172, 1.0, 4.83537, 4.46840),
    (2048.0 / 60000.0, 1172, 2.7, 2.09104, 1.95714),
    (2048.0 / 60000.0, 1172, 3.0, 1.92868, 1.80853),
    (1024.0 / 50000.0, 1465, 3.0, 1.40064, 1.32175),
    (1024.0 / 50000.0, 1465, 8.0, 0.83405, 0.79888),
    (4096.0 / 50000.0, 875, 1.0, 9.88956, 9.12811),
];

#[test]
fn noise_of_known_settings() {
    for (rate, steps, epsilon, by_rdp, by_pld) in CALIBRATED {
        close(sigma(&Rdp, target(epsilon, 1e-5), rate, steps), by_rdp);
        close(sigma(&Pld, target(epsilon, 1e-5), rate, steps), by_pld);
    }
}

/// The steps and the sample rate that some noise was calibrated for are found again; the steps less exactly, as
/// they answer for the square of the noise.
#[test]
fn steps_and_rates_of_known_settings() {
    for (rate, count, epsilon, by_rdp, by_pld) in CALIBRATED {
        for (accountant, sigma) in [(&Rdp as &dyn Accountant, by_rdp), (&Pld, by_pld)] {
            let spent = |rate, count| accountant.epsilon(&poisson(sigma, rate, count), AddRemove, 1e-5).unwrap();
            let most = steps(accountant, target(epsilon, 1e-5), |steps| poisson(sigma, rate, steps)).unwrap();
            assert!((most as f64 / count as f64 - 1.0).abs() < 0.015, "{most}, not {count}");
            assert!(spent(rate, most) <= epsilon);
            let found = sample_rate(accountant, target(epsilon, 1e-5), |rate| poisson(sigma, rate, count)).unwrap();
            close(found, rate);
            assert!(spent(found, count) <= epsilon);
        }
    }
}

/// Opacus, `get_noise_multiplier` at ε = 8, q = 0.04, δ = 1e-5, which searches to within 0.01 of ε.
#[test]
fn noise_of_opacus() {
    for (steps, by_rdp, by_prv) in [(2249, 1.416, 1.34765625), (2000, 1.3562, 1.2915)] {
        close(sigma(&Rdp, target(8.0, 1e-5), 0.04, steps), by_rdp);
        close(sigma(&Prv, target(8.0, 1e-5), 0.04, steps), by_prv);
    }
    close(sigma(&Gdp, target(8.0, 1e-5), 0.04, 2249), 1.3232421875);
}

/// Values in the tests and documentation of `dp_accounting` and JAX-Privacy, and the analytic Gaussian mechanism.
#[test]
fn noise_of_google() {
    for (epsilon, delta, rate, steps, expected) in [
        (1.0, 1e-5, 0.01, 1, 0.67379294682),
        (1.0, 1e-5, 0.001, 25, 3.20956502598 / 6.0),
        (1.0, 0.78760074, 1.0, 1, 1.0 / 3.0),
        (1.0, 1e-6, 0.1, 512, 9.66),
        (1.0, 1e-5, 1.0, 1, 3.73063163),
        (1.0, 1e-6, 1.0, 1, 4.22467889),
    ] {
        close(sigma(&Pld, target(epsilon, delta), rate, steps), expected);
    }
    assert_eq!(steps(&Pld, target(2.0, 1e-6), |steps| poisson(3.0, 0.1, steps)), Ok(155));
}
