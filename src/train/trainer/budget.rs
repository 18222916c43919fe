//! How many of a plan's steps its ε allows, after all that the ledger holds.

use super::{TrainError, Training};
use crate::privacy::ledger::Contents;

/// The end of the steps from number `step` on that the plan's ε allows after those in `ledger`: fewer than planned where
/// steps were repeated after a crash, or other runs share the ledger. None at all is an error for a run that begins.
pub(super) fn affordable(training: &Training<'_>, ledger: &Contents, step: u64) -> Result<u64, TrainError> {
    let Training { plan, accountant, .. } = training;
    let planned = plan.planned_steps;
    let Some(delta) = plan.delta else {
        return Ok(planned);
    };
    let history = ledger.history(plan);
    let after = |end: u64| {
        let all = [history.clone(), plan.planned(step..end)].concat();
        accountant.epsilon(&all, plan.adjacency, delta)
    };
    let target = plan.target_epsilon.map_or(f64::INFINITY, |target| target * (1.0 + 1e-9));
    // Steps below `low` are allowed, and those from `high` on are not.
    let (mut low, mut high) = (step, planned + 1);
    let mut next = planned;
    while low + 1 < high {
        if after(next)? <= target {
            low = next
        } else {
            high = next
        }
        next = low.midpoint(high);
    }
    match plan.target_epsilon {
        Some(target) if low == 0 && planned > 0 => {
            let (path, reached) = (training.ledger.clone(), after(1)?);
            Err(TrainError::Spent { path, target, reached })
        }
        _ => Ok(low),
    }
}
