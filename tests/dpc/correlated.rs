//! Correlated noise on the command line: what a run claims, what it leaves, and what is refused.

use super::place::{Place, TINY, files};
use dpc::privacy::accountant::{ACCOUNTANTS, Mechanism};
use dpc::privacy::adjacency::Adjacency;
use dpc::privacy::certificate::Certificate;
use dpc::privacy::correlation::Strategy;
use dpc::privacy::sampling::Sampling;
use dpc::train::run_dir::RunDir;

fn certificate(place: &Place, run: &str) -> Certificate {
    Certificate::read(&RunDir::new(&place.path(run)).certificate()).expect("a certificate")
}

/// ε of so many participations.
fn epsilon(noise_multiplier: f64, rate: f64, steps: u64) -> f64 {
    let history = [Mechanism { noise_multiplier, sampling: Sampling::Poisson { rate }, steps }];
    ACCOUNTANTS[0].epsilon(&history, Adjacency::AddRemove, 1e-3).expect("a history")
}

#[test]
fn a_run_claims_as_many_participations_as_cycles() {
    let place = Place::new();
    place.tiny();
    place.ok(&format!("{TINY} --epochs 5 --noise-correlation banded:3 --sampling cyclic --out cyclic"));
    let found = certificate(&place, "cyclic");
    assert!(found.guarantee);
    assert_eq!((found.steps, found.plan.planned_steps), (20, 20));
    assert_eq!(found.plan.sampling, Sampling::Cyclic { rate: 1.0, parts: 4 });
    let expected = epsilon(1.0, 1.0, 5);
    assert!((found.epsilon.expect("a bound") / expected - 1.0).abs() < 1e-6);
    let Some(Strategy::Banded { coefficients }) = &found.plan.correlation else { panic!("{:?}", found.plan) };
    assert_eq!((coefficients.len(), coefficients[0]), (3, 256));
    place.ok("verify-certificate cyclic");
    // What tells the noise is gone with the last step.
    assert_eq!(files(&RunDir::new(&place.path("cyclic")).checkpoints(), |name| name.ends_with(".state")).len(), 0);

    // A quarter of the records a step, in as many parts as bands: amplified.
    place.ok(&format!("{TINY} --steps 20 --noise-correlation banded:2 --out poisson"));
    let found = certificate(&place, "poisson");
    assert_eq!(found.plan.sampling, Sampling::Cyclic { rate: 0.5, parts: 2 });
    assert!((found.epsilon.expect("a bound") / epsilon(1.0, 0.5, 10) - 1.0).abs() < 1e-6);

    place.ok(&format!("{TINY} --steps 20 --noise-correlation tree --out tree"));
    assert!((certificate(&place, "tree").epsilon.expect("a bound") / expected - 1.0).abs() < 1e-6);
}

#[test]
fn what_has_no_proof_is_refused() {
    let place = Place::new();
    place.tiny();
    // Without the line breaks of the terminal.
    let refused = |line: &str| -> String {
        let text = place.fails(line, 1);
        text.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
    };
    let run = |flags: &str| refused(&format!("{TINY} --steps 20 --noise-correlation banded:3 --out run {flags}"));
    for (flags, why) in [
        ("--sampling cyclic --noise-schedule step:every=5,factor=0.9", "must not change over the steps"),
        ("--sampling cyclic --clip-schedule step:every=5,factor=0.9", "clip bounds must not change"),
        ("--sampling cyclic --dp-metrics", "estimates of metrics"),
        ("--sampling fixed-size --adjacency replace-one", "cyclic sampling, and not fixed-size"),
        ("--sampling cyclic:2", "at least 3 parts"),
        ("--sampling cyclic:5", "more than one of 5 parts"),
    ] {
        let text = run(flags);
        assert!(text.contains(why), "{flags}: {text}");
    }
    let alone = refused(&format!("{TINY} --steps 20 --sampling cyclic --out run"));
    assert!(alone.contains("accounted for with it only"), "{alone}");
    place.ok(&format!(
        "compile {} --loss cross-entropy --noise float -o float.dpc",
        super::place::models("zoo/gemm_alpha_beta.ts.onnx")
    ));
    let float = TINY.replace("m.dpc", "float.dpc");
    let text = refused(&format!("{float} --steps 20 --noise-correlation banded:3 --sampling cyclic --out run"));
    assert!(text.contains("integers"), "{text}");
    assert!(!place.path("run").exists());
}
