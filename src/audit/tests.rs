use std::path::Path;

use super::mutation::MUTATIONS;
use super::*;
use crate::artifact::{self, Manifest};
use crate::compile::{Options, compile};
use crate::device::TARGETS;
use crate::device::cpu::Cpu;
use crate::device::gpu::Gpu;
use crate::lower::cost::CostModel;
use crate::lower::kernels::Kernel;
use crate::onnx::{Source, discover};
use crate::options::{NoiseKind, NormChoice, Precision};

/// A model of the zoo, compiled.
pub(super) fn artifact_of(name: &str, loss: &str) -> Artifact {
    artifact_with(name, loss, "flat:0.5")
}

/// What is claimed of `artifact`.
pub(super) fn claim_of(artifact: &Artifact, settings: &Settings) -> Claim {
    let Manifest { clip, clip_groups, .. } = artifact.manifest.clone();
    Claim::new(clip, clip_groups, Unit::Record, settings).unwrap()
}

fn artifact_with(name: &str, loss: &str, clip: &str) -> Artifact {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/zoo").join(format!("{name}.ts.onnx"));
    let source = Source::open(&path).unwrap();
    let parameters = discover(&source, &[], &[]).unwrap();
    let options = Options {
        loss: Some(loss.parse().unwrap()),
        output: None,
        clip: clip.parse().unwrap(),
        norm: NormChoice::Auto,
        optimizer: "sgd".parse().unwrap(),
        costs: CostModel::default(),
        precision: Precision::default(),
        per_sample: false,
        noise: NoiseKind::Float,
    };
    let compiled = compile(&source, &parameters, &options, TARGETS).unwrap();
    artifact::build(&source, &parameters, compiled, &options, 64).unwrap()
}

pub(super) fn settings() -> Settings {
    Settings {
        noise_multiplier: 1.0,
        sample_rate: 0.125,
        delta: 1e-5,
        batch: 16,
        replays: 100,
        confidence: 0.95,
        canaries: Some(200),
        steps: 32,
        mutate: true,
        exhaustive: false,
        insecure_seed: Some(1),
    }
}

fn check(name: &str, loss: &str, device: Box<dyn Device>) {
    let report = audit(&artifact_of(name, loss), &[device], &settings(), |_| ()).unwrap();
    assert!(report.passed, "{report}");
    assert_eq!(report.mutations.len(), MUTATIONS.len());
    assert!(report.mutations.iter().all(|broken| broken.caught == Some(true)), "{report}");
}

#[test]
fn a_convolutional_network_passes_and_no_broken_plan_does_on_cpu() {
    check("mnist_small", "cross-entropy", Box::new(Cpu));
}

/// Real targets reach what class targets cannot: cotangents as large as floats, and norms that cancel.
#[test]
fn a_regression_over_positions_passes_on_cpu() {
    let settings = Settings { canaries: None, mutate: false, exhaustive: true, ..settings() };
    let report = audit(&artifact_of("regression_sequence", "mse"), &[Box::new(Cpu)], &settings, |_| ()).unwrap();
    assert!(report.passed, "{report}");
}

#[test]
fn a_tied_embedding_passes_and_no_broken_plan_does_on_cpu() {
    check("tied_embedding", "cross-entropy:axis=last", Box::new(Cpu));
}

#[test]
fn a_tied_embedding_passes_and_no_broken_plan_does_on_gpu() {
    check(
        "tied_embedding",
        "cross-entropy:axis=last",
        Box::new(Gpu::open(None).unwrap_or_else(|e| panic!("{:?}", miette::Report::from(e)))),
    );
}

/// Where every parameter is used at one position, there are no cross terms.
#[test]
fn what_does_not_apply_is_said_so() {
    let artifact = artifact_of("mlp", "cross-entropy");
    let report = audit(&artifact, &[Box::new(Cpu)], &Settings { canaries: None, ..settings() }, |_| ()).unwrap();
    assert!(report.passed, "{report}");
    let left: Vec<&str> = report.mutations.iter().filter(|m| m.caught.is_none()).map(|m| &*m.name).collect();
    assert_eq!(left, ["cross terms of ghost norms dropped"]);
}

/// Clip groups that get each other's bounds leave the norm of all bounds as it is.
#[test]
fn groups_with_bounds_of_others_do_not_pass() {
    let clip = "per-group:*weight=0.1;*bias=0.5";
    let mut artifact = artifact_with("mlp", "cross-entropy", clip);
    for dispatch in artifact.program.phases.values_mut().flatten() {
        if let Kernel::ClipFactor(factor) = &mut dispatch.kernel {
            factor.group = 1 - factor.group;
        }
    }
    let settings = Settings { canaries: None, mutate: false, replays: 20, ..settings() };
    let report = audit(&artifact, &[Box::new(Cpu)], &settings, |_| ()).unwrap();
    let failed: Vec<&str> = report.sections.iter().flat_map(Section::failures).map(|check| &*check.name).collect();
    assert!(failed.contains(&"longest change / bound"), "{report}");
}

/// What the program has wrong anyway does not count as caught.
#[test]
fn a_broken_plan_is_not_caught_by_what_was_wrong_before() {
    let mut artifact = artifact_of("mlp", "cross-entropy");
    let settings = Settings { canaries: None, replays: 20, ..settings() };
    let claim = claim_of(&artifact, &settings);
    let whole = claim.of(artifact.program.clone());
    let twice = MUTATIONS.iter().find(|mutation| mutation.name.contains("2C")).unwrap();
    artifact.program = twice.of(&whole).unwrap().unwrap().program;
    let report = audit(&artifact, &[Box::new(Cpu)], &settings, |_| ()).unwrap();
    let by = |name: &str| &report.mutations.iter().find(|broken| broken.name.contains(name)).unwrap().by;
    assert!(by("half the noise").iter().all(|check| !check.name.contains("longest change")), "{report}");
    assert!(!by("half the noise").is_empty(), "{report}");
}

/// Bounds that adapt would move the noise away from canaries of constant length.
#[test]
fn one_run_of_an_adaptive_rule_passes() {
    let artifact = artifact_with("mlp", "cross-entropy", "flat:5,adaptive,rate=1,count-noise=100");
    let settings = Settings { mutate: false, replays: 20, ..settings() };
    let report = audit(&artifact, &[Box::new(Cpu)], &settings, |_| ()).unwrap();
    assert!(report.passed, "{report}");
}

/// It is the stored program that is audited, not what its source compiles to.
#[test]
fn a_program_that_was_tampered_with_does_not_pass() {
    let mut artifact = artifact_of("mlp", "cross-entropy");
    let settings = Settings { canaries: None, mutate: false, replays: 20, ..settings() };
    let claim = claim_of(&artifact, &settings);
    for mutation in MUTATIONS.iter().filter(|mutation| !mutation.ghost) {
        let Some(broken) = mutation.of(&claim.of(artifact.program.clone())).unwrap() else { continue };
        if broken.program == artifact.program {
            continue;
        }
        let whole = std::mem::replace(&mut artifact.program, broken.program);
        let report = audit(&artifact, &[Box::new(Cpu)], &settings, |_| ()).unwrap();
        assert!(!report.passed, "{}\n{report}", mutation.name);
        artifact.program = whole;
    }
}
