//! What became of a certificate on a ledger that other runs went on with.

use std::fmt;

use super::{Certificate, Claim, VerifyError, epsilon};
use crate::privacy::accountant;
use crate::privacy::ledger::Contents;

/// Steps that a ledger counts since a certificate was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Growth {
    /// How many.
    pub steps: u64,
    /// The runs that took them, each with the number of its steps.
    pub runs: Vec<(String, u64)>,
    /// What holds for all steps of the ledger together, in words.
    pub together: String,
}

impl Certificate {
    /// What was recorded in `ledger` since this certificate was written; `None` where nothing was, or where the ledger
    /// does not go on from what the certificate knew.
    ///
    /// # Errors
    /// When the named accountant does not exist, or the ledger's numbers are out of range.
    pub fn growth(&self, ledger: &Contents) -> Result<Option<Growth>, VerifyError> {
        let Some(before) = self.ledger_then(ledger) else { return Ok(None) };
        if before.steps() == ledger.steps() {
            return Ok(None);
        }
        let mut runs: Vec<(String, u64)> = Vec::new();
        for entry in ledger.entries().iter().skip(before.entries().len()) {
            match runs.iter_mut().find(|(run, _)| *run == entry.run) {
                Some((_, steps)) => *steps += 1,
                None => runs.push((entry.run.clone(), 1)),
            }
        }
        let accountant = accountant::by_name(&self.accountant)?;
        let all = epsilon(&self.plan, &ledger.history(&self.plan), ledger.steps(), accountant)
            .map_err(super::NoCertificate::from)?;
        let together = Claim::new(&self.plan, ledger.insecure(), all).statement(&self.plan);
        Ok(Some(Growth { steps: ledger.steps() - before.steps(), runs, together }))
    }

    /// The part of `ledger` that this certificate was written from, if it is there unchanged.
    pub(super) fn ledger_then(&self, ledger: &Contents) -> Option<Contents> {
        ledger.until(self.ledger.entries).filter(|before| before.head() == self.ledger)
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs: Vec<String> = self.runs.iter().map(|(run, steps)| format!("{steps} of run {run}")).collect();
        let (are, runs) = (if self.steps == 1 { "step is" } else { "steps are" }, runs.join(", "));
        let whose = if runs.is_empty() { "one that is torn".to_owned() } else { runs };
        write!(
            f,
            "{} more {are} counted in the ledger since: {whose}. Of all of them together: {}",
            self.steps, self.together
        )
    }
}
