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
