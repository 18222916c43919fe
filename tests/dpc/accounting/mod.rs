//! The accountants against Google's `dp_accounting` 0.6.0, Opacus 1.6.0 and values published by others. The
//! golden files are written by `oracles/accounting.py`.

mod calibration;
mod distributions;
mod rdp;
mod selection;

use dpc::privacy::accountant::Mechanism;
use dpc::privacy::adjacency::Adjacency;
use dpc::privacy::sampling::Sampling;
use serde::Deserialize;

fn poisson(noise_multiplier: f64, rate: f64, steps: u64) -> Vec<Mechanism> {
    vec![Mechanism { noise_multiplier, sampling: Sampling::Poisson { rate }, steps }]
}

/// `known.json`.
#[derive(Deserialize)]
struct Known {
    google: Vec<Google>,
    opacus: Vec<Opacus>,
    fixed_size: Vec<FixedSize>,
}

/// Poisson sampling by `dp_accounting`.
#[derive(Deserialize)]
struct Google {
    noise_multiplier: f64,
    sample_rate: f64,
    steps: u64,
    delta: f64,
    rdp: f64,
    pld: f64,
    pld_replace_one: f64,
}

/// Poisson sampling by Opacus.
#[derive(Deserialize)]
struct Opacus {
    noise_multiplier: f64,
    sample_rate: f64,
    steps: u64,
    delta: f64,
    prv: f64,
}

/// `floors.json`: what PLD epsilons are not below, in the order of the other files.
#[derive(Deserialize)]
struct Floors {
    known: Vec<Floor>,
    random: Vec<Floor>,
    low_rates: Vec<LowRate>,
}

#[derive(Deserialize)]
struct Floor {
    add_remove: Least,
    replace_one: Least,
}

/// By `dp_accounting`.
#[derive(Deserialize)]
struct Least {
    /// Extrapolated to an infinitely fine grid, which is exact but for some 1e-5.
    extrapolated: f64,
    /// Its own lower bound, where it is any good.
    optimistic: Option<f64>,
}

#[derive(Deserialize)]
struct LowRate {
    #[serde(flatten)]
    setting: Setting,
    pld: f64,
    pld_replace_one: f64,
    #[serde(flatten)]
    floor: Floor,
}

#[derive(Deserialize)]
struct Setting {
    noise_multiplier: f64,
    sample_rate: f64,
    steps: u64,
    delta: f64,
}

fn floors() -> Floors {
    serde_json::from_str(include_str!("../../golden/floors.json")).unwrap()
}

impl Floor {
    fn of(&self, adjacency: Adjacency) -> &Least {
        if adjacency == Adjacency::AddRemove { &self.add_remove } else { &self.replace_one }
    }
}

impl Least {
    /// Whether an ε is not below the exact one.
    fn holds(&self, found: f64) -> bool {
        match self.optimistic {
            Some(least) => found >= least * (1.0 - 1e-9),
            None => found >= self.extrapolated * (1.0 - 1e-4),
        }
    }
}

/// Sampling without replacement by `dp_accounting`.
#[derive(Deserialize)]
struct FixedSize {
    noise_multiplier: f64,
    batch: u64,
    records: u64,
    steps: u64,
    delta: f64,
    rdp: f64,
}

/// Settings of well-known tutorials, tests and papers.
fn known() -> Known {
    let known: Known = serde_json::from_str(include_str!("../../golden/known.json")).unwrap();
    assert_eq!((known.google.len(), known.opacus.len(), known.fixed_size.len()), (19, 34, 6));
    known
}

/// 500 random mechanisms.
fn random() -> Vec<Google> {
    #[derive(Deserialize)]
    struct File {
        google: Vec<Google>,
    }
    let File { google } = serde_json::from_str(include_str!("../../golden/random.json")).unwrap();
    assert_eq!(google.len(), 500);
    google
}

impl Google {
    fn history(&self) -> Vec<Mechanism> {
        poisson(self.noise_multiplier, self.sample_rate, self.steps)
    }

    fn name(&self) -> String {
        format!("σ {} q {} T {} δ {}", self.noise_multiplier, self.sample_rate, self.steps, self.delta)
    }
}

/// The largest of some deviations, and what deviates so.
#[derive(Default)]
struct Worst {
    deviation: f64,
    name: String,
}

impl Worst {
    fn see(&mut self, deviation: f64, row: &Google) {
        if deviation > self.deviation {
            *self = Worst { deviation, name: row.name() };
        }
    }
}

impl std::fmt::Display for Worst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1e} ({})", self.deviation, self.name)
    }
}
