use std::path::Path;

use super::*;
use crate::artifact::{self, Manifest};
use crate::compile::{Options, compile};
use crate::device::cpu::Cpu;
use crate::device::gpu::Gpu;
use crate::onnx::{Source, discover};
use crate::options::NormChoice;

/// A model of the zoo, compiled.
fn artifact_of(name: &str, loss: &str) -> Artifact {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/zoo").join(format!("{name}.ts.onnx"));
    let source = Source::open(&path).unwrap();
    let parameters = discover(&source, &[], &[]).unwrap();
    let options = Options {
        loss: Some(loss.parse().unwrap()),
        output: None,
        clip: "flat:0.5".parse().unwrap(),
        norm: NormChoice::Auto,
        optimizer: "sgd".parse().unwrap(),
        per_sample: false,
    };
    let compiled = compile(&source, &parameters, &options).unwrap();
    artifact::build(&source, &parameters, compiled, &options, 64).unwrap()
}

fn settings() -> Settings {
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

/// It is the stored program that is audited, not what its source compiles to.
#[test]
fn a_program_that_was_tampered_with_does_not_pass() {
    let mut artifact = artifact_of("mlp", "cross-entropy");
    let settings = Settings { canaries: None, mutate: false, replays: 20, ..settings() };
    let Manifest { clip, clip_groups, .. } = artifact.manifest.clone();
    let claim = Claim::new(clip, clip_groups, Unit::Record, &settings).unwrap();
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
