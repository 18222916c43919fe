//! `dpc audit`, run as a person would.

use dpc::artifact::Artifact;
use dpc::audit::mutation::MUTATIONS;
use dpc::audit::subject::Subject;
use dpc::privacy::plan::{PlanSpec, PrivacyPlan};
use dpc::privacy::sampling::Sampling;

use crate::place::{Place, models};

const QUICK: &str = "--device cpu --batch 8 --replays 100 --insecure-seed 3";

/// The report without what depends on the processor.
#[test]
fn the_report_is_for_people() {
    let place = Place::new();
    place.compile("--clip flat:0.5");
    let text = place.ok(&format!("audit m.dpc {QUICK} --canaries 100 --steps 8 --mutate --out report"));
    let written = std::fs::read_to_string(place.path("report/audit.txt")).expect("a report");
    assert_eq!(written, text);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (what, shown) in [
        ("[0-9a-f]{64}", "[sha-256]"),
        (" on cpu: .*", " on cpu: [processor]"),
        (r"(?m)^(  \S.*?)  +-?[0-9.e-]+  ", "$1  [figure]  "),
        ("changes: .*", "changes: [record]"),
        ("(change / S .*figure.  ) +.*", "$1 [record]"),
        ("(shares.*pass  ).*", "$1[record]"),
        ("(change of .*pass  ).*", "$1[record]"),
        ("[0-9]+ values of .*, the farthest", "values of [series], the farthest"),
        (r"(distance from the optimizer.*pass  ).*", "$1[parameter]"),
        (r"(σS|normal)(.*)  (\S+ ± \S+|[±≤] \S+) +pass", "$1$2  [bounds] pass"),
        ("[0-9]+ with a wrong guess", "[count] with a wrong guess"),
        ("[0-9]+ of [0-9]+ guesses", "[count] of [count] guesses"),
        ("caught: .*", "caught: [checks]"),
        ("checks in [0-9]+ s", "checks in [time] s"),
    ] {
        settings.add_filter(what, shown);
    }
    settings.bind(|| insta::assert_snapshot!("audit", text));
}

#[test]
fn the_report_is_json_too() {
    let place = Place::new();
    place.compile("--clip per-layer:0.5");
    // As many as show an ε above 1 with such confidence whatever the noise.
    let replays = QUICK.replace("replays 100", "replays 200");
    let report: serde_json::Value =
        serde_json::from_str(&place.ok(&format!("audit m.dpc {replays} --json"))).expect("JSON");
    assert_eq!(report["passed"], true);
    let sections = report["sections"].as_array().expect("sections");
    let checks = || sections.iter().flat_map(|section| section["checks"].as_array().expect("checks"));
    assert!(checks().count() > 40);
    let name = "ε at least, if the noise is Gaussian, at 99.95 %";
    let bound = checks().find(|check| check["name"] == name).expect("a lower bound");
    assert!((bound["at_most"].as_f64().expect("a number") - 4.377_178_1).abs() < 1e-6);
    assert!(bound["figure"].as_f64().expect("a number") > 1.0);
}

#[test]
fn what_is_kept_in_16_bits_passes() {
    let place = Place::new();
    for precision in ["f16", "bf16"] {
        let options = format!("--loss cross-entropy --clip flat:0.5 --precision {precision} -o m.dpc");
        place.ok(&format!("compile {} {options}", models("zoo/mnist_small.ts.onnx")));
        let text = place.ok(&format!("audit m.dpc {QUICK}"));
        assert!(text.contains("pass"), "{text}");
        let shown = place.ok("inspect m.dpc");
        assert!(shown.contains(&format!("kept in {precision}")), "{shown}");
    }
}

/// An artifact that clips to twice what its manifest says.
#[test]
fn an_artifact_that_does_not_keep_its_claim_fails() {
    let place = Place::new();
    place.compile("");
    let path = place.path("m.dpc");
    let mut artifact = Artifact::load(&path).expect("an artifact");
    let groups = artifact.manifest.clip_groups.clone();
    let spec = PlanSpec::new(Sampling::Poisson { rate: 0.5 }, 8.0, artifact.manifest.clip.clone());
    let plan = PrivacyPlan::new(PlanSpec { delta: Some(1e-5), ..spec }).expect("a plan");
    let mutation = MUTATIONS.iter().find(|mutation| mutation.name.contains("2C")).expect("a mutation");
    let whole = Subject { program: artifact.program.clone(), plan, groups };
    artifact.program = mutation.of(&whole).expect("it can be emitted").expect("it applies").program;
    artifact.save(&path).expect("an artifact");
    let error = place.fails(&format!("audit m.dpc {QUICK}"), 1);
    assert!(error.contains("m.dpc did not pass the audit") && error.contains("help:"), "{error}");
}

#[test]
fn flags_that_make_no_audit_are_refused() {
    let place = Place::new();
    assert!(place.fails("audit absent.dpc", 1).contains("cannot read absent.dpc"));
    assert!(place.fails("audit m.dpc --device tpu", 2).contains("give both"));
    assert!(place.fails("audit m.dpc --sample-rate 2", 2).contains("at most 1"));
}
