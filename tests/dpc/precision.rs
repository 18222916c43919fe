//! Values that are kept in 16 bits: gradients are near those of `f32`, and norms and sums are of the same gradients.

use dpc::compile::{Compiled, Options};
use dpc::device::cpu::Cpu;
use dpc::device::gpu::Gpu;
use dpc::device::{Device, Session};
use dpc::lower::kernels::Kernel;
use dpc::lower::program::{Phase, Role};
use dpc::lower::{host_inputs, host_outputs};
use dpc::options::{NormChoice, Precision};

use crate::zoo::{Golden, Model, compiled, options, result, session, zoo};

const WAYS: [NormChoice; 4] = [NormChoice::Auto, NormChoice::Materialize, NormChoice::Ghost, NormChoice::Tile];
/// The precisions with the unit roundoff of each.
const HALVES: [(Precision, f64); 2] = [(Precision::F16, 1.0 / 2048.0), (Precision::Bf16, 1.0 / 256.0)];
/// How many unit roundoffs a record's gradient may be off, of its length: a network rounds at each layer.
const ROUNDINGS: f64 = 2.0;
/// How far a norm, or a clipped sum, may be off from what the gradients say.
const TOLERANCE: f64 = 1e-4;

/// What a private step says of a batch: each record's gradient, the norms, and the clipped sum, parameters in a row.
struct Step {
    gradients: Vec<Vec<f64>>,
    norms: Vec<f64>,
    sum: Vec<f64>,
}

/// A step with these weights of the rows.
fn step(session: &mut dyn Session, compiled: &Compiled, weights: &[f32]) -> Step {
    let program = &compiled.program;
    let rows = weights.len();
    let weight = program.find(&Role::Input(host_inputs::WEIGHT.into())).expect("weights");
    session.write_f32(weight, weights).expect("a write");
    let sums: Vec<_> = program.ids().filter(|&id| matches!(program.buffer(id).role, Role::GradientSum(_))).collect();
    for &sum in &sums {
        session.write_f32(sum, &vec![0.0; program.buffer(sum).len.fixed]).expect("a write");
    }
    session.run(Phase::Private).expect("a run");
    let (mut gradients, mut all) = (vec![Vec::new(); rows], Vec::new());
    for sum in sums {
        let Role::GradientSum(name) = &program.buffer(sum).role else { continue };
        let each = result(session, compiled, &format!("per_sample/{name}"));
        let len = each.len() / rows;
        for (gradient, own) in gradients.iter_mut().zip(each.chunks_exact(len.max(1))) {
            gradient.extend(own.iter().map(|&x| f64::from(x)));
        }
        all.extend(session.read_f32(sum).expect("a read").into_iter().map(f64::from));
    }
    let norms = result(session, compiled, host_outputs::NORM).into_iter().map(f64::from).collect();
    Step { gradients, norms, sum: all }
}

fn length(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn distance(x: &[f64], y: &[f64]) -> f64 {
    assert_eq!(x.len(), y.len());
    x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt()
}

/// Whether the private phase keeps anything in 16 bits.
fn narrows(compiled: &Compiled) -> bool {
    compiled.program.phase(Phase::Private).iter().any(|dispatch| matches!(dispatch.kernel, Kernel::Narrow(_)))
}

/// What does not hold of a model, and whether it keeps anything in 16 bits.
fn check(model: &Model, device: &dyn Device, ways: &[NormChoice]) -> (Vec<String>, bool) {
    let mut problems = Vec::new();
    let mut golden = Golden::open(&model.golden);
    let rows = golden.floats("loss").len();
    let path = &model.files["ts"];
    let everyone = vec![1.0; rows];
    let exact = {
        let (source, compiled) = compiled(path, &options(model.loss.clone(), NormChoice::Auto)).expect("it compiles");
        step(session(device, (&source, &compiled), &mut golden, rows).as_mut(), &compiled, &everyone)
    };
    let mut narrowed = false;
    for (precision, roundoff) in HALVES {
        let mut first: Option<Step> = None;
        for &way in ways {
            let at = format!("{} {precision:?} {way:?}", model.name);
            let options = Options { precision, ..options(model.loss.clone(), way) };
            let (source, compiled) = compiled(path, &options).expect("it compiles");
            narrowed |= narrows(&compiled);
            let mut session = session(device, (&source, &compiled), &mut golden, rows);
            let session = session.as_mut();
            let all = step(session, &compiled, &everyone);
            let mut hold = |what: String, off: f64, most: f64| {
                if off.is_nan() || off > most {
                    problems.push(format!("{at}: {what} is off by {off:.2e}, more than {most:.1e}"));
                }
            };
            for (n, gradient) in all.gradients.iter().enumerate() {
                let off = distance(gradient, &exact.gradients[n]) / length(&exact.gradients[n]).max(1e-9);
                hold(format!("the gradient of record {n}"), off, ROUNDINGS * roundoff);
                let off = (all.norms[n] - length(gradient)).abs() / length(gradient).max(1e-6);
                hold(format!("the norm of record {n}"), off, TOLERANCE);
                if let Some(first) = &first {
                    let off = distance(gradient, &first.gradients[n]) / length(gradient).max(1e-9);
                    hold(format!("the gradient of record {n} by other norms"), off, TOLERANCE);
                }
            }
            // The sum is that of the gradients with a factor each, which is the record's alone.
            let mut expected = vec![0.0; all.sum.len()];
            for n in 0..rows {
                let mut alone = vec![0.0; rows];
                alone[n] = 1.0;
                let own = step(session, &compiled, &alone);
                let square = length(&all.gradients[n]).powi(2).max(1e-30);
                let along: f64 = own.sum.iter().zip(&all.gradients[n]).map(|(s, g)| s * g).sum();
                let share: Vec<f64> = all.gradients[n].iter().map(|g| g * along / square).collect();
                hold(
                    format!("the share of record {n}"),
                    distance(&own.sum, &share) / length(&share).max(1e-9),
                    TOLERANCE,
                );
                let bound = compiled.clip_groups[0].bound;
                hold(format!("the length of record {n}'s share"), length(&own.sum), bound);
                let least = bound.min(length(&all.gradients[n])) * (1.0 - 2e-3);
                hold(format!("what is missing of record {n}'s share"), least - length(&own.sum), 0.0);
                expected.iter_mut().zip(own.sum).for_each(|(sum, own)| *sum += own);
            }
            let most = rows as f64 * compiled.clip_groups[0].bound;
            hold("the sum".into(), distance(&all.sum, &expected) / most, 1e-6);
            first.get_or_insert(all);
        }
    }
    (problems, narrowed)
}

fn check_all(device: &dyn Device, ways: &[NormChoice]) {
    let only = std::env::var("DPC_MODEL").ok();
    let wanted = |m: &&Model| !m.inference && only.as_ref().is_none_or(|o| m.name == *o);
    let models = zoo();
    let (problems, narrowed): (Vec<Vec<String>>, Vec<bool>) =
        models.iter().filter(wanted).map(|model| check(model, device, ways)).unzip();
    let problems = problems.concat();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    let kept = narrowed.iter().filter(|&&narrowed| narrowed).count();
    assert!(only.is_some() || kept * 2 > narrowed.len(), "only {kept} of {} keep anything", narrowed.len());
}

#[test]
fn the_zoos_gradients_in_16_bits_on_cpu() {
    check_all(&Cpu, &WAYS);
}

#[test]
fn the_zoos_gradients_in_16_bits_on_gpu() {
    let gpu = Gpu::open(None).unwrap_or_else(|e| panic!("{:?}", miette::Report::from(e)));
    check_all(&gpu, &[NormChoice::Auto, NormChoice::Tile]);
}
