//! What the same guarantee would have cost by Rényi accounting, which other trainers calibrate their noise by.

use serde::{Deserialize, Serialize};

use crate::privacy::accountant::{Accountant, Mechanism, Rdp};
use crate::privacy::adjacency::Adjacency;
use crate::privacy::calibrate::{self, Target};

/// The noise multiplier that Rényi accounting asks for where another accountant was used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What the noise multiplier of the plan would have to be for the same ε, δ and steps, to a relative 1e-3.
    pub rdp_noise_multiplier: f64,
    /// How much less noise there is, in percent of that.
    pub less_noise_percent: f64,
}

impl Comparison {
    /// For steps of `history` with the noise multiplier `sigma`, at (ε, δ). `None` where Rényi accounting has no
    /// bound, or was what was used.
    pub(super) fn new(
        accountant: &dyn Accountant,
        history: &[Mechanism],
        adjacency: Adjacency,
        sigma: f64,
        (epsilon, delta): (f64, f64),
    ) -> Option<Comparison> {
        if accountant.name() == Rdp.name() || epsilon <= 0.0 || sigma <= 0.0 {
            return None;
        }
        let scaled = |other: f64| -> Vec<Mechanism> {
            let scale =
                |entry: &Mechanism| Mechanism { noise_multiplier: entry.noise_multiplier / sigma * other, ..*entry };
            history.iter().map(scale).collect()
        };
        let rdp_noise_multiplier =
            calibrate::noise_multiplier(&Rdp, Target { epsilon, delta, adjacency }, scaled).ok()?;
        let less_noise_percent = 100.0 * (1.0 - sigma / rdp_noise_multiplier);
        Some(Comparison { rdp_noise_multiplier, less_noise_percent })
    }

    /// Whether two say the same: a search ends within its tolerance, and not always at the same number on another
    /// processor.
    pub(super) fn agrees(&self, other: &Comparison) -> bool {
        let ratio = self.rdp_noise_multiplier / other.rdp_noise_multiplier;
        (ratio - 1.0).abs() <= 2e-3 && (self.less_noise_percent - other.less_noise_percent).abs() <= 0.2
    }
}
