//! How long the accountants take: one ε, and one calibration of the noise, by every accountant; and the same
//! for schedules of thousands of noise multipliers.
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
    schedules();
}

/// Each step's noise beside the one before, and the first one's for an ε.
const SCHEDULES: [(f64, f64); 2] = [(0.9997, 64.0), (0.99995, 2.0)];

fn schedules() {
    println!("\naccountant  schedule        steps   epsilon      calibration to ε = 3");
    let (rate, steps) = TRAININGS[1];
    for accountant in ACCOUNTANTS {
        for (factor, first) in SCHEDULES {
            let step =
                |noise_multiplier| Mechanism { noise_multiplier, sampling: Sampling::Poisson { rate }, steps: 1 };
            let history = |first: f64| (0..steps as i32).map(|i| step(first * factor.powi(i))).collect::<Vec<_>>();
            let (epsilon, calibration) = times(*accountant, Adjacency::AddRemove, first, history);
            println!("{:<11} {factor}^t {steps:>13} {epsilon:>9.2?} {calibration:>20.2?}", accountant.name());
        }
    }
}

/// Of an ε at σ = `noise`, and of a calibration.
fn times(
    accountant: &dyn Accountant,
    adjacency: Adjacency,
    noise: f64,
    history: impl Fn(f64) -> Vec<Mechanism>,
) -> (Duration, Duration) {
    let target = Target { epsilon: 3.0, delta: DELTA, adjacency };
    let epsilon = median(|| accountant.epsilon(&history(noise), adjacency, DELTA).expect("valid numbers"));
    (epsilon, median(|| noise_multiplier(accountant, target, &history).expect("a target within reach")))
}

fn row(accountant: &dyn Accountant, adjacency: Adjacency, rate: f64, steps: u64) {
    let history = |noise_multiplier| vec![Mechanism { noise_multiplier, sampling: Sampling::Poisson { rate }, steps }];
    let (epsilon, calibration) = times(accountant, adjacency, 1.0, history);
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
