//! What a private run writes, promises and refuses, by the command line.

use std::collections::BTreeMap;

use dpc::privacy::ledger::Contents;
use dpc::train::data::{Array, npz};
use serde_json::Value;

use super::cli::distance;
use super::place::{Place, models};

const SHORT: &str = "--noise-multiplier 1 --delta 1e-4 --batch 100 --steps 4 --device cpu";

impl Place {
    fn start(&self, flags: &str) -> String {
        format!("train m.dpc --data {} --lr 1 --json {flags}", models("digits_train.npz"))
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).expect("a file")).expect("JSON")
    }

    fn metrics(&self, run: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(run).join("metrics.jsonl")).expect("metrics");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn ledger(&self, name: &str) -> Contents {
        Contents::read(&self.path(name)).expect("a ledger")
    }
}

#[test]
fn what_is_not_private_stays_out_of_files_unless_asked_for() {
    let place = Place::new();
    place.compile("");
    place.ok(&place.start(&format!("{SHORT} --out plain")));
    place.ok(&place.start(&format!("{SHORT} --out loud --record-private-metrics")));
    let (plain, loud) = (place.metrics("plain"), place.metrics("loud"));
    assert!(!plain.is_empty());
    for line in &plain {
        let members: Vec<&String> = line.as_object().expect("an object").keys().collect();
        // What the plan says, the clock, and nothing else.
        let public = [
            "clip_bounds",
            "epoch",
            "epsilon",
            "learning_rate",
            "noise_multiplier",
            "samples_per_second",
            "step",
            "steps_per_second",
        ];
        assert_eq!(members, public);
    }
    assert!(loud.iter().all(|line| line["not_private"]["loss"].is_number()));
}

#[test]
fn estimates_of_metrics_are_noisy_and_within_the_budget() {
    let place = Place::new();
    place.compile("");
    place.ok(&place.start(&format!("{SHORT} --out plain")));
    place.ok(&place.start(&format!("{SHORT} --out noisy --dp-metrics share=0.5,loss-bound=5")));
    let epsilon = |run: &str| place.json(&format!("{run}/certificate.json"))["epsilon"].as_f64().expect("a number");
    assert_eq!(epsilon("plain"), epsilon("noisy"));
    let line = place.metrics("noisy").pop().expect("a line");
    // 4 steps of 100 expected, each with noise of deviation 2.
    let batch = line["estimates"]["batch_size"].as_f64().expect("a number");
    assert!((batch - 100.0).abs() < 60.0 && batch.fract() != 0.0, "{batch}");
    let loss = line["estimates"]["loss"].as_f64().expect("a number");
    assert!((0.0..5.0).contains(&loss), "{loss}");
    let covered = place.json("noisy/certificate.json")["covers"].to_string();
    assert!(covered.contains("estimates of batch size"), "{covered}");
    place.ok("verify-certificate noisy");
}

#[test]
fn runs_that_share_a_ledger_are_all_counted() {
    let place = Place::new();
    place.compile("");
    let epsilon = |run: &str| {
        place.ok(&place.start(&format!("{SHORT} --out {run} --ledger all.jsonl")));
        place.json(&format!("{run}/certificate.json"))["epsilon"].as_f64().expect("a number")
    };
    let (first, second) = (epsilon("a"), epsilon("b"));
    assert!(second > first);
    assert_eq!(place.ledger("all.jsonl").steps(), 8);
    assert!(place.ok("verify-certificate b --ledger all.jsonl").contains("8 steps"));
    let error = place.fails("verify-certificate a --ledger all.jsonl", 1);
    assert!(error.contains("dpc::certificate::grown") && error.contains("4 more steps"), "{error}");
}

#[test]
fn an_epsilon_is_a_ceiling_over_all_runs_of_a_ledger() {
    let place = Place::new();
    place.compile("");
    let run = |out: &str, epsilon: f64| {
        let flags = "--delta 1e-4 --batch 100 --steps 4 --device cpu --ledger all.jsonl";
        place.start(&format!("--epsilon {epsilon} {flags} --out {out}"))
    };
    let certified = |out: &str| place.json(&format!("{out}/certificate.json"));
    place.ok(&run("a", 1.0));
    let error = place.fails(&run("b", 0.9), 1);
    assert!(error.contains("the steps in the ledger have cost"), "{error}");
    assert!(!place.path("b").exists());
    place.ok(&run("b", 2.0));
    let epsilon = certified("b")["epsilon"].as_f64().expect("a number");
    assert!(epsilon > 1.98 && epsilon <= 2.0, "{epsilon}");
    assert!(certified("b")["noise_multiplier"].as_f64() > certified("a")["noise_multiplier"].as_f64().map(|s| s / 2.0));
    place.ok("verify-certificate b --ledger all.jsonl");
}

#[test]
fn a_training_that_no_certificate_could_be_had_for_does_not_begin() {
    let place = Place::new();
    place.compile("");
    let flags = format!("{SHORT} --sampling truncated-poisson --accountant rdp --out run");
    place.fails(&place.start(&flags), 1);
    assert!(!place.path("run").exists());
    let error = place.fails(&place.start(&format!("{SHORT} --resume --out run")), 1);
    assert!(error.contains("leaving out --resume"), "{error}");
}

#[test]
fn progress_that_is_kept_says_nothing_that_is_not_private() {
    let place = Place::new();
    place.compile("");
    let shown = |flags: &str| {
        let output = place.run(&place.start(&format!("{SHORT} {flags}")).replace("--json", ""));
        assert!(output.status.success());
        String::from_utf8(output.stderr).expect("text")
    };
    let (plain, loud) = (shown("--out plain"), shown("--out loud --record-private-metrics"));
    assert!(plain.contains("step 4/4") && !plain.contains("not private"), "{plain}");
    assert!(loud.contains("(not private)"), "{loud}");
}

#[test]
fn a_certificate_is_held_to_its_page_and_its_model() {
    let place = Place::new();
    place.compile("");
    place.ok(&place.start(&format!("{SHORT} --out run")));
    place.ok("verify-certificate run");
    let page = place.path("run/certificate.md");
    let text = std::fs::read_to_string(&page).expect("a page");
    assert!(text.contains("differentially private for adding or removing one record"), "{text}");
    std::fs::write(&page, text.replace("one record", "one country")).expect("a file");
    assert!(place.fails("verify-certificate run", 1).contains("certificate.md"));
    std::fs::remove_file(&page).expect("a file");
    place.compile("--optimizer adamw");
    std::fs::copy(place.path("m.dpc"), place.path("run/untrained.dpc")).expect("a file");
    assert!(place.fails("verify-certificate run", 1).contains("program: stated"));
}

#[test]
fn a_noise_schedule_is_what_the_ledger_charges() {
    let place = Place::new();
    place.compile("");
    place.ok(&place.start(&format!("{SHORT} --out run --noise-schedule step:every=2,factor=0.5")));
    let sigmas: Vec<f64> = place.ledger("run/ledger.jsonl").entries().iter().map(|e| e.noise_multiplier).collect();
    assert_eq!(sigmas, [1.0, 1.0, 0.5, 0.5]);
    place.ok("verify-certificate run");
}

#[test]
fn batches_of_a_fixed_size_need_replace_one_adjacency() {
    let place = Place::new();
    place.compile("");
    for kind in ["fixed-size", "shuffle"] {
        let error = place.fails(&place.start(&format!("{SHORT} --out run --sampling {kind}")), 1);
        assert!(error.contains("--adjacency replace-one"), "{error}");
        assert!(!place.path("run").exists());
        place.ok(&place.start(&format!("{SHORT} --out {kind} --sampling {kind} --adjacency replace-one")));
        let certificate = place.json(&format!("{kind}/certificate.json"));
        assert_eq!(certificate["sampling"], kind);
        assert_eq!(certificate["adjacency"], "replace-one");
        assert!(certificate["epsilon"].as_f64().expect("a number") > 1.0);
        place.ok(&format!("verify-certificate {kind}"));
    }
    let error = place.fails(&place.start(&format!("{SHORT} --out run --accountant gdp")), 2);
    assert!(error.contains("approximates"), "{error}");
}

/// The digits with `group` = record number modulo `groups`.
fn grouped(place: &Place, groups: i64) {
    let mut digits = npz::Npz::open(models("digits_train.npz").as_ref()).expect("data");
    let mut arrays: BTreeMap<String, Array> =
        digits.names().into_iter().map(|name| (name.clone(), digits.read(&name).expect("an array"))).collect();
    let records = arrays["label"].dims()[0];
    let ids: Vec<i64> = (0..records as i64).map(|record| record % groups - 5).collect();
    arrays.insert("group".to_owned(), Array::from_i64(vec![records], &ids));
    npz::write(&place.path("grouped.npz"), &arrays).expect("a file");
}

#[test]
fn a_group_is_sampled_and_clipped_as_one() {
    let place = Place::new();
    place.compile("--clip flat:0.5");
    grouped(&place, 50);
    let train = |flags: &str| {
        let common = "--noise-multiplier 1 --delta 1e-2 --batch 20 --steps 3 --insecure-seed 7 --json --lr 1 --out run";
        place.ok(&format!("train m.dpc --data grouped.npz {common} {flags}"));
        place.ok("export run -o trained.safetensors");
        let certificate = place.json("run/certificate.json");
        std::fs::remove_dir_all(place.path("run")).expect("a run");
        let bytes = std::fs::read(place.path("trained.safetensors")).expect("a file");
        (dpc::tensors::from_safetensors(&bytes).expect("tensors").0, certificate)
    };
    let (whole, certificate) = train("--device cpu --physical-batch 64");
    assert_eq!(certificate["unit"], "group");
    assert_eq!(certificate["public_units"], 50);
    let (parts, _) = train("--device cpu --physical-batch 7");
    assert!(distance(&whole, &parts) < 1e-5);
    let (gpu, _) = train("--device gpu --physical-batch 16");
    assert!(distance(&whole, &gpu) < 1e-3);
    let (_, records) = train("--device cpu --unit record");
    assert_eq!(records["unit"], "record");
    let error = place.fails(&place.start(&format!("{SHORT} --unit group --out run")), 1);
    assert!(error.contains("array `group`"), "{error}");
}
