//! Strategies against JAX-Privacy's, by `tests/oracles/bandmf.py`, and sensitivities by brute force.

use serde::Deserialize;

use super::participation::{Participations, participations};
use super::strategy::{Correlation, Strategy, UNIT};
use crate::privacy::accountant::ACCOUNTANTS;
use crate::privacy::adjacency::Adjacency;
use crate::privacy::sampling::Sampling;

#[derive(Deserialize)]
struct Goldens {
    factorisations: Vec<Factorisation>,
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Factorisation {
    steps: u64,
    bands: u64,
    parts: u64,
    coefficients: Vec<f64>,
    mean_square: f64,
    step_squares: Vec<f64>,
    sensitivity: f64,
    participations: u64,
}

#[derive(Deserialize)]
struct Event {
    steps: u64,
    bands: u64,
    rate: f64,
    noise_multiplier: f64,
    delta: f64,
    epsilon: f64,
}

fn goldens() -> Goldens {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/bandmf.json"));
    serde_json::from_str(text).unwrap()
}

/// The error of prefix sums is JAX-Privacy's, within what rounding to integers costs.
#[test]
fn banded_strategies_are_those_of_jax_privacy() {
    for golden in goldens().factorisations {
        let strategy = Correlation::Banded { bands: golden.bands }.strategy(golden.parts, golden.steps);
        let Strategy::Banded { coefficients } = &strategy else { panic!("{strategy}") };
        let error = strategy.prefix_mean_square(golden.steps) / golden.mean_square - 1.0;
        // JAX-Privacy stops before its optimum, by as little.
        assert!((-1e-6..1e-3).contains(&error), "{} steps, {} bands: {error}", golden.steps, golden.bands);
        for (found, expected) in coefficients.iter().zip(&golden.coefficients) {
            let expected = expected / golden.coefficients[0];
            assert!((f64::from(*found) / f64::from(UNIT) - expected).abs() < 0.01, "{found} {expected}");
        }
        let square = strategy.column_square() as f64 / f64::from(UNIT).powi(2);
        let of_jax: f64 = golden.coefficients.iter().map(|c| (c / golden.coefficients[0]).powi(2)).sum();
        assert!((square / of_jax - 1.0).abs() < 0.01);
        // The noise of single steps, at sensitivity 1.
        for (step, expected) in golden.step_squares.iter().enumerate() {
            let found = strategy.step_square(step as u64);
            assert!((found / expected - 1.0).abs() < 0.02, "{step}: {found} {expected}");
        }
    }
}

/// The sensitivity over the norm of a column is the root of the participations, less what the last columns are short
/// of.
#[test]
fn participations_are_those_of_jax_privacy() {
    for golden in goldens().factorisations {
        let strategy = Correlation::Banded { bands: golden.bands }.strategy(golden.parts, golden.steps);
        let found = participations(std::slice::from_ref(&(0..golden.steps)), (0.5, golden.parts), &strategy);
        assert_eq!(found, [Participations::of_run(golden.steps, golden.parts)]);
        assert_eq!(found[0].count, golden.participations);
        let most = (golden.participations as f64).sqrt();
        assert!(golden.sensitivity <= most * (1.0 + 1e-9) && golden.sensitivity > 0.9 * most);
    }
}

#[test]
fn epsilons_are_those_of_jax_privacy() {
    for golden in goldens().events {
        let found = Participations::of_run(golden.steps, golden.bands);
        let sampling = Sampling::Cyclic { rate: golden.rate, parts: golden.bands };
        let history = [found.mechanism(golden.noise_multiplier, sampling)];
        let epsilon = ACCOUNTANTS[0].epsilon(&history, Adjacency::AddRemove, golden.delta).unwrap();
        assert!((epsilon / golden.epsilon - 1.0).abs() < 2e-3, "{epsilon} {}", golden.epsilon);
    }
}

/// The rows of K, column by column, from what the stream makes of them.
fn matrix(strategy: &Strategy, steps: usize) -> Vec<Vec<f64>> {
    let mut rows = vec![vec![0.0; steps]; steps];
    for (step, row) in rows.iter_mut().enumerate() {
        match strategy {
            Strategy::Banded { coefficients } => {
                for (back, &k) in coefficients.iter().enumerate().take(step + 1) {
                    row[step - back] = f64::from(k);
                }
            }
            Strategy::Tree { leaves } => {
                let width = 1 << (step as u64 % leaves + 1).trailing_zeros();
                row[step + 1 - width..=step].fill(1.0);
            }
        }
    }
    rows
}

/// Whatever a unit adds at each of its turns, `‖K ΔX‖² ≤ κ² Σ ‖Δx‖²`, and its participations have no row in common.
#[test]
fn no_unit_moves_more_than_its_columns() {
    for (correlation, parts) in [
        (Correlation::Banded { bands: 3 }, 3),
        (Correlation::Banded { bands: 3 }, 5),
        (Correlation::Tree, 1),
        (Correlation::Tree, 7),
        (Correlation::Tree, 8),
    ] {
        let steps = 24;
        let strategy = correlation.strategy(parts, steps as u64);
        let rows = matrix(&strategy, steps);
        for part in 0..parts as usize {
            let turns: Vec<usize> = (part..steps).step_by(parts as usize).collect();
            for row in &rows {
                assert!(turns.iter().filter(|turn| row[**turn] != 0.0).count() <= 1, "{strategy}");
            }
            for turn in turns {
                let square: f64 = rows.iter().map(|row| row[turn] * row[turn]).sum();
                for (at, row) in rows.iter().enumerate().skip(turn) {
                    assert_eq!(row[turn] * row[turn], strategy.square(at as u64, turn as u64) as f64);
                    assert!(row[turn] == 0.0 || strategy.first_reaching(at as u64, parts) <= turn as u64);
                }
                assert!(square <= strategy.column_square() as f64);
                let reached = rows.iter().rposition(|row| row[turn] != 0.0).unwrap() as u64;
                assert!(reached < strategy.reach(turn as u64, parts));
            }
        }
        let first: f64 = rows.iter().map(|row| row[0] * row[0]).sum();
        assert_eq!(first, strategy.column_square() as f64, "{strategy}");
    }
}

/// The errors by the matrices themselves.
#[test]
fn errors_are_those_of_the_matrices() {
    for (correlation, parts, steps) in [(Correlation::Banded { bands: 4 }, 4, 20), (Correlation::Tree, 7, 20)] {
        let strategy = correlation.strategy(parts, steps as u64);
        let rows = matrix(&strategy, steps);
        // K⁻¹, row by row, by forward substitution.
        let mut inverse: Vec<Vec<f64>> = Vec::new();
        for (t, row) in rows.iter().enumerate() {
            let element = |j: usize| {
                let before: f64 = (j..t).map(|i| row[i] * inverse[i][j]).sum();
                if j > t { 0.0 } else { (f64::from(u8::from(t == j)) - before) / row[t] }
            };
            let next = (0..steps).map(element).collect();
            inverse.push(next);
        }
        let square = strategy.column_square() as f64;
        for (t, row) in inverse.iter().enumerate() {
            let expected: f64 = row.iter().map(|value| value * value).sum::<f64>() * square;
            assert!((strategy.step_square(t as u64) / expected - 1.0).abs() < 1e-9, "{strategy} {t}");
        }
        let mut mean = 0.0;
        for t in 0..steps {
            mean += (0..steps).map(|j| (0..=t).map(|i| inverse[i][j]).sum::<f64>().powi(2)).sum::<f64>() * square;
        }
        let found = strategy.prefix_mean_square(steps as u64);
        assert!((found / (mean / steps as f64) - 1.0).abs() < 1e-9, "{strategy}: {found}");
    }
}

#[test]
fn correlations_read_back() {
    for text in ["banded:1", "banded:100", "tree"] {
        assert_eq!(text.parse::<Correlation>().unwrap().to_string(), text);
    }
    for text in ["banded", "banded:0", "banded:5000", "banded:x", "tree:3", "", "toeplitz"] {
        assert!(text.parse::<Correlation>().is_err(), "{text}");
    }
}

/// Noise that cancels: prefix sums are less noisy than by independent noise of the same participations.
#[test]
fn many_steps_gain() {
    let error = |correlation: Correlation| correlation.strategy(100, 400).prefix_mean_square(400);
    let independent = error(Correlation::Banded { bands: 1 });
    assert!((independent - 200.5).abs() < 1e-6);
    let banded = error(Correlation::Banded { bands: 100 });
    assert!(banded < independent / 20.0, "{banded}");
    let tree = error(Correlation::Tree);
    assert!(tree < independent / 3.0 && tree > banded, "{tree}");
}
