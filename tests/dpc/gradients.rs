//! Per-sample gradients, norms, losses and clipped sums against PyTorch run one sample at a time in float64.

use dpc::compile::Compiled;
use dpc::device::{Device, Session};
use dpc::lower::host_outputs;
use dpc::lower::program::{Phase, Role};
use dpc::options::NormChoice;

use crate::zoo::{Golden, Model, compiled, options, result, session, zoo};

const WAYS: [NormChoice; 4] = [NormChoice::Auto, NormChoice::Materialize, NormChoice::Ghost, NormChoice::Tile];

/// The largest distance between two arrays over the largest entry of the second.
fn distance(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1e-12f64, |m, x| m.max(x.abs()));
    found.iter().zip(expected).fold(0.0f64, |m, (f, e)| m.max((f64::from(*f) - e).abs())) / largest
}

/// The largest relative distance entry by entry.
fn relative(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).fold(0.0f64, |m, (f, e)| m.max((f64::from(*f) - e).abs() / e.abs().max(1e-6)))
}

/// Everything that a golden file says about a compiled model, as a list of what does not hold.
fn check(
    compiled: &Compiled,
    session: &mut dyn Session,
    golden: &mut Golden,
    initialiser: impl Fn(&str) -> String,
    at: &str,
    problems: &mut Vec<String>,
) {
    session.run(Phase::Private).expect("a run");
    let mut expect = |what: &str, off: f64| {
        if off.is_nan() || off > 1e-4 {
            problems.push(format!("{at}: {what} is off by {off:.1e}"));
        }
    };
    let (loss, norm) = (golden.floats("loss"), golden.floats("norm"));
    expect("loss", relative(&result(session, compiled, host_outputs::LOSS), &loss));
    expect("norm", relative(&result(session, compiled, host_outputs::NORM), &norm));
    let factors: Vec<f64> = norm.iter().map(|n| (0.5 / n).min(1.0)).collect();
    for name in golden.names().iter().filter_map(|n| n.strip_prefix("per_sample/")) {
        let expected = golden.floats(&format!("per_sample/{name}"));
        let initialiser = initialiser(name);
        let role = Role::Output(format!("per_sample/{initialiser}"));
        let Some(id) = compiled.program.find(&role) else {
            expect(&format!("{name} has no gradient and"), expected.iter().fold(0.0, |m: f64, x| m.max(x.abs())));
            continue;
        };
        expect(name, distance(&session.read_f32(id).expect("a read"), &expected));
        let len = expected.len() / factors.len();
        let sum: Vec<f64> =
            (0..len).map(|i| factors.iter().enumerate().map(|(n, c)| c * expected[n * len + i]).sum()).collect();
        let id = compiled.program.find(&Role::GradientSum(initialiser)).expect("a gradient sum");
        // Where the records' terms cancel, rounding is measured against the terms and not against what is left of them.
        let largest = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let found = session.read_f32(id).expect("a read");
        let off =
            found.iter().zip(&sum).fold(0.0f64, |m, (f, e)| m.max((f64::from(*f) - e).abs())) / largest.max(1e-12);
        expect(&format!("the clipped sum of {name}"), off);
    }
}

/// Runs a model by every recipe and way; returns what does not hold.
pub fn check_model(model: &Model, device: &dyn Device) -> Vec<String> {
    let mut problems = Vec::new();
    let mut golden = Golden::open(&model.golden);
    let rows = golden.floats("loss").len();
    for (recipe, path) in &model.files {
        for way in WAYS {
            let at = format!("{} {recipe} {way:?}", model.name);
            match compiled(path, &options(model.loss, way)) {
                Ok((source, compiled)) => {
                    let mut session = session(device, (&source, &compiled), &mut golden, rows);
                    let initialiser = |name: &str| {
                        let key = (recipe.clone(), name.to_string());
                        model.renamed.get(&key).cloned().unwrap_or_else(|| name.into())
                    };
                    check(&compiled, session.as_mut(), &mut golden, initialiser, &at, &mut problems);
                }
                Err(e) => {
                    problems.push(format!("{at}: {e}"));
                    break;
                }
            }
        }
    }
    problems
}

#[test]
fn zoo_gradients_on_cpu_are_pytorchs() {
    let device = dpc::device::cpu::Cpu;
    let only = std::env::var("DPC_MODEL").ok();
    let problems: Vec<String> = zoo()
        .iter()
        .filter(|m| !m.inference)
        .filter(|m| only.as_ref().is_none_or(|o| m.name == *o))
        .flat_map(|m| check_model(m, &device))
        .collect();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}
