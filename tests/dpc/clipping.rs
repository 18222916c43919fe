//! Clipped sums of every clip rule against their definition, `Σ f(‖g‖) g` over the records' own gradients.

use dpc::compile::{Compiled, Options};
use dpc::device::cpu::Cpu;
use dpc::device::gpu::Gpu;
use dpc::device::{Device, Session};
use dpc::lower::host_outputs;
use dpc::lower::program::Phase;
use dpc::options::{NoiseKind, NormChoice};
use dpc::privacy::clipping::{ClipFunction, ClipGroup, ClipRule};

use crate::zoo::{Golden, compiled, named, options, read_sum, result, session};

/// Models with tied, shared and broadcast parameters, whose gradients have terms in several places.
const MODELS: [&str; 7] =
    ["mlp", "mnist_small", "lstm_small", "tied_embedding", "shared_linear_mixed", "scale_and_token", "attention_heads"];

/// The rules to hold a model with these parameters to.
fn rules(parameters: &[String]) -> Vec<ClipRule> {
    let patterns: Vec<String> =
        parameters.iter().enumerate().map(|(k, name)| format!("{name}={}", 0.1 + 0.05 * k as f64)).collect();
    let texts = ["flat:0.5", "auto:0.5,gamma=0.1", "per-layer:0.5", "per-layer:0.5,auto"];
    let texts = texts.map(str::to_owned).into_iter().chain([format!("per-group:{}", patterns.join(";"))]);
    texts.map(|text| text.parse().unwrap_or_else(|error| panic!("{error}"))).collect()
}

/// The gradients of `rows` records, one after the other.
fn gradients(session: &mut dyn Session, compiled: &Compiled, parameter: &str) -> Vec<f64> {
    let values = result(session, compiled, &format!("per_sample/{parameter}"));
    values.into_iter().map(f64::from).collect()
}

fn factor(function: ClipFunction, norm: f64, bound: f64) -> f64 {
    match function {
        ClipFunction::Threshold => (bound / norm).min(1.0),
        ClipFunction::Automatic { gamma } => bound / (norm + gamma),
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(1e-12, |most, value| most.max(value.abs()))
}

/// Asserts the norms and sums of one clip group.
fn check_group(session: &mut dyn Session, compiled: &Compiled, rule: &ClipRule, k: usize, rows: usize, at: &str) {
    let ClipGroup { name, bound, parameters } = &compiled.clip_groups[k];
    let own: Vec<Vec<f64>> = parameters.iter().map(|p| gradients(session, compiled, p)).collect();
    let record = |values: &[f64], n: usize| values[n * values.len() / rows..][..values.len() / rows].to_vec();
    let square = |n: usize| own.iter().flat_map(|values| record(values, n)).map(|x| x * x).sum::<f64>();
    let norms: Vec<f64> = (0..rows).map(|n| square(n).sqrt()).collect();
    let shown = result(session, compiled, host_outputs::NORM);
    for (n, norm) in norms.iter().enumerate() {
        let found = f64::from(shown[n * compiled.clip_groups.len() + k]);
        assert!((found - norm).abs() <= 1e-4 * norm.max(1e-6), "{at} {name}: norm {found} and not {norm}");
    }
    for (parameter, values) in parameters.iter().zip(&own) {
        let mut expected = vec![0.0; values.len() / rows];
        for (n, &norm) in norms.iter().enumerate() {
            let factor = factor(rule.function(), norm, *bound);
            expected.iter_mut().zip(record(values, n)).for_each(|(sum, g)| *sum += factor * g);
        }
        let found = read_sum(session, compiled, parameter);
        let tolerance = 1e-4 * largest(&expected).max(largest(values) * bound);
        for (found, expected) in found.iter().zip(&expected) {
            assert!((f64::from(*found) - expected).abs() <= tolerance, "{at} {parameter}: {found} and not {expected}");
        }
    }
}

fn check(device: &dyn Device, name: &str) {
    let model = named(name);
    let mut golden = Golden::open(&model.golden);
    let rows = golden.floats("loss").len();
    let plain = options(model.loss.clone(), NormChoice::Auto);
    let (_, flat) = compiled(&model.files["ts"], &plain).expect("it compiles");
    for clip in rules(&flat.clip_groups[0].parameters) {
        for noise in [NoiseKind::Exact, NoiseKind::Float] {
            let options = Options { clip: clip.clone(), noise, ..plain.clone() };
            let (source, compiled) = compiled(&model.files["ts"], &options).expect("it compiles");
            let mut session = session(device, (&source, &compiled), &mut golden, rows);
            session.run(Phase::Private).expect("a run");
            for k in 0..compiled.clip_groups.len() {
                check_group(session.as_mut(), &compiled, &clip, k, rows, &format!("{name} {clip} {noise:?}"));
            }
        }
    }
}

#[test]
fn every_rule_clips_as_it_is_defined_on_cpu() {
    MODELS.iter().for_each(|name| check(&Cpu, name));
}

#[test]
fn every_rule_clips_as_it_is_defined_on_gpu() {
    let gpu = Gpu::open(None).unwrap_or_else(|e| panic!("{:?}", miette::Report::from(e)));
    MODELS.iter().for_each(|name| check(&gpu, name));
}
