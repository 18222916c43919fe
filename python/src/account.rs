//! `dpc.account`: what Poisson sampling and noise cost.

use dpc::privacy::accountant::{Accountant, Mechanism, by_name};
use dpc::privacy::adjacency::Adjacency;
use dpc::privacy::calibrate::{self, Target};
use dpc::privacy::sampling::Sampling;
use pyo3::prelude::*;

use crate::errors::Kind;

fn history(rate: f64, noise_multiplier: f64, steps: u64) -> Vec<Mechanism> {
    vec![Mechanism { noise_multiplier, sampling: Sampling::Poisson { rate }, steps }]
}

fn named(accountant: &str) -> PyResult<&'static dyn Accountant> {
    by_name(accountant).map_err(|error| Kind::Plan.of(&error))
}

/// ε of so many steps.
#[pyfunction]
#[pyo3(name = "account_epsilon")]
pub fn epsilon(
    py: Python<'_>,
    rate: f64,
    noise_multiplier: f64,
    steps: u64,
    delta: f64,
    accountant: &str,
) -> PyResult<f64> {
    let (accountant, history) = (named(accountant)?, history(rate, noise_multiplier, steps));
    py.detach(|| accountant.epsilon(&history, Adjacency::AddRemove, delta)).map_err(|error| Kind::Plan.of(&error))
}

/// The least noise that keeps so many steps to (ε, δ).
#[pyfunction]
#[pyo3(name = "account_noise_multiplier")]
pub fn noise_multiplier(
    py: Python<'_>,
    rate: f64,
    epsilon: f64,
    steps: u64,
    delta: f64,
    accountant: &str,
) -> PyResult<f64> {
    let accountant = named(accountant)?;
    let target = Target { epsilon, delta, adjacency: Adjacency::AddRemove };
    let found = py.detach(|| calibrate::noise_multiplier(accountant, target, |noise| history(rate, noise, steps)));
    found.map_err(|error| Kind::Plan.of(&error))
}
