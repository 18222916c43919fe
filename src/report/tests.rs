//! Pages of runs that are made up.

use std::path::PathBuf;

use super::*;
use crate::privacy::accountant::{Accountant, Pld};
use crate::privacy::certificate::Provenance;
use crate::privacy::ledger::Ledger;
use crate::privacy::plan::{PlanSpec, PrivacyPlan};
use crate::privacy::sampling::Sampling;
use crate::train::evaluate::{Evaluation, Measures};
use crate::train::metrics::{Observed, StepMetrics};

fn plan() -> PrivacyPlan {
    let spec = PlanSpec::new(Sampling::Poisson { rate: 0.25 }, 64.0, "flat:2".parse().unwrap());
    PrivacyPlan::new(PlanSpec { noise_multiplier: 1.5, delta: Some(1e-5), planned_steps: 100, ..spec }).unwrap()
}

fn line(step: u64, observed: bool) -> StepMetrics {
    let x = step as f64;
    let (records, measures, terms, labels) = (10, Measures::default(), vec![], Some(10));
    let accuracy = Some(1.0 - 1.0 / (x + 1.0));
    let valid = Evaluation { records, loss: 1.0 / (x + 1.0), accuracy, measures, nonfinite_records: 0, terms, labels };
    StepMetrics {
        step,
        epoch: x / 10.0,
        epsilon: Some(x.sqrt()),
        noise_multiplier: Some(1.5),
        clip_bounds: vec![0.5],
        learning_rate: Some(0.1),
        lr_for: Default::default(),
        steps_per_second: Some(10.0),
        samples_per_second: 1000.0 + (x * 0.7).sin(),
        valid: (step.is_multiple_of(7)).then_some(valid),
        estimates: None,
        not_private: observed.then(|| Observed { loss: Some(0.25), ..Observed::default() }),
    }
}

/// A run of `steps` steps in the ledger at `path`, after what is there.
fn run(name: &str, path: &Path, steps: u64) -> Run {
    let plan = plan();
    let mut ledger = Ledger::open(path, name, &plan).unwrap();
    for step in 0..steps {
        let _ = ledger.record(step).unwrap();
    }
    let digest = || "0".repeat(64);
    let provenance =
        Provenance { source_model: digest(), program: digest(), data_schema: digest(), initial_values: None };
    let contents = ledger.contents().clone();
    Run {
        name: name.to_owned(),
        certificate: Some(Certificate::new(&plan, &contents, &Pld, provenance).unwrap()),
        ledger: Some((path.to_owned(), contents)),
        metrics: (1..=steps).map(|step| line(step, false)).collect(),
        config: Some("lr = 0.1\n".to_owned()),
        layer: None,
    }
}

fn epsilon(steps: u64) -> f64 {
    let plan = plan();
    let mechanism = crate::privacy::accountant::Mechanism { steps, ..plan.mechanism(0) };
    Pld.epsilon(&[mechanism], plan.adjacency, plan.delta.unwrap()).unwrap()
}

#[test]
fn the_certificate_comes_first_and_needs_nothing_from_elsewhere() {
    let place = tempfile::tempdir().unwrap();
    let one = run("<b>one</b>", &place.path().join("ledger"), 20);
    let statement = escape(&one.certificate.as_ref().unwrap().statement);
    let page = page(&[one]).unwrap();
    let at = |what: &str| page.find(what).unwrap_or_else(|| panic!("no {what} in {page}"));
    assert!(at(&statement) < at("Not covered") && at("Not covered") < at("Privacy spent"));
    for title in ["Validation loss", "Validation accuracy", "Learning rate", "Throughput", "Clip bound"] {
        at(title);
    }
    assert!(!page.contains("<b>") && !page.contains("<script") && !page.contains("http"));
    assert!(!page.contains("not private"));
    // Every chart has a text alternative, and every id is there once.
    assert_eq!(page.matches("role=\"img\"").count(), page.matches("<desc id=").count());
    let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ids.len());
}

#[test]
fn figures_on_training_data_are_marked() {
    let place = tempfile::tempdir().unwrap();
    let mut one = run("one", &place.path().join("ledger"), 20);
    one.metrics = (1..20).map(|step| line(step, true)).collect();
    let page = page(&[one]).unwrap();
    let (heading, curve) = (page.find("not private").unwrap(), page.find("Training loss").unwrap());
    assert!(heading < curve && page.find("Throughput").unwrap() < heading);
}

#[test]
fn a_long_run_is_a_small_page() {
    let place = tempfile::tempdir().unwrap();
    let mut one = run("one", &place.path().join("ledger"), 3);
    one.metrics = (1..=100_000).map(|step| line(step, true)).collect();
    let page = page(&[one]).unwrap();
    assert!(page.len() < 200_000, "{}", page.len());
    assert!(page.contains("100\u{2009}000"));
}

#[test]
fn runs_on_one_ledger_are_counted_once_and_others_together() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { place.path().join(name) };
    let first = run("first", &path("shared"), 20);
    let second = run("second", &path("shared"), 30);
    let contents = second.ledger.clone();
    let first = Run { ledger: contents, ..first };
    let page_of = |runs: &[Run]| page(runs).unwrap();
    let shared = page_of(&[first.clone(), second.clone()]);
    assert!(
        shared.contains(&format!("({}, 1e-5)", axis::bound(epsilon(50)))) && shared.contains("counts 50 steps"),
        "{shared}"
    );
    let apart = page_of(&[first.clone(), second.clone(), run("third", &path("own"), 10)]);
    assert!(apart.contains(&format!("({}, 1e-5)", axis::bound(epsilon(60)))) && apart.contains("2 ledgers"), "{apart}");
    let unended = Run { certificate: None, ..second };
    assert!(page_of(&[first, unended]).contains("not known"));
}
