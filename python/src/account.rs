//! `dpc.account`: what Poisson sampling and noise cost.

use dpc::privacy::accountant::{ACCOUNTANTS, Mechanism};
use dpc::privacy::adjacency::Adjacency;
use dpc::privacy::calibrate::{self, Target};
use dpc::privacy::sampling::Sampling;
use pyo3::prelude::*;

use crate::errors::Kind;

fn history(rate: f64, noise_multiplier: f64, steps: u64) -> Vec<Mechanism> {
    vec![Mechanism { noise_multiplier, sampling: Sampling::Poisson { rate }, steps }]
}

/// ε of so many steps.
#[pyfunction]
#[pyo3(name = "account_epsilon")]
pub fn epsilon(py: Python<'_>, rate: f64, noise_multiplier: f64, steps: u64, delta: f64) -> PyResult<f64> {
    let history = history(rate, noise_multiplier, steps);
    py.detach(|| ACCOUNTANTS[0].epsilon(&history, Adjacency::AddRemove, delta)).map_err(|error| Kind::Plan.of(&error))
}

/// The least noise that keeps so many steps to (ε, δ).
#[pyfunction]
#[pyo3(name = "account_noise_multiplier")]
pub fn noise_multiplier(py: Python<'_>, rate: f64, epsilon: f64, steps: u64, delta: f64) -> PyResult<f64> {
    let target = Target { epsilon, delta, adjacency: Adjacency::AddRemove };
    let found = py.detach(|| calibrate::noise_multiplier(ACCOUNTANTS[0], target, |noise| history(rate, noise, steps)));
    found.map_err(|error| Kind::Plan.of(&error))
}
