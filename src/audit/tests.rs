use std::path::Path;

use super::mutation::MUTATIONS;
use super::*;
use crate::artifact;
use crate::compile::{Options, compile};
use crate::device::TARGETS;
use crate::device::cpu::Cpu;
use crate::device::gpu::Gpu;
use crate::lower::cost::CostModel;
use crate::lower::kernels::Kernel;
use crate::onnx::{Source, discover};
use crate::options::{NoiseKind, NormChoice, Precision};

/// What sums and noise may be of.
pub(super) const KINDS: [NoiseKind; 2] = [NoiseKind::Float, NoiseKind::Exact];

/// A model of the zoo, compiled.
pub(super) fn artifact_of(name: &str, loss: &str, noise: NoiseKind) -> Artifact {
    artifact_with(name, loss, "flat:0.5", noise)
}

/// What is claimed of `artifact`.
pub(super) fn claim_of(artifact: &Artifact, settings: &Settings) -> Claim {
    Claim::new(artifact.manifest.clip.clone(), &Built::of(artifact), Unit::Record, settings).unwrap()
}

fn artifact_with(name: &str, loss: &str, clip: &str, noise: NoiseKind) -> Artifact {
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
        views: 1,
        per_sample: false,
        noise,
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

fn check(name: &str, loss: &str, noise: NoiseKind, device: Box<dyn Device>) {
    let report = audit(&artifact_of(name, loss, noise), &[device], &settings(), |_| ()).unwrap();
    assert!(report.passed, "{report}");
    let possible = MUTATIONS.iter().filter(|mutation| !mutation.exact || noise == NoiseKind::Exact);
    assert_eq!(report.mutations.len(), possible.count());
    assert!(report.mutations.iter().all(|broken| broken.caught == Some(true)), "{report}");
}

fn gpu() -> Box<dyn Device> {
    Box::new(Gpu::open(None).unwrap_or_else(|e| panic!("{:?}", miette::Report::from(e))))
}

#[test]
fn a_convolutional_network_passes_and_no_broken_plan_does_on_cpu() {
    check("mnist_small", "cross-entropy", NoiseKind::Float, Box::new(Cpu));
}

#[test]
fn a_convolutional_network_of_integer_sums_passes_and_no_broken_plan_does_on_cpu() {
    check("mnist_small", "cross-entropy", NoiseKind::Exact, Box::new(Cpu));
}

/// Real targets reach what class targets cannot: cotangents as large as floats, and norms that cancel.
#[test]
fn a_regression_over_positions_passes_on_cpu() {
    let settings = Settings { canaries: None, mutate: false, exhaustive: true, ..settings() };
    for noise in KINDS {
        let artifact = artifact_of("regression_sequence", "mse", noise);
        let report = audit(&artifact, &[Box::new(Cpu)], &settings, |_| ()).unwrap();
        assert!(report.passed, "{report}");
    }
}

#[test]
fn a_tied_embedding_passes_and_no_broken_plan_does_on_cpu() {
    check("tied_embedding", "cross-entropy:axis=last", NoiseKind::Float, Box::new(Cpu));
}

#[test]
fn a_tied_embedding_of_integer_sums_passes_and_no_broken_plan_does_on_cpu() {
    check("tied_embedding", "cross-entropy:axis=last", NoiseKind::Exact, Box::new(Cpu));
}

#[test]
fn a_tied_embedding_passes_and_no_broken_plan_does_on_gpu() {
    check("tied_embedding", "cross-entropy:axis=last", NoiseKind::Float, gpu());
}

#[test]
fn a_tied_embedding_of_integer_sums_passes_and_no_broken_plan_does_on_gpu() {
    check("tied_embedding", "cross-entropy:axis=last", NoiseKind::Exact, gpu());
}

/// Where every parameter is used at one position, there are no cross terms.
#[test]
fn what_does_not_apply_is_said_so() {
    for noise in KINDS {
        let artifact = artifact_of("mlp", "cross-entropy", noise);
        let report = audit(&artifact, &[Box::new(Cpu)], &Settings { canaries: None, ..settings() }, |_| ()).unwrap();
        assert!(report.passed, "{report}");
        let left: Vec<&str> = report.mutations.iter().filter(|m| m.caught.is_none()).map(|m| &*m.name).collect();
        assert_eq!(left, ["cross terms of ghost norms dropped"]);
    }
}

/// Clip groups that get each other's bounds leave the norm of all bounds as it is. Integers of a group are of a unit of its own.
#[test]
fn groups_with_bounds_of_others_do_not_pass() {
    let clip = "per-group:*weight=0.1;*bias=0.5";
    for noise in KINDS {
        let mut artifact = artifact_with("mlp", "cross-entropy", clip, noise);
        for dispatch in artifact.program.phases.values_mut().flatten() {
            match &mut dispatch.kernel {
                Kernel::ClipFactor(factor) if noise == NoiseKind::Float => factor.group = 1 - factor.group,
                Kernel::Release(release) => release.group = 1 - release.group,
                _ => {}
            }
        }
        let settings = Settings { canaries: None, mutate: false, replays: 20, ..settings() };
        let report = audit(&artifact, &[Box::new(Cpu)], &settings, |_| ()).unwrap();
        let failed: Vec<&str> = report.sections.iter().flat_map(Section::failures).map(|check| &*check.name).collect();
        assert!(failed.contains(&"longest change / bound"), "{report}");
    }
}

/// What the program has wrong anyway does not count as caught.
#[test]
fn a_broken_plan_is_not_caught_by_what_was_wrong_before() {
    for noise in KINDS {
        let mut artifact = artifact_of("mlp", "cross-entropy", noise);
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
}

/// Bounds that adapt would move the noise away from canaries of constant length.
#[test]
fn one_run_of_an_adaptive_rule_passes() {
    for noise in KINDS {
        let artifact = artifact_with("mlp", "cross-entropy", "flat:5,adaptive,rate=1,count-noise=100", noise);
        let settings = Settings { mutate: false, replays: 20, ..settings() };
        let report = audit(&artifact, &[Box::new(Cpu)], &settings, |_| ()).unwrap();
        assert!(report.passed, "{report}");
    }
}

/// It is the stored program that is audited, not what its source compiles to.
#[test]
fn a_program_that_was_tampered_with_does_not_pass() {
    let settings = Settings { canaries: None, mutate: false, replays: 20, ..settings() };
    for noise in KINDS {
        let mut artifact = artifact_of("mlp", "cross-entropy", noise);
        let claim = claim_of(&artifact, &settings);
        for mutation in MUTATIONS.iter().filter(|mutation| !mutation.ghost) {
            if mutation.exact && noise == NoiseKind::Float {
                continue;
            }
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
}
