//! The choice among trials against Google's `dp_accounting` 0.6.0; the golden file is written by `oracles/selection.py`.

use dpc::privacy::accountant::Selection;
use dpc::privacy::accountant::selection::Candidate;
use dpc::privacy::adjacency::Adjacency::AddRemove;
use serde::Deserialize;

use super::poisson;

#[derive(Deserialize)]
struct Row {
    trials: String,
    noise_multiplier: f64,
    sample_rate: f64,
    steps: u64,
    delta: f64,
    epsilon: f64,
    /// At whole orders alone.
    event: f64,
}

#[test]
fn a_choice_costs_what_google_says() {
    let rows: Vec<Row> = serde_json::from_str(include_str!("../../golden/selection.json")).unwrap();
    assert!(rows.len() >= 90);
    for row in rows {
        let history = poisson(row.noise_multiplier, row.sample_rate, row.steps);
        let candidate = Candidate { history, steps: row.steps, numbers: None };
        let selection = Selection::new(row.trials.parse().unwrap(), [candidate]);
        let found = selection.epsilon(AddRemove, row.delta).unwrap();
        let close = (found / row.epsilon - 1.0).abs() < 1e-5 && found <= row.event * (1.0 + 1e-6) + 1e-8;
        assert!(close, "{} of σ = {}: {found}, not {}", row.trials, row.noise_multiplier, row.epsilon);
    }
}
