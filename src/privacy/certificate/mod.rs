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
mod tests {
    use super::*;
    use crate::privacy::accountant::Rdp;
    use crate::privacy::adjacency::{Adjacency, Unit};
    use crate::privacy::keys::sha256_hex;
    use crate::privacy::ledger::Ledger;
    use crate::privacy::plan::{self, PlanSpec};
    use crate::privacy::sampling::Sampling;

    fn provenance() -> Provenance {
        Provenance {
            source_model: sha256_hex(b"model"),
            program: sha256_hex(b"program"),
            data_schema: sha256_hex(b"schema"),
            initial_values: None,
        }
    }

    fn private() -> PlanSpec {
        PlanSpec { insecure_seed: None, ..plan::example() }
    }

    fn contents(plan: &PrivacyPlan, steps: u64) -> Contents {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.jsonl");
        let mut ledger = Ledger::open(&path, "run", plan).unwrap();
        for step in 0..steps {
            let _ = ledger.record(step).unwrap();
        }
        ledger.contents().clone()
    }

    fn certify(spec: PlanSpec, steps: u64) -> (Certificate, Contents) {
        let plan = PrivacyPlan::new(spec).unwrap();
        let ledger = contents(&plan, steps);
        let certificate = Certificate::new(&plan, &ledger, &Rdp, provenance()).unwrap();
        (certificate, ledger)
    }

    #[test]
    fn states_what_the_ledger_holds_and_is_verified_from_a_file() {
        let (certificate, ledger) = certify(private(), 20);
        assert!(certificate.guarantee);
        assert_eq!(certificate.steps, 20);
        let expected = Rdp
            .epsilon(&[Mechanism { steps: 20, ..certificate.plan.mechanism(0) }], certificate.plan.adjacency, 1e-5)
            .unwrap();
        assert_eq!(certificate.epsilon, Some(expected));

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("certificate.json");
        certificate.write(&path).unwrap();
        let read = Certificate::read(&path).unwrap();
        assert_eq!(read, certificate);
        assert_eq!(read.mismatches(&ledger), Ok(vec![]));
    }

    #[test]
    fn its_members_have_the_contracted_names() {
        let (certificate, _) = certify(PlanSpec { public_units: Some(256), ..private() }, 1);
        let value = serde_json::to_value(&certificate).unwrap();
        for (name, expected) in [
            ("adjacency", "\"add-remove\""),
            ("unit", "\"record\""),
            ("sampling", "\"poisson\""),
            ("accountant", "\"rdp\""),
            ("sample_rate", "0.25"),
            ("expected_batch", "64.0"),
            ("noise_multiplier", "1.5"),
            ("clip", "\"flat:2.0\""),
            ("delta", "0.00001"),
            ("steps", "1"),
            ("public_units", "256"),
            ("guarantee", "true"),
        ] {
            let found: serde_json::Value = value[name].clone();
            assert_eq!(found, serde_json::from_str::<serde_json::Value>(expected).unwrap());
        }
        let last = certificate.does_not_cover.last().unwrap();
        assert!(last.contains("number of units"));
    }

    #[test]
    fn guarantees_nothing_without_secret_noise() {
        let cases = [
            (PlanSpec { insecure_seed: Some(3), ..private() }, "seed", true),
            (PlanSpec { non_private: true, delta: None, noise_multiplier: 0.0, ..private() }, "not private", false),
            (PlanSpec { noise_multiplier: 0.0, ..private() }, "no finite epsilon", false),
        ];
        for (spec, reason, has_epsilon) in cases {
            let (certificate, ledger) = certify(spec, 3);
            assert!(!certificate.guarantee);
            assert!(certificate.statement.contains("Nothing is guaranteed"));
            assert!(certificate.statement.contains(reason), "{}", certificate.statement);
            assert!(certificate.covers.is_empty());
            assert_eq!(certificate.epsilon.is_some(), has_epsilon);
            assert_eq!(certificate.mismatches(&ledger), Ok(vec![]));
        }
    }

    fn members(certificate: &Certificate, ledger: &Contents) -> Vec<&'static str> {
        let mismatches = certificate.mismatches(ledger).unwrap();
        mismatches.iter().map(|mismatch| mismatch.member).collect()
    }

    #[test]
    fn every_false_claim_is_named() {
        let (honest, ledger) = certify(private(), 20);
        let epsilon = honest.epsilon.unwrap();
        let mut lie = honest.clone();
        lie.epsilon = Some(epsilon - 1e-7);
        lie.steps = 19;
        assert_eq!(members(&lie, &ledger), ["epsilon", "steps", "statement"]);

        let (mut lie, seeded) = certify(plan::example(), 20);
        lie.guarantee = true;
        assert_eq!(members(&lie, &seeded), ["guarantee"]);
        // Nor does it help to leave the seed out.
        lie.plan = PrivacyPlan::new(private()).unwrap();
        assert_eq!(members(&lie, &seeded), ["guarantee", "insecure_seed"]);

        let other = PrivacyPlan::new(PlanSpec {
            sampling: Sampling::Poisson { rate: 0.2 },
            expected_batch: 65.0,
            noise_multiplier: 2.0,
            clip: "flat:3".parse().unwrap(),
            ..private()
        });
        let mut lie = honest.clone();
        lie.plan = other.unwrap();
        assert_eq!(members(&lie, &ledger), ["sampling", "expected_batch", "noise_multiplier", "clip"]);

        let (_, shorter) = certify(private(), 19);
        assert_eq!(members(&honest, &shorter), ["epsilon", "steps", "history", "ledger"]);
        let words: Vec<String> = honest.mismatches(&shorter).unwrap().iter().map(Mismatch::to_string).collect();
        assert_eq!(words[1], "steps: the certificate says 20, the ledger 19");
        let sampled = "noise multiplier 1.5 with poisson sampling at rate 0.25";
        assert_eq!(
            words[2],
            format!("history: the certificate says 20 steps of {sampled}, the ledger 19 steps of {sampled}")
        );
        assert!(words[3].contains("20 lines, the last of hash ") && !words.concat().contains("Some("), "{words:?}");
    }

    #[test]
    fn a_ledger_that_grew_bears_out_what_it_held_and_says_what_came_after() {
        let (honest, ledger) = certify(private(), 20);
        assert_eq!(honest.growth(&ledger), Ok(None));
        let (all, longer) = certify(private(), 23);
        assert!(members(&honest, &longer).is_empty());
        let growth = honest.growth(&longer).unwrap().unwrap();
        assert_eq!((growth.steps, &growth.runs[..]), (3, &[("run".to_owned(), 3)][..]));
        assert_eq!(growth.together, all.statement);
        let mut lie = honest.clone();
        lie.steps = 19;
        assert_eq!(members(&lie, &longer), ["steps"]);
        let (_, other) = certify(PlanSpec { noise_multiplier: 1.0, ..private() }, 23);
        assert_eq!(honest.growth(&other), Ok(None));
        assert!(!members(&honest, &other).is_empty());
    }

    #[test]
    fn names_the_neighbours_and_the_unit() {
        let statement = |unit| certify(PlanSpec { unit, ..private() }, 1).0.statement;
        assert!(statement(Unit::Record).ends_with("for adding or removing one record."));
        assert!(statement(Unit::Group).ends_with("for adding or removing one group."));
        let replaced = PrivacyPlan::new(PlanSpec { adjacency: Adjacency::ReplaceOne, ..private() }).unwrap();
        let words = Claim::new(&replaced, false, Some(1.0)).statement(&replaced);
        assert!(words.ends_with("for replacing one record."), "{words}");
    }

    #[test]
    fn the_page_says_what_the_certificate_says() {
        let (certificate, _) = certify(private(), 20);
        let page = certificate.page();
        for text in [&certificate.statement, &certificate.ledger.hash, &certificate.provenance.program] {
            assert!(page.contains(text), "{page}");
        }
        let items = certificate.covers.iter().chain(&certificate.does_not_cover);
        assert!(items.into_iter().all(|item| page.contains(item)));
        let (seeded, _) = certify(plan::example(), 1);
        assert!(seeded.page().contains("**Nothing is guaranteed"));
        assert!(!seeded.page().contains("What the guarantee covers"));
    }

    #[test]
    fn no_certificate_rests_on_an_approximation() {
        #[derive(Debug)]
        struct Guess;
        impl Accountant for Guess {
            fn name(&self) -> &'static str {
                "guess"
            }
            fn is_bound(&self) -> bool {
                false
            }
            fn supports(&self, _: Sampling, _: Adjacency) -> bool {
                true
            }
            fn epsilon(&self, _: &[Mechanism], _: Adjacency, _: f64) -> Result<f64, InvalidInput> {
                Ok(0.0)
            }
            fn delta(&self, _: &[Mechanism], _: Adjacency, _: f64) -> Result<f64, InvalidInput> {
                Ok(0.0)
            }
        }
        let plan = PrivacyPlan::new(private()).unwrap();
        let refused = Certificate::new(&plan, &contents(&plan, 1), &Guess, provenance());
        assert_eq!(refused, Err(NoCertificate::Approximation { accountant: "guess" }));
    }

    #[test]
    fn another_model_is_named() {
        let (certificate, _) = certify(private(), 1);
        assert!(certificate.provenance_mismatches(&provenance()).is_empty());
        let other = Provenance { program: sha256_hex(b"other"), ..provenance() };
        let found = certificate.provenance_mismatches(&other);
        assert_eq!(found.iter().map(|mismatch| mismatch.member).collect::<Vec<_>>(), ["program"]);
        let initial_values = Some(InitialValues { file: "a.safetensors".to_owned(), sha256: sha256_hex(b"a") });
        let found = certificate.provenance_mismatches(&Provenance { initial_values, ..provenance() });
        assert_eq!(found.iter().map(|mismatch| mismatch.member).collect::<Vec<_>>(), ["initial_values"]);
    }

    #[test]
    fn epsilon_may_differ_by_rounding() {
        assert!(same_epsilon(Some(3.0), Some(3.0 * (1.0 + 1e-12))));
        assert!(!same_epsilon(Some(3.0), Some(3.0 + 1e-8)));
        assert!(!same_epsilon(Some(3.0), None));
        assert!(same_epsilon(None, None));
    }

    #[test]
    fn a_certificate_that_is_none_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("certificate.json");
        let read = || Certificate::read(&path).unwrap_err();
        assert!(matches!(read(), CertificateError::File(_)));
        std::fs::write(&path, "{}").unwrap();
        assert!(matches!(read(), CertificateError::Parse { .. }));
        let (mut certificate, _) = certify(private(), 1);
        certificate.version = 1;
        certificate.write(&path).unwrap();
        assert!(matches!(read(), CertificateError::Version { version: 1, .. }));
        assert!(certificate.write(&path.join("below")).is_err());
    }
}
