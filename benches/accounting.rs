//! How long the accountants take: one ε, and one calibration of the noise, by every accountant.
//!
//!     cargo bench --bench accounting

use std::hint::black_box;
use std::time::{Duration, Instant};

use dpc::privacy::accountant::{ACCOUNTANTS, Accountant, Mechanism};
use dpc::privacy::adjacency::Adjacency;
use dpc::privacy::calibrate::{Target, noise_multiplier};
use dpc::privacy::sampling::Sampling;

const RUNS: usize = 9;
const DELTA: f64 = 1e-6;

/// Sample rates and steps, the longest training last.
const TRAININGS: [(f64, u64); 3] = [(0.01, 1000), (256.0 / 60000.0, 14_062), (0.001, 100_000)];

fn main() {
    println!("medians of {RUNS} runs\n");
    println!("accountant  adjacency    rate      steps   epsilon at σ = 1   calibration to ε = 3");
    for accountant in ACCOUNTANTS {
        for adjacency in [Adjacency::AddRemove, Adjacency::ReplaceOne] {
            for (rate, steps) in TRAININGS {
                row(*accountant, adjacency, rate, steps);
            }
        }
    }
}

fn row(accountant: &dyn Accountant, adjacency: Adjacency, rate: f64, steps: u64) {
    let history = |noise_multiplier| vec![Mechanism { noise_multiplier, sampling: Sampling::Poisson { rate }, steps }];
    let epsilon = median(|| accountant.epsilon(&history(1.0), adjacency, DELTA).expect("valid numbers"));
    let target = Target { epsilon: 3.0, delta: DELTA, adjacency };
    let calibration = median(|| noise_multiplier(accountant, target, history).expect("a target within reach"));
    println!(
        "{:<11} {:<12} {rate:<8.5} {steps:>7} {epsilon:>13.2?} {calibration:>20.2?}",
        accountant.name(),
        adjacency.to_string()
    );
}

fn median(work: impl Fn() -> f64) -> Duration {
    let time = |_| {
        let start = Instant::now();
        black_box(work());
        start.elapsed()
    };
    let mut times: Vec<Duration> = (0..RUNS).map(time).collect();
    times.sort();
    times[RUNS / 2]
}
