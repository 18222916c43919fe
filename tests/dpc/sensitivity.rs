//! What one record can do to the clipped sum, whatever it holds and however norms are computed.

use std::collections::BTreeMap;

use dpc::compile::{Compiled, Options};
use dpc::device::cpu::Cpu;
use dpc::device::gpu::Gpu;
use dpc::device::{Device, Session};
use dpc::glob::Glob;
use dpc::graph::DType;
use dpc::lower::host_inputs;
use dpc::lower::kernels::Kernel;
use dpc::lower::program::{BufferId, Phase, Program, Role};
use dpc::options::{LABEL, NormChoice, Precision};
use dpc::privacy::ClipRule;
use dpc::privacy::clipping::ClipGroup;

use crate::zoo::{Golden, clear_sums, compiled, compiled_without, named, options, read_sum, session, sums_of};

const WAYS: [NormChoice; 4] = [NormChoice::Auto, NormChoice::Materialize, NormChoice::Ghost, NormChoice::Tile];

/// The clip rules, the flat one with every way to norms and the others with those that are chosen.
const RULES: [(&str, &[NormChoice]); 5] = [
    ("flat:0.5", &WAYS),
    ("per-layer:0.5", &[NormChoice::Auto]),
    ("per-group:*=0.5", &[NormChoice::Auto]),
    ("auto:0.5", &[NormChoice::Auto]),
    ("per-layer:0.5,auto,gamma=0.1", &[NormChoice::Auto]),
];

/// Models with every kind of weight gradient: dense, convolutional, embedding, recurrent, tied, shared, broadcast.
const MODELS: [&str; 8] = [
    "mlp",
    "mnist_small",
    "embedding_small",
    "lstm_small",
    "tied_embedding",
    "shared_linear",
    "scale_and_token",
    "attention_heads",
];

/// The clipped sums of a physical batch by parameter; the gradient sums are zero afterwards.
type Sums = BTreeMap<String, Vec<f32>>;

fn clipped_sum(session: &mut dyn Session, compiled: &Compiled, weight: &[f32]) -> Sums {
    let program = &compiled.program;
    let find = |role: Role| program.find(&role).expect("a buffer");
    session.write_f32(find(Role::Input(host_inputs::WEIGHT.into())), weight).expect("a write");
    session.run(Phase::Private).expect("a run");
    let mut all = Sums::new();
    for (name, _) in sums_of(program) {
        let sum = read_sum(session, compiled, &name);
        all.insert(name, sum);
    }
    clear_sums(session, program);
    all
}

fn distance<'a>(a: &Sums, b: &Sums, parameters: impl IntoIterator<Item = &'a String>) -> f64 {
    let pairs = parameters.into_iter().flat_map(|name| a[name].iter().zip(&b[name]));
    pairs.map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum::<f64>().sqrt()
}

/// The float input of the model, if it has one, and what it holds.
fn float_input(session: &mut dyn Session, compiled: &Compiled) -> Option<(BufferId, Vec<f32>)> {
    let of_the_model = |name: &str| !name.starts_with("dpc.") && name != LABEL;
    floats(session, compiled, of_the_model)
}

/// The float input with such a name, if there is one, and what it holds.
fn floats(
    session: &mut dyn Session,
    compiled: &Compiled,
    wanted: impl Fn(&str) -> bool,
) -> Option<(BufferId, Vec<f32>)> {
    let program = &compiled.program;
    let id = program.ids().find(|&id| {
        let buffer = program.buffer(id);
        matches!(&buffer.role, Role::Input(name) if wanted(name)) && buffer.dtype == DType::F32
    })?;
    let values = session.read_f32(id).expect("a read");
    Some((id, values))
}

/// Record `n` alone in its batch: the sum is its share and nothing else, so there is no rounding of other records to allow
/// for, and the bound holds to the last bit. Returns what passes it.
fn alone(session: &mut dyn Session, compiled: &Compiled, [n, rows]: [usize; 2], what: &str) -> Vec<String> {
    let mut weight = vec![0.0; rows];
    weight[n] = 1.0;
    let share = clipped_sum(session, compiled, &weight);
    let square = |name: &String| share[name].iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    let passes = |group: &ClipGroup| {
        let length = group.parameters.iter().map(square).sum::<f64>().sqrt();
        let bound = group.bound;
        (length > bound).then(|| format!("{what}, alone, moves {} by {length} where {bound} is the bound", group.name))
    };
    compiled.clip_groups.iter().filter_map(passes).collect()
}

fn check_alone(session: &mut dyn Session, compiled: &Compiled, [n, rows]: [usize; 2], what: &str) {
    let problems = alone(session, compiled, [n, rows], what);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn check(device: &dyn Device, name: &str, (way, precision): (NormChoice, Precision), rule: &ClipRule) {
    let model = named(name);
    let mut golden = Golden::open(&model.golden);
    let rows = golden.floats("loss").len();
    let options = Options { clip: rule.clone(), precision, ..options(model.loss.clone(), way) };
    let (source, compiled) = compiled(&model.files["ts"], &options).expect("it compiles");
    let mut session = session(device, (&source, &compiled), &mut golden, rows);
    let session = session.as_mut();
    let everyone = vec![1.0; rows];
    let mut others = everyone.clone();
    others[1] = 0.0;
    let all = clipped_sum(session, &compiled, &everyone);
    let without = clipped_sum(session, &compiled, &others);
    assert!(distance(&all, &without, all.keys()) > 0.0, "{name} {way:?} {rule}: one record does nothing");
    // What of a move is rounding of the other records' sum.
    let within = |with: &Sums, what: &str| {
        let moved = distance(with, &without, with.keys());
        assert!(moved <= rule.sensitivity() * (1.0 + 1e-4), "{name} {way:?} {rule}: {what} moves the sum by {moved}");
        for group in &compiled.clip_groups {
            let moved = distance(with, &without, &group.parameters);
            assert!(
                moved <= group.bound + 1e-4 * rule.sensitivity(),
                "{name} {rule}: {what} moves {} by {moved}",
                group.name
            );
        }
    };
    within(&all, "a record");
    let setting = format!("{name} {way:?} {precision:?} {rule} on {}", device.name());
    (0..rows).for_each(|n| check_alone(session, &compiled, [n, rows], &format!("{setting}: record {n}")));

    let Some((input, values)) = float_input(session, &compiled) else { return };
    let width = values.len() / rows;
    let same_as_another = values[..width].to_vec();
    let fill = |value: f32| vec![value; width];
    for (what, record) in [
        ("a record of zeros", fill(0.0)),
        ("a huge record", fill(1e30)),
        ("a large record", fill(1e4)),
        ("an infinite record", fill(f32::INFINITY)),
        ("a record of NaN", fill(f32::NAN)),
        ("a record that is there twice", same_as_another),
    ] {
        let mut changed = values.clone();
        changed[width..2 * width].copy_from_slice(&record);
        session.write_f32(input, &changed).expect("a write");
        let masked = clipped_sum(session, &compiled, &others);
        assert_eq!(masked, without, "{name} {way:?} {rule}: masked, {what} changes the sum");
        within(&clipped_sum(session, &compiled, &everyone), what);
        check_alone(session, &compiled, [1, rows], &format!("{setting}: {what}"));
    }
}

fn check_all(device: &dyn Device) {
    for (rule, ways) in RULES {
        let rule = rule.parse().expect("a clip rule");
        for name in MODELS {
            ways.iter().for_each(|&way| check(device, name, (way, Precision::F32), &rule));
        }
    }
}

/// What is kept in 16 bits is as bounded.
fn check_halves(device: &dyn Device) {
    for precision in [Precision::F16, Precision::Bf16] {
        for (rule, ways) in &RULES[..2] {
            let rule = rule.parse().expect("a clip rule");
            for name in MODELS {
                ways.iter().for_each(|&way| check(device, name, (way, precision), &rule));
            }
        }
    }
}

#[test]
fn one_record_moves_the_sum_by_the_bound_at_most_in_16_bits_on_cpu() {
    check_halves(&Cpu);
}

#[test]
fn one_record_moves_the_sum_by_the_bound_at_most_in_16_bits_on_gpu() {
    check_halves(&Gpu::open(None).unwrap_or_else(|e| panic!("{:?}", miette::Report::from(e))));
}

/// What a record is, its features, and the elements of its target.
type Adversary<'a> = (&'a str, f32, &'a dyn Fn(usize) -> f32);

/// Records that are made to defeat floating-point norms: a gradient whose huge terms cancel, wholly or almost, and one
/// with a side whose square underflows beside one that is huge. A norm that is taken for 0 lets a gradient of any length
/// pass unclipped, and huge terms swallow what other records added to the same sum. Returns what passes its bound.
fn defeats(
    device: &dyn Device,
    (name, way, rule): (&str, NormChoice, &ClipRule),
    freeze: bool,
    change: impl Fn(&mut Program),
) -> Vec<String> {
    let model = named(name);
    let mut golden = Golden::open(&model.golden);
    let rows = golden.floats("loss").len();
    let options = Options { clip: rule.clone(), ..options(model.loss.clone(), way) };
    let frozen: Vec<Glob> = freeze.then(|| Glob::new("*bias")).into_iter().collect();
    let (source, mut compiled) = compiled_without(&model.files["ts"], &options, &frozen).expect("it compiles");
    change(&mut compiled.program);
    let mut session = session(device, (&source, &compiled), &mut golden, rows);
    let session = session.as_mut();
    let mut problems = Vec::new();
    let everyone = vec![1.0; rows];
    let mut others = everyone.clone();
    others[rows - 1] = 0.0;
    let (x, features) = float_input(session, &compiled).expect("features");
    let (y, labels) = floats(session, &compiled, |name| name == LABEL).expect("targets");
    let (width, outputs) = (features.len() / rows, labels.len() / rows);
    let pairs = |size: f32| move |i: usize| [size, size, -size, -size].get(i).copied().unwrap_or_default();
    let nearly = |i: usize| pairs(1e6)(i) + if i == 3 { 100.0 } else { 0.0 };
    let adversaries: [Adversary<'_>; 6] = [
        ("targets that cancel", 1.0, &pairs(1e10)),
        ("targets that nearly cancel", 1.0, &nearly),
        ("large targets that cancel", 1.0, &pairs(1e16)),
        ("tiny features, huge targets", 1e-19, &|_| 9e18),
        ("tinier features, huge targets", 2.6e-23, &|_| 1.8e19),
        ("tiniest features, huge targets", 1e-41, &|_| 3e38),
    ];
    for (what, feature, target) in adversaries {
        let (mut features, mut labels) = (features.clone(), labels.clone());
        features[(rows - 1) * width..].fill(feature);
        labels[(rows - 1) * outputs..].iter_mut().enumerate().for_each(|(i, label)| *label = target(i));
        session.write_f32(x, &features).expect("a write");
        session.write_f32(y, &labels).expect("a write");
        // The other records are in the same physical batch, on either side of the sum.
        let without = clipped_sum(session, &compiled, &others);
        let with = clipped_sum(session, &compiled, &everyone);
        let moved = distance(&with, &without, with.keys());
        let setting = format!("{name} {way:?} {rule} on {}: {what}", device.name());
        if moved.is_nan() || moved > rule.sensitivity() * (1.0 + 1e-4) {
            problems.push(format!("{setting} moves the sum by {moved}"));
        }
        problems.extend(alone(session, &compiled, [rows - 1, rows], &setting));
    }
    problems
}

/// Makes clip factors of the norms alone, as they are computed.
fn allow_nothing(program: &mut Program) {
    for dispatch in program.phases.values_mut().flatten() {
        if let Kernel::ClipFactor(factor) = &mut dispatch.kernel {
            factor.errors = 0;
        }
    }
}

fn check_rounding_all(device: &dyn Device) {
    for rule in ["flat:0.5", "auto:0.5", "per-layer:0.5", "flat:1e-3"] {
        let rule = rule.parse().expect("a clip rule");
        for name in ["regression", "regression_sequence"] {
            for (way, freeze) in WAYS.iter().flat_map(|&way| [(way, false), (way, true)]) {
                let problems = defeats(device, (name, way, &rule), freeze, |_| {});
                assert!(problems.is_empty(), "{}", problems.join("\n"));
            }
        }
    }
}

/// Of long products and ids next to nothing is lost in `f64`, so that these records defeat no norm even where nothing is allowed for. What
/// sums in `f32` allow for is needed, as `src/tests/precise.rs` shows.
#[test]
fn long_products_need_no_allowance_for_rounding() {
    let rule = "flat:0.5".parse().expect("a clip rule");
    for way in WAYS {
        let problems = defeats(&Cpu, ("regression_sequence", way, &rule), true, allow_nothing);
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}

#[test]
fn no_record_defeats_its_norm_by_rounding_on_cpu() {
    check_rounding_all(&Cpu);
}

#[test]
fn no_record_defeats_its_norm_by_rounding_on_gpu() {
    check_rounding_all(&Gpu::open(None).unwrap_or_else(|e| panic!("{:?}", miette::Report::from(e))));
}

#[test]
fn one_record_moves_the_sum_by_the_bound_at_most_on_cpu() {
    check_all(&Cpu);
}

#[test]
fn one_record_moves_the_sum_by_the_bound_at_most_on_gpu() {
    check_all(&Gpu::open(None).unwrap_or_else(|e| panic!("{:?}", miette::Report::from(e))));
}
