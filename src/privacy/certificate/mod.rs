//! The certificate: what a training run guarantees, in a form that anyone can check from its ledger.

mod claim;
mod comparison;
mod error;
mod growth;
mod joint;
mod page;
mod words;

use std::fmt;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use claim::Claim;
pub use comparison::Comparison;
pub use error::{CertificateError, NoCertificate, VerifyError};
pub use growth::Growth;
pub use joint::{Joint, together};
use words::Words;

use crate::files::{self, FileError};

use super::accountant::selection::Candidate;
use super::accountant::{self, Accountant, InvalidInput, Mechanism, Rdp, Selection};
use super::correlation::Correlation;
use super::discrete::Smoothing;
use super::ledger::{Contents, Head};
use super::plan::PrivacyPlan;

/// The content of `certificate.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// The version of this format.
    pub version: u32,
    /// Whether (ε, δ) below is guaranteed.
    pub guarantee: bool,
    /// The guarantee in words, or why there is none.
    pub statement: String,
    /// The ε of all steps in the ledger, the best bound that the accountant gives; none where it is
    /// infinite or training was not private.
    pub epsilon: Option<f64>,
    /// The accountant's name.
    pub accountant: String,
    /// What Rényi accounting would have asked for, where another was used.
    pub comparison: Option<Comparison>,
    /// The steps that the ledger counts.
    pub steps: u64,
    /// How many ranks took them together, each its share of every batch, and after them how many others; nothing where it was
    /// always one process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranks: Vec<u64>,
    /// The plan that sampling, clipping, noise and division took their numbers from.
    #[serde(flatten)]
    pub plan: PrivacyPlan,
    /// The steps as the accountant was given them; of a selection none, as its candidates have them.
    pub history: Vec<Mechanism>,
    /// The choice among trials that the released parameters are of, where they are of one. ε is then that of the choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Selection>,
    /// What the guarantee covers.
    pub covers: Vec<String>,
    /// What it does not.
    pub does_not_cover: Vec<String>,
    /// What was made of the released steps, at no cost of privacy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_processing: Vec<String>,
    /// What was trained, and on data of which form.
    pub provenance: Provenance,
    /// The software that trained, with its version.
    pub software: String,
    /// The state of the ledger.
    pub ledger: Head,
}

/// SHA-256 digests, in hexadecimal, of what a run was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Of the source ONNX model.
    pub source_model: String,
    /// Of the compiled program.
    pub program: String,
    /// Of the names, types and shapes of the data's arrays, without any value.
    pub data_schema: String,
    /// The file that initial values were taken from, where they are not the source model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_values: Option<InitialValues>,
}

/// A file of initial values, which were made before the run and are taken to be public.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitialValues {
    /// Its name, without folders.
    pub file: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

impl fmt::Display for InitialValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SHA-256 {})", self.file, self.sha256)
    }
}

const VERSION: u32 = 3;
/// How far a recomputed ε may lie from the stated one, relative where ε is above 1.
const EPSILON_TOLERANCE: f64 = 1e-9;

impl Certificate {
    /// The certificate of what `ledger` says was done under `plan`.
    ///
    /// # Errors
    /// When the ledger holds what `accountant` cannot work with, or its answers are no bounds.
    pub fn new(
        plan: &PrivacyPlan,
        ledger: &Contents,
        accountant: &dyn Accountant,
        provenance: Provenance,
    ) -> Result<Certificate, NoCertificate> {
        if !accountant.is_bound() {
            return Err(NoCertificate::Approximation { accountant: accountant.name() });
        }
        if ledger.has_trials() {
            return Err(NoCertificate::Trial);
        }
        let selection = ledger.selection();
        let (accountant, history, epsilon) = match selection {
            Some(selection) => (&Rdp as &dyn Accountant, Vec::new(), selected(plan, ledger, selection)?),
            None => {
                let history = ledger.history(plan);
                let epsilon = epsilon(plan, &history, ledger.steps(), accountant)?;
                (accountant, history, epsilon)
            }
        };
        let claim = Claim::new(plan, ledger.insecure(), epsilon);
        let comparison = epsilon
            .zip(plan.delta)
            .and_then(|bound| Comparison::new(accountant, &history, plan.adjacency, plan.noise_multiplier, bound));
        Ok(Certificate {
            version: VERSION,
            guarantee: matches!(claim, Claim::Private { .. }),
            statement: claim.statement(plan),
            epsilon,
            accountant: accountant.name().to_owned(),
            comparison,
            steps: ledger.steps(),
            ranks: Some(ledger.ranks()).filter(|ranks| *ranks != [1]).unwrap_or_default(),
            plan: plan.clone(),
            history,
            covers: claim.covers(plan, selection),
            does_not_cover: claim.does_not_cover(plan, selection, provenance.initial_values.as_ref()),
            selection: selection.cloned(),
            post_processing: Vec::new(),
            provenance,
            software: concat!("dpc ", env!("CARGO_PKG_VERSION")).to_owned(),
            ledger: ledger.head(),
        })
    }

    /// Writes the certificate as indented JSON, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), CertificateError> {
        let mut text = serde_json::to_string_pretty(self).map_err(|source| FileError::write(path, source.into()))?;
        text.push('\n');
        Ok(files::write_atomic(path, |file| file.write_all(text.as_bytes()))?)
    }

    /// Writes the page for people, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_page(&self, path: &Path) -> Result<(), CertificateError> {
        Ok(files::write_atomic(path, |file| file.write_all(self.page().as_bytes()))?)
    }

    /// Reads a certificate.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a certificate of this version with a valid plan.
    pub fn read(path: &Path) -> Result<Certificate, CertificateError> {
        let text = files::read(path)?;
        let certificate: Certificate = serde_json::from_slice(&text)
            .map_err(|source| CertificateError::Parse { path: path.to_owned(), source })?;
        if certificate.version == VERSION {
            Ok(certificate)
        } else {
            Err(CertificateError::Version { path: path.to_owned(), version: certificate.version })
        }
    }

    /// Works the certificate out again from what `ledger` held when it was written, and returns every member that differs:
    /// none for a certificate that holds. [`Certificate::growth`] says what came after.
    ///
    /// # Errors
    /// When the named accountant does not exist, or the ledger's numbers are out of range.
    pub fn mismatches(&self, ledger: &Contents) -> Result<Vec<Mismatch>, VerifyError> {
        let then = self.ledger_then(ledger);
        let ledger = then.as_ref().unwrap_or(ledger);
        let accountant = accountant::by_name(&self.accountant)?;
        let again = Certificate::new(&self.plan, ledger, accountant, self.provenance.clone())?;
        let mut found = Vec::new();
        let mut compare = |member: &'static str, stated: String, recomputed: String, same: bool| {
            if !same {
                found.push(Mismatch { member, stated, recomputed });
            }
        };
        macro_rules! equal {
            ($member:ident) => {
                compare(stringify!($member), self.$member.words(), again.$member.words(), self.$member == again.$member)
            };
        }
        equal!(guarantee);
        compare("epsilon", self.epsilon.words(), again.epsilon.words(), same_epsilon(self.epsilon, again.epsilon));
        let same_comparison = match (self.comparison, again.comparison) {
            (Some(a), Some(b)) => a.agrees(&b),
            (a, b) => a == b,
        };
        compare("comparison", self.comparison.words(), again.comparison.words(), same_comparison);
        equal!(steps);
        equal!(accountant);
        equal!(ranks);
        equal!(history);
        equal!(selection);
        equal!(ledger);
        equal!(covers);
        equal!(does_not_cover);
        let statement = Claim::new(&self.plan, ledger.insecure(), self.epsilon).statement(&self.plan);
        compare("statement", self.statement.clone(), statement.clone(), self.statement == statement);
        for (member, stated, recorded) in self.constants(ledger) {
            compare(member, stated.clone(), recorded.clone(), stated == recorded);
        }
        Ok(found)
    }

    /// Every digest that differs from those of `found`, what was really trained.
    pub fn provenance_mismatches(&self, found: &Provenance) -> Vec<Mismatch> {
        let stated = &self.provenance;
        let initial = |values: &Option<InitialValues>| match values {
            Some(values) => values.to_string(),
            None => "none".to_owned(),
        };
        [
            ("source_model", stated.source_model.clone(), found.source_model.clone()),
            ("program", stated.program.clone(), found.program.clone()),
            ("data_schema", stated.data_schema.clone(), found.data_schema.clone()),
            ("initial_values", initial(&stated.initial_values), initial(&found.initial_values)),
        ]
        .into_iter()
        .filter(|(_, stated, found)| stated != found)
        .map(|(member, stated, recomputed)| Mismatch { member, stated, recomputed })
        .collect()
    }

    /// The plan's constants beside those with which the ledger's last step was taken.
    fn constants(&self, ledger: &Contents) -> Vec<(&'static str, String, String)> {
        let Some(last) = ledger.entries().iter().rfind(|entry| !entry.recovered) else {
            return vec![];
        };
        let plan = &self.plan;
        if let Some(selection) = &last.selection {
            let own = Candidate::of(plan);
            let among = selection.candidates.contains(&own);
            let recorded = if among { own.words() } else { selection.candidates.words() };
            return vec![
                ("trial", own.words(), recorded),
                ("unit", plan.unit.to_string(), last.unit.to_string()),
                ("insecure_seed", plan.insecure_seed.is_some().words(), last.insecure.words()),
            ];
        }
        vec![
            ("sampling", plan.sampling.to_string(), last.sampling.to_string()),
            ("expected_batch", plan.expected_batch.to_string(), last.expected_batch.to_string()),
            ("noise_multiplier", plan.noise_multiplier_at(last.step).to_string(), last.noise_multiplier.to_string()),
            (
                "noise_correlation",
                correlated(plan.correlation.as_ref().map(|s| s.correlation())),
                correlated(last.noise_correlation),
            ),
            ("clip", plan.clip.to_string(), last.clip.clone()),
            ("unit", plan.unit.to_string(), last.unit.to_string()),
            ("insecure_seed", plan.insecure_seed.is_some().words(), last.insecure.words()),
        ]
    }
}

fn epsilon(
    plan: &PrivacyPlan,
    history: &[Mechanism],
    releases: u64,
    accountant: &dyn Accountant,
) -> Result<Option<f64>, InvalidInput> {
    let Some(delta) = plan.delta else {
        return Ok(None);
    };
    // Steps of correlated noise are more than their participations.
    let steps = history.iter().map(|mechanism| mechanism.steps).sum::<u64>().max(releases);
    let excess = plan.released_numbers().map(|numbers| Smoothing::USUAL.excess(steps, numbers));
    let continuous = accountant.epsilon(history, plan.adjacency, delta)?;
    let epsilon = match excess {
        Some(excess) => {
            // An accountant's own rounding may be more than the difference.
            let inner = accountant.epsilon(history, plan.adjacency, excess.inner_delta(delta))?;
            excess.outer_epsilon(inner.max(continuous))
        }
        None => continuous,
    };
    Ok(Some(epsilon).filter(|epsilon| epsilon.is_finite()))
}

/// ε of the selection that is all that the ledger holds; none where there is more, to which nothing adds it up.
fn selected(plan: &PrivacyPlan, ledger: &Contents, selection: &Selection) -> Result<Option<f64>, InvalidInput> {
    match plan.delta.filter(|_| ledger.steps() == 1) {
        Some(delta) => Ok(Some(selection.epsilon(plan.adjacency, delta)?).filter(|epsilon| epsilon.is_finite())),
        None => Ok(None),
    }
}

fn correlated(correlation: Option<Correlation>) -> String {
    correlation.map_or("none".to_owned(), |correlation| correlation.to_string())
}

fn same_epsilon(stated: Option<f64>, recomputed: Option<f64>) -> bool {
    match (stated, recomputed) {
        (Some(a), Some(b)) => (a - b).abs() <= EPSILON_TOLERANCE * b.max(1.0),
        (a, b) => a == b,
    }
}

/// A member of a certificate that the ledger does not bear out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The member's name.
    pub member: &'static str,
    /// What the certificate says.
    pub stated: String,
    /// What the ledger gives.
    pub recomputed: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { member, stated, recomputed } = self;
        write!(f, "{member}: the certificate says {stated}, the ledger {recomputed}")
    }
}

#[cfg(test)]
mod tests;
