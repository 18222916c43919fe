//! What several runs guarantee together.

use super::{Certificate, VerifyError, epsilon};
use crate::privacy::accountant;
use crate::privacy::ledger::Contents;

/// A guarantee of all steps of some ledgers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Joint {
    /// The ε of all of them.
    pub epsilon: f64,
    /// At this δ, the largest of the certificates'.
    pub delta: f64,
    /// How many steps they count.
    pub steps: u64,
}

/// What holds for all steps of different ledgers together, each with a certificate of a run on it, if every one of them is of the same
/// data. `None` where one guarantees nothing, or where they are for different neighbours.
///
/// # Errors
/// When a named accountant does not exist, or a ledger's numbers are out of range.
pub fn together(ledgers: &[(&Certificate, &Contents)]) -> Result<Option<Joint>, VerifyError> {
    let Some(&(first, _)) = ledgers.first() else { return Ok(None) };
    let alike = |certificate: &Certificate| {
        certificate.plan.adjacency == first.plan.adjacency && certificate.plan.unit == first.plan.unit
    };
    if ledgers.iter().any(|(certificate, ledger)| !certificate.guarantee || ledger.insecure() || !alike(certificate)) {
        return Ok(None);
    }
    // Of the plans one stands for all: what its grid has elements costs the more the more there are.
    let elements = |certificate: &Certificate| certificate.plan.grid.as_ref().map_or(0, |grid| grid.elements);
    let Some((widest, _)) = ledgers.iter().max_by_key(|(certificate, _)| elements(certificate)) else {
        return Ok(None);
    };
    let delta = ledgers.iter().filter_map(|(certificate, _)| certificate.plan.delta).fold(0.0, f64::max);
    let mut spec = (*widest.plan).clone();
    spec.delta = Some(delta);
    let Ok(plan) = crate::privacy::plan::PrivacyPlan::new(spec) else { return Ok(None) };
    let histories = ledgers.iter().flat_map(|(certificate, ledger)| ledger.history(&certificate.plan));
    let accountant = accountant::by_name(&first.accountant)?;
    let steps = ledgers.iter().map(|(_, ledger)| ledger.steps()).sum();
    let found =
        epsilon(&plan, &histories.collect::<Vec<_>>(), steps, accountant).map_err(super::NoCertificate::from)?;
    Ok(found.map(|epsilon| Joint { epsilon, delta, steps }))
}
