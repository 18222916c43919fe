//! Per-sample gradients, norms, losses and clipped sums against PyTorch run one sample at a time in float64.

use dpc::compile::{Compiled, Options};
use dpc::device::cpu::Cpu;
use dpc::device::gpu::Gpu;
use dpc::device::{Device, Session};
use dpc::lower::program::{BufferId, Phase, Role};
use dpc::lower::{host_inputs, host_outputs};
use dpc::options::NormChoice;
use dpc::privacy::{ClipRule, grid};

use crate::zoo::{Golden, Model, clear_sums, compiled, options, paper, read_sum, result, session, sums_of, zoo};

const WAYS: [NormChoice; 4] = [NormChoice::Auto, NormChoice::Materialize, NormChoice::Ghost, NormChoice::Tile];

/// The tolerance of the product: relative to the largest entry for gradients, entry by entry for norms and losses.
const TOLERANCE: f64 = 1e-4;

/// By how much a clip factor may be below that of the exact norm: it allows for what rounding may hide of the norm, which is
/// most for inner products over many positions, where the cost model does not choose them.
const ALLOWANCE: f64 = 2e-4;

/// What of a parameter's gradient a golden file holds.
struct Expected {
    /// Which elements of one record's gradient; all of them if `None`.
    elements: Option<Vec<usize>>,
    /// Their values, record by record.
    values: Vec<f64>,
    /// The largest entry of the whole gradient.
    largest: f64,
}

fn expected(golden: &mut Golden, names: &[String], name: &str, len: usize) -> Expected {
    let has = |kind: &str| names.contains(&format!("{kind}/{name}"));
    let (elements, values) = if has("per_sample") {
        (None, golden.floats(&format!("per_sample/{name}")))
    } else if has("per_sample_rows") {
        let rows = golden.ints(&format!("rows/{name}"));
        let values = golden.floats(&format!("per_sample_rows/{name}"));
        let records = golden.floats("loss").len();
        let width = values.len() / rows.len() / records;
        let elements = rows.iter().flat_map(|&r| (0..width).map(move |j| r as usize * width + j)).collect();
        (Some(elements), values)
    } else {
        let elements = golden.ints(&format!("flat_index/{name}")).into_iter().map(|i| i as usize).collect();
        (Some(elements), golden.floats(&format!("per_sample_flat/{name}")))
    };
    assert!(elements.as_ref().is_none_or(|e: &Vec<usize>| e.iter().all(|&i| i < len)));
    let largest = values.iter().fold(1e-12f64, |m, x| m.max(x.abs()));
    Expected { elements, values, largest }
}

/// The largest relative distance entry by entry.
fn relative(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let off = |(f, e): (&f32, &f64)| (f64::from(*f) - e).abs() / e.abs().max(1e-6);
    found.iter().zip(expected).map(off).fold(0.0, worse)
}

/// The larger distance, where NaN is the largest.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The bound of a model, which as many records pass as do not: halfway between the two norms in the middle.
fn median_norm(golden: &mut Golden) -> f64 {
    let mut norms = golden.floats("norm");
    norms.sort_by(f64::total_cmp);
    let (below, above) = norms.split_at(norms.len() / 2);
    let bound = (below[below.len() - 1] + above[0]) / 2.0;
    assert!(below[0] < bound && bound < above[above.len() - 1], "{norms:?} are all the same");
    bound
}

/// The clip factor of each record: the length of its share of the sums, when it is alone in its batch, along its gradient.
fn factors(session: &mut dyn Session, compiled: &Compiled, rows: usize) -> Vec<f64> {
    let program = &compiled.program;
    let of = |(name, _): (String, BufferId)| Some((program.find(&Role::Output(format!("per_sample/{name}")))?, name));
    let trained: Vec<(BufferId, String)> = sums_of(program).into_iter().filter_map(of).collect();
    let weight = program.find(&Role::Input(host_inputs::WEIGHT.into())).expect("weights");
    let sums = |session: &mut dyn Session, weights: &[f32]| -> Vec<Vec<f32>> {
        clear_sums(session, program);
        session.write_f32(weight, weights).expect("a write");
        session.run(Phase::Private).expect("a run");
        trained.iter().map(|(_, name)| read_sum(session, compiled, name)).collect()
    };
    let alone = |n: usize| (0..rows).map(|row| f32::from(u8::from(row == n))).collect::<Vec<f32>>();
    let mut factors = Vec::new();
    for n in 0..rows {
        let (mut along, mut square) = (0.0, 0.0);
        for (share, (gradients, _)) in sums(session, &alone(n)).iter().zip(&trained) {
            let all = session.read_f32(*gradients).expect("a read");
            for (s, g) in share.iter().zip(&all[n * share.len()..]) {
                along += f64::from(*s) * f64::from(*g);
                square += f64::from(*g).powi(2);
            }
        }
        // A gradient that is zero adds nothing, whatever its factor.
        factors.push(if square > 0.0 { along / square } else { 1.0 });
    }
    sums(session, &vec![1.0; rows]);
    factors
}

/// Everything that a golden file says about a model compiled with this bound, as a list of what does not hold.
fn check(
    (compiled, bound, way): (&Compiled, f64, NormChoice),
    session: &mut dyn Session,
    golden: &mut Golden,
    initialiser: impl Fn(&str) -> String,
    at: &str,
) -> Vec<String> {
    let mut problems = Vec::new();
    session.run(Phase::Private).expect("a run");
    let mut expect = |what: &str, off: f64| {
        if off.is_nan() || off > TOLERANCE {
            problems.push(format!("{at}: {what} is off by {off:.1e}"));
        }
    };
    let (loss, norm) = (golden.floats("loss"), golden.floats("norm"));
    expect("loss", relative(&result(session, compiled, host_outputs::LOSS), &loss));
    expect("norm", relative(&result(session, compiled, host_outputs::NORM), &norm));
    let exact = norm.iter().map(|n| (bound / n).min(1.0));
    let factors: Vec<f64> = match way {
        NormChoice::Ghost => {
            let factors = factors(session, compiled, norm.len());
            for (n, (factor, exact)) in factors.iter().zip(exact).enumerate() {
                let allowed = exact * (1.0 - ALLOWANCE)..=exact * (1.0 + TOLERANCE);
                let off = if allowed.contains(factor) { 0.0 } else { f64::NAN };
                expect(&format!("the factor {factor} of record {n}, by its norm {exact},"), off);
            }
            factors
        }
        _ => exact.collect(),
    };
    let names = golden.names();
    for name in golden.parameters() {
        let initialiser = initialiser(&name);
        let Some(id) = compiled.program.find(&Role::Output(format!("per_sample/{initialiser}"))) else {
            expect(&format!("{name} has no gradient, which"), f64::NAN);
            continue;
        };
        let found = session.read_f32(id).expect("a read");
        let len = found.len() / factors.len();
        let expected = expected(golden, &names, &name, len);
        let elements = expected.elements.unwrap_or_else(|| (0..len).collect());
        let sum = read_sum(session, compiled, &initialiser);
        let (mut off, mut sum_off, mut largest_sum) = (0.0, 0.0, 1e-12f64);
        for (k, &i) in elements.iter().enumerate() {
            let (mut total, mut terms) = (0.0, 0.0);
            for (n, factor) in factors.iter().enumerate() {
                let value = expected.values[n * elements.len() + k];
                off = worse(off, (f64::from(found[n * len + i]) - value).abs());
                total += factor * value;
                terms += factor * value.abs();
            }
            sum_off = worse(sum_off, (f64::from(sum[i]) - total).abs());
            largest_sum = largest_sum.max(terms);
        }
        expect(&name, off / expected.largest);
        // Where records cancel, rounding is measured against their terms, and not against what is left of them.
        // What each record adds is rounded to the grid.
        let rounding = if compiled.program.exact() { 0.5 * factors.len() as f64 * grid::unit(bound) } else { 0.0 };
        let sum_off = if sum_off <= rounding { 0.0 } else { sum_off - rounding };
        expect(&format!("the clipped sum of {name}"), sum_off / largest_sum);
    }
    problems
}

/// Runs a model by every recipe and the given ways; returns what does not hold.
fn check_model(model: &Model, device: &dyn Device, ways: &[NormChoice]) -> Vec<String> {
    let mut golden = Golden::open(&model.golden);
    let rows = golden.floats("loss").len();
    let bound = median_norm(&mut golden);
    let clip = ClipRule::flat(bound).expect("a bound");
    let mut problems = Vec::new();
    for (recipe, path) in &model.files {
        for &way in ways {
            let at = format!("{} {recipe} {way:?}", model.name);
            match compiled(path, &Options { clip: clip.clone(), ..options(model.loss.clone(), way) }) {
                Ok((source, compiled)) => {
                    let mut session = session(device, (&source, &compiled), &mut golden, rows);
                    let initialiser = |name: &str| {
                        let key = (recipe.clone(), name.to_string());
                        model.renamed.get(&key).cloned().unwrap_or_else(|| name.into())
                    };
                    problems.extend(check((&compiled, bound, way), session.as_mut(), &mut golden, initialiser, &at));
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

/// Checks models; `DPC_MODEL` narrows them to one.
fn check_models(models: Vec<Model>, device: &dyn Device, ways: &[NormChoice]) {
    let only = std::env::var("DPC_MODEL").ok();
    let wanted = |m: &&Model| !m.inference && only.as_ref().is_none_or(|o| m.name == *o);
    let models: Vec<&Model> = models.iter().filter(wanted).collect();
    assert!(!models.is_empty() || only.is_some(), "no model has goldens");
    let problems: Vec<String> = models.iter().flat_map(|m| check_model(m, device, ways)).collect();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn zoo_gradients_on_cpu_are_pytorchs() {
    check_models(zoo(), &Cpu, &WAYS);
}

#[test]
fn paper_gradients_on_cpu_are_pytorchs() {
    check_models(paper(), &Cpu, &WAYS);
}

#[test]
fn zoo_gradients_on_gpu_are_pytorchs() {
    check_models(zoo(), &Gpu::open(None).unwrap_or_else(|e| panic!("{:?}", miette::Report::from(e))), &WAYS);
}

#[test]
fn paper_gradients_on_gpu_are_pytorchs() {
    check_models(paper(), &Gpu::open(None).unwrap_or_else(|e| panic!("{:?}", miette::Report::from(e))), &WAYS);
}
