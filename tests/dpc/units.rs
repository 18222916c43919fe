//! Units of several records: the clipped sum of the mean gradients of users, against the records' own gradients.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use dpc::artifact::{self, Artifact};
use dpc::compile::Options;
use dpc::device::cpu::Cpu;
use dpc::device::gpu::Gpu;
use dpc::device::{Device, TARGETS};
use dpc::lower::check;
use dpc::lower::program::Phase;
use dpc::onnx::{Source, discover};
use dpc::options::{NoiseKind, NormChoice};
use dpc::privacy::clipping::{ClipFunction, ClipState};
use dpc::privacy::grid;
use dpc::privacy::keys::RunKey;
use dpc::privacy::plan::{PlanSpec, PrivacyPlan};
use dpc::privacy::sampling::Sampling;
use dpc::train::augment::{Augment, Views};
use dpc::train::chance::Chance;
use dpc::train::data::{Array, Batch, Dataset, Values};
use dpc::train::engine::Engine;
use dpc::train::load;
use dpc::train::lr_schedule::LrSchedule;
use dpc::train::step::{Setting, StepError, Stepper};
use dpc::train::units::Units;

use crate::zoo::{compiled, named, options};

const MODELS: [&str; 4] = ["mlp", "mnist_small", "lstm_small", "tied_embedding"];
const RULES: [&str; 4] = ["flat:0.3", "per-layer:0.3", "auto:0.3,gamma=0.1", "per-layer:0.3,auto"];

/// The records of each user.
const USERS: [Range<usize>; 4] = [0..5, 5..6, 6..17, 17..20];
const RECORDS: usize = 20;

const UNIT: [Phase; 3] = [Phase::Plain, Phase::Fold, Phase::Release];
/// The same where sums are of floats.
const FLOAT_UNIT: [Phase; 4] = [Phase::Plain, Phase::Fold, Phase::Collect, Phase::Update];

fn artifact(name: &str, rule: &str, noise: NoiseKind) -> Artifact {
    let model = named(name);
    let clip = rule.parse().expect("a clip rule");
    let options = Options { clip, noise, ..options(model.loss.clone(), NormChoice::Auto) };
    let path = &model.files["ts"];
    let (_, compiled) = compiled(path, &options).expect("it compiles");
    let source = Source::open(path).expect("a model");
    let parameters = discover(&source, &[], &[]).expect("parameters");
    artifact::build(&source, &parameters, compiled, &options, RECORDS).expect("an artifact")
}

fn engine(device: &dyn Device, artifact: &Artifact, rows: usize, phases: &[Phase]) -> Engine {
    let program = Arc::new(artifact.program.clone());
    let mut engine = Engine::new(device, program, &artifact.weights, rows, phases).expect("an engine");
    let state = ClipState::new(&artifact.manifest.clip, &artifact.manifest.clip_groups);
    engine.set_clip_bounds(&state.bounds(1.0)).expect("a write");
    engine
}

/// Records as they are.
fn still() -> Chance {
    Chance::new(&RunKey::insecure(1), None)
}

/// The phases of units of an artifact.
fn unit_phases(artifact: &Artifact) -> &'static [Phase] {
    if artifact.program.exact() { &UNIT } else { &FLOAT_UNIT }
}

/// Ends the sum over units.
fn collect(engine: &mut Engine) {
    if !engine.exact() {
        engine.collect_units().expect("a sum");
    }
}

/// The sum of a parameter's gradients.
fn sum(engine: &mut Engine, artifact: &Artifact, name: &String) -> Vec<f32> {
    if !engine.exact() {
        return engine.gradient_sum(name).expect("a sum");
    }
    let group = artifact.manifest.clip_groups.iter().find(|group| group.parameters.contains(name));
    let unit = grid::unit(group.expect("a group").bound);
    engine.grid_sum(name).expect("a sum").into_iter().map(|x| (x as f64 * unit) as f32).collect()
}

/// Sets the sums to zero by a step that moves nothing.
fn end(engine: &mut Engine, artifact: &Artifact, step: u64) {
    let optimizer = &artifact.manifest.optimizer;
    let units = vec![1.0; artifact.manifest.clip_groups.len()];
    match engine.exact() {
        true => engine.release(optimizer, step, 0.0, 1.0, (&[], &units)).expect("a release"),
        false => engine.update(optimizer, step, 0.0, 1.0, None).expect("an update"),
    }
}

/// The mean over `records` of the gradients of every parameter.
fn mean(gradients: &BTreeMap<String, Vec<f32>>, records: Range<usize>) -> BTreeMap<&String, Vec<f64>> {
    let of = |values: &Vec<f32>| {
        let width = values.len() / RECORDS;
        let mut mean = vec![0.0; width];
        for n in records.clone() {
            let own = values[n * width..][..width].iter();
            mean.iter_mut().zip(own).for_each(|(mean, g)| *mean += f64::from(*g) / records.len() as f64);
        }
        mean
    };
    gradients.iter().map(|(name, values)| (name, of(values))).collect()
}

/// The sum over users of their clipped mean gradients, and each user's norms, by definition.
fn by_definition(
    device: &dyn Device,
    artifact: &Artifact,
    data: &Dataset,
    users: &[Range<usize>],
) -> (BTreeMap<String, Vec<f64>>, Vec<Vec<f64>>) {
    let mut engine = engine(device, artifact, RECORDS, &[Phase::Private]);
    let all: Vec<usize> = (0..RECORDS).collect();
    engine.run(Phase::Private, data, &all, None).expect("a run");
    let trained = engine.trained();
    let read = |name: String| {
        let values = engine.floats(&format!("per_sample/{name}")).expect("gradients");
        (name, values)
    };
    let gradients: BTreeMap<String, Vec<f32>> = trained.into_iter().map(read).collect();
    let mut sums: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut norms = Vec::new();
    for user in users {
        let mean = mean(&gradients, user.clone());
        let mut of_user = Vec::new();
        for group in &artifact.manifest.clip_groups {
            let norm = group.parameters.iter().flat_map(|name| &mean[name]).map(|g| g * g).sum::<f64>().sqrt();
            let factor = match artifact.manifest.clip.function() {
                _ if !norm.is_finite() => 0.0,
                ClipFunction::Threshold => (group.bound / norm).min(1.0),
                ClipFunction::Automatic { gamma } => group.bound / (norm + gamma),
            };
            for name in &group.parameters {
                let sum = sums.entry(name.clone()).or_insert_with(|| vec![0.0; mean[name].len()]);
                let own = mean[name].iter().filter(|_| factor > 0.0);
                sum.iter_mut().zip(own).for_each(|(sum, g)| *sum += factor * g);
            }
            of_user.push(norm);
        }
        norms.push(of_user);
    }
    (sums, norms)
}

fn check(device: &dyn Device, artifact: &Artifact, data: &Dataset, at: &str) {
    let (expected, norms) = by_definition(device, artifact, data, &USERS);
    for rows in [1, 4, 32] {
        let mut engine = engine(device, artifact, rows, unit_phases(artifact));
        let chance = still();
        for step in 1..=2 {
            for (user, norms) in USERS.into_iter().zip(&norms) {
                let records: Vec<usize> = user.collect();
                let shown = engine.add_unit(data, &records, (&chance, 0)).expect("a unit");
                assert_eq!(shown.loss.len(), records.len());
                for (found, norm) in shown.group_norms.iter().zip(norms) {
                    let near = (f64::from(*found) - norm).abs() <= 1e-4 * norm.max(1e-6);
                    assert!(near || !(found.is_finite() || norm.is_finite()), "{at}: norm {found} and not {norm}");
                }
            }
            collect(&mut engine);
            for (name, expected) in &expected {
                let largest = expected.iter().fold(1e-6, |most: f64, g| most.max(g.abs()));
                let found = sum(&mut engine, artifact, name);
                for (found, expected) in found.iter().zip(expected) {
                    let off = (f64::from(*found) - expected).abs();
                    assert!(off <= 1e-4 * largest, "{at} {name}, {rows} rows, step {step}: {found} and not {expected}");
                }
            }
            // With a learning rate of 0 the second step is the first one again.
            end(&mut engine, artifact, step);
        }
        collect(&mut engine);
        assert!(expected.keys().all(|name| sum(&mut engine, artifact, name).iter().all(|g| *g == 0.0)));
    }
}

fn check_all(device: &dyn Device) {
    for name in MODELS {
        for rule in RULES {
            for noise in [NoiseKind::Exact, NoiseKind::Float] {
                let artifact = artifact(name, rule, noise);
                let data = Dataset::random(&artifact.manifest.schema, RECORDS);
                check(device, &artifact, &data, &format!("{name} {rule} {noise:?}"));
            }
        }
    }
}

fn gpu() -> Gpu {
    Gpu::open(None).unwrap_or_else(|e| panic!("{:?}", miette::Report::from(e)))
}

#[test]
fn users_are_clipped_as_one_on_cpu() {
    check_all(&Cpu);
}

#[test]
fn users_are_clipped_as_one_on_gpu() {
    check_all(&gpu());
}

#[test]
fn a_user_with_a_record_that_is_not_finite_counts_as_zero() {
    let artifact = artifact("mlp", "flat:0.3", NoiseKind::Exact);
    let random = Dataset::random(&artifact.manifest.schema, RECORDS);
    for value in [f32::NAN, f32::INFINITY] {
        let mut arrays = BTreeMap::new();
        for column in random.inputs().iter().chain(random.targets()) {
            let dims = [&[RECORDS], column.dims.as_slice()].concat();
            let array = match column.values().expect("values") {
                Values::F32(mut values) => {
                    values[7 * column.width()] = value;
                    Array::from_f32(dims, &values)
                }
                Values::I32(values) => Array::from_i64(dims, &values.iter().map(|&v| v.into()).collect::<Vec<_>>()),
            };
            arrays.insert(column.name.clone(), array);
        }
        let data = Dataset::from_arrays("memory", &arrays, &artifact.manifest.schema).expect("data");
        check(&Cpu, &artifact, &data, &format!("{value}"));
        check(&gpu(), &artifact, &data, &format!("{value}"));
    }
}

#[test]
fn a_user_moves_the_sum_by_the_bound_at_most() {
    for rule in RULES {
        let artifact = artifact("mnist_small", rule, NoiseKind::Exact);
        let data = Dataset::random(&artifact.manifest.schema, RECORDS);
        let mut engine = engine(&Cpu, &artifact, 4, &UNIT);
        let records: Vec<usize> = (0..RECORDS).collect();
        engine.add_unit(&data, &records, (&still(), 0)).expect("a unit");
        let mut square = 0.0;
        let grid = artifact.manifest.grid.as_ref().expect("a grid");
        for (k, group) in artifact.manifest.clip_groups.iter().enumerate() {
            let sums = group.parameters.iter().flat_map(|name| engine.grid_sum(name).expect("a sum"));
            let moved = sums.map(|x| (x as f64).powi(2)).sum::<f64>().sqrt();
            assert!(moved <= grid.group_sensitivity(k), "{rule} {}: {moved}", group.name);
            square += moved;
        }
        assert!(square > 0.0, "{rule}");
    }
}

#[test]
fn phases_that_are_not_used_take_no_memory_and_do_not_run() {
    let artifact = artifact("mnist_small", "flat:1.0", NoiseKind::Exact);
    let program = &artifact.program;
    let bytes = |phases: &[Phase]| program.restricted(phases).bytes(64);
    assert!(bytes(&[Phase::Private, Phase::Release]) < program.bytes(64));
    assert!(bytes(&[Phase::Plain, Phase::Update]) < bytes(&UNIT));
    let data = Dataset::random(&artifact.manifest.schema, RECORDS);
    let mut engine = engine(&Cpu, &artifact, 4, &[Phase::Plain, Phase::Update]);
    let error = engine.add_unit(&data, &[0], (&still(), 0)).unwrap_err();
    assert_eq!(error.to_string(), "the compiled program has no phase fold");
}

const VIEWS: usize = 5;

/// The views of each record of `data` at a step, as records of their own.
fn seen(data: &Dataset, artifact: &Artifact, augment: Augment, step: u64) -> Dataset {
    let rows: Vec<_> = (0..RECORDS).map(|row| (row / VIEWS, row % VIEWS)).collect();
    let mut batch = Batch::default();
    data.fill(&rows.iter().map(|(record, _)| *record).collect::<Vec<_>>(), RECORDS, &mut batch).expect("records");
    Views::new(augment, &RunKey::insecure(1)).apply(data, step, &rows, &mut batch);
    let columns = data.inputs().iter().zip(&batch.inputs).chain(data.targets().iter().zip(&batch.targets));
    let arrays = columns.map(|(column, values)| {
        let dims = [&[RECORDS], column.dims.as_slice()].concat();
        let array = match values {
            Values::F32(values) => Array::from_f32(dims, values),
            Values::I32(values) => Array::from_i64(dims, &values.iter().map(|&v| v.into()).collect::<Vec<_>>()),
        };
        (column.name.clone(), array)
    });
    Dataset::from_arrays("memory", &arrays.collect(), &artifact.manifest.schema).expect("data")
}

/// The rows of each record's views.
fn views() -> Vec<Range<usize>> {
    (0..RECORDS / VIEWS).map(|n| n * VIEWS..(n + 1) * VIEWS).collect()
}

/// K views of each record and one row for each are the same.
fn views_are_clipped_as_one(device: &dyn Device) {
    const STEP: u64 = 3;
    let augment: Augment = format!("{VIEWS}:flip,crop=2,shift=1,rotate=20,noise=0.1").parse().expect("ways");
    for (rule, noise) in [("flat:0.3", NoiseKind::Exact), ("per-layer:0.3,auto", NoiseKind::Float)] {
        let artifact = artifact("mnist_small", rule, noise);
        let data = Dataset::random(&artifact.manifest.schema, RECORDS / VIEWS);
        let (expected, norms) = by_definition(device, &artifact, &seen(&data, &artifact, augment, STEP), &views());
        let chance = Chance::new(&RunKey::insecure(1), Some(augment));
        for rows in [1, 3, 8] {
            let mut engine = engine(device, &artifact, rows, unit_phases(&artifact));
            for (record, norms) in norms.iter().enumerate() {
                let shown = engine.add_unit(&data, &[record], (&chance, STEP)).expect("a unit");
                assert_eq!(shown.loss.len(), VIEWS);
                for (found, norm) in shown.group_norms.iter().zip(norms) {
                    assert!((f64::from(*found) - norm).abs() <= 1e-4 * norm, "{rule}: norm {found} and not {norm}");
                }
            }
            collect(&mut engine);
            holds(&mut engine, &artifact, &expected, &format!("{rule}, {rows} rows"));
        }
    }
}

/// Holds the sums of an engine to those by definition.
fn holds(engine: &mut Engine, artifact: &Artifact, expected: &BTreeMap<String, Vec<f64>>, at: &str) {
    for (name, expected) in expected {
        let largest = expected.iter().fold(1e-6, |most: f64, g| most.max(g.abs()));
        for (found, expected) in sum(engine, artifact, name).iter().zip(expected) {
            let near = (f64::from(*found) - expected).abs() <= 1e-4 * largest;
            assert!(near, "{at} {name}: {found} and not {expected}");
        }
    }
}

/// The plan of steps in views.
fn plan_in_views(artifact: &Artifact) -> PrivacyPlan {
    let spec = PlanSpec {
        views: VIEWS as u64,
        noise_multiplier: 1.0,
        delta: Some(1e-5),
        clip_groups: artifact.manifest.clip_groups.len(),
        grid: artifact.manifest.grid.clone(),
        ..PlanSpec::new(Sampling::Poisson { rate: 1.0 }, 4.0, artifact.manifest.clip.clone())
    };
    PrivacyPlan::new(spec).expect("a plan")
}

/// The steps of a plan on `engine`.
fn stepper<'a>(
    plan: &'a PrivacyPlan,
    (artifact, data): (&Artifact, &'a Dataset),
    augment: Augment,
    engine: Engine,
) -> Stepper<'a> {
    let setting = Setting {
        plan,
        data,
        units: Cow::Owned(Units::single(data.records())),
        augment: Some(augment),
        optimizer: artifact.manifest.optimizer,
        learning_rate: 0.1,
        lr_schedule: Cow::Owned(LrSchedule::CONSTANT),
    };
    let clip = ClipState::new(&artifact.manifest.clip, &artifact.manifest.clip_groups);
    Stepper::new(setting, engine, clip, &RunKey::insecure(1), 0).expect("steps")
}

/// Several records with all of their views in one physical batch are clipped as those of one batch each, however batches are cut:
/// sums of integers to the bit.
fn records_of_several_views_share_a_batch(device: &dyn Device) {
    const STEP: u64 = 3;
    let augment: Augment = format!("{VIEWS}:flip,shift=1,noise=0.3").parse().expect("ways");
    for name in MODELS {
        for (rule, noise) in [("flat:0.3", NoiseKind::Exact), ("per-layer:0.3,auto", NoiseKind::Float)] {
            let artifact = artifact(name, rule, noise);
            let data = Dataset::random(&artifact.manifest.schema, RECORDS / VIEWS);
            let (expected, norms) = by_definition(device, &artifact, &seen(&data, &artifact, augment, STEP), &views());
            let (program, plan) =
                (Arc::new(artifact.in_views(VIEWS, TARGETS).expect("a program")), plan_in_views(&artifact));
            let mut first = None;
            for rows in [1, 2 * VIEWS + 1, RECORDS] {
                let at = format!("{name} {rule}, {rows} rows");
                let phases = Stepper::phases_of(&plan, &program);
                let engine = Engine::new(device, program.clone(), &artifact.weights, rows, phases).expect("an engine");
                assert_eq!(engine.rows(), (rows / VIEWS).max(1) * VIEWS);
                let mut stepper = stepper(&plan, (&artifact, &data), augment, engine);
                stepper.begin(STEP).expect("a step");
                let mut found = Vec::new();
                stepper.add(STEP, &[0, 1, 2, 3], |shown, _, _| found.extend(shown.group_norms.clone())).expect("a sum");
                stepper.collect().expect("a sum");
                assert_eq!(found.len(), norms.concat().len(), "{at}");
                for (found, norm) in found.iter().zip(norms.concat()) {
                    assert!((f64::from(*found) - norm).abs() <= 1e-4 * norm, "{at}: norm {found} and not {norm}");
                }
                holds(stepper.engine(), &artifact, &expected, &at);
                if noise == NoiseKind::Exact {
                    let sums = stepper.engine().grid_sums().expect("sums");
                    assert_eq!(*first.get_or_insert_with(|| sums.clone()), sums, "{at}");
                }
            }
        }
    }
}

/// A step of a plan with views takes the way of units, whatever the unit: views that are clipped one by one would move the sum as
/// their gradients do, and not as the mean of these.
#[test]
fn a_step_clips_the_mean_over_views() {
    let artifact = artifact("mnist_small", "flat:0.3", NoiseKind::Exact);
    let data = Dataset::random(&artifact.manifest.schema, 4);
    let augment: Augment = "5:noise=3".parse().expect("a way");
    let spec = PlanSpec {
        views: 5,
        noise_multiplier: 1.0,
        delta: Some(1e-5),
        grid: artifact.manifest.grid.clone(),
        ..PlanSpec::new(Sampling::Poisson { rate: 1.0 }, 4.0, artifact.manifest.clip.clone())
    };
    let plan = PrivacyPlan::new(spec).expect("a plan");
    let setting = |augment| Setting {
        plan: &plan,
        data: &data,
        units: Cow::Owned(Units::single(4)),
        augment,
        optimizer: artifact.manifest.optimizer,
        learning_rate: 0.1,
        lr_schedule: Cow::Owned(LrSchedule::CONSTANT),
    };
    let (key, phases) = (RunKey::insecure(1), Stepper::phases(&plan));
    let clip = || ClipState::new(&artifact.manifest.clip, &artifact.manifest.clip_groups);
    let mut one = engine(&Cpu, &artifact, 8, &UNIT);
    let mut expected = Vec::new();
    for record in 0..4 {
        let chance = Chance::new(&key, Some(augment));
        expected.push(one.add_unit(&data, &[record], (&chance, 3)).expect("a unit").norm[0]);
    }
    let mut stepper =
        Stepper::new(setting(Some(augment)), engine(&Cpu, &artifact, 8, phases), clip(), &key, 0).expect("steps");
    stepper.begin(3).expect("a step");
    let mut found = Vec::new();
    stepper.add(3, &[0, 1, 2, 3], |shown, _, _| found.extend(shown.norm.clone())).expect("a sum");
    assert_eq!(found, expected);
    for name in one.trained() {
        let sum = stepper.engine().grid_sum(&name).expect("a sum");
        assert_eq!(sum, one.grid_sum(&name).expect("a sum"), "{name}");
    }
    let error = Stepper::new(setting(None), engine(&Cpu, &artifact, 8, phases), clip(), &key, 0).err();
    assert!(matches!(error, Some(StepError::Views { planned: 5, found: 1 })));
}

#[test]
fn records_of_several_views_share_a_batch_on_cpu() {
    records_of_several_views_share_a_batch(&Cpu);
}

#[test]
fn records_of_several_views_share_a_batch_on_gpu() {
    records_of_several_views_share_a_batch(&gpu());
}

/// Rows of one record are taken for such by a plan that has as many views of each record, and by no other.
#[test]
fn a_program_in_views_takes_a_plan_of_as_many() {
    let artifact = artifact("mnist_small", "flat:0.3", NoiseKind::Exact);
    let data = Dataset::random(&artifact.manifest.schema, 4);
    let program = Arc::new(artifact.in_views(2, TARGETS).expect("a program"));
    let plan = plan_in_views(&artifact);
    let engine = Engine::new(&Cpu, program.clone(), &artifact.weights, 8, Stepper::phases_of(&plan, &program));
    let setting = Setting {
        plan: &plan,
        data: &data,
        units: Cow::Owned(Units::single(4)),
        augment: Some(format!("{VIEWS}:noise=1").parse().expect("a way")),
        optimizer: artifact.manifest.optimizer,
        learning_rate: 0.1,
        lr_schedule: Cow::Owned(LrSchedule::CONSTANT),
    };
    let clip = ClipState::new(&artifact.manifest.clip, &artifact.manifest.clip_groups);
    let error = Stepper::new(setting, engine.expect("an engine"), clip, &RunKey::insecure(1), 0).err();
    assert!(matches!(error, Some(StepError::Views { planned: 5, found: 2 })));
}

/// Where a physical batch has no room for a record's views, a run is told why it takes longer.
#[test]
fn a_run_says_why_views_are_computed_apart() {
    let artifact = artifact("mnist_small", "flat:0.3", NoiseKind::Exact);
    let plan = plan_in_views(&artifact);
    let load = |rows| load::engine(&Cpu, &artifact, &plan, rows, &BTreeMap::new()).expect("an engine");
    let together = load(2 * VIEWS + 1);
    assert!(together.views_apart.is_none());
    assert_eq!((together.engine.views(), together.engine.rows()), (VIEWS, 2 * VIEWS));
    let apart = load(VIEWS - 1);
    assert_eq!((apart.engine.views(), apart.engine.rows()), (1, VIEWS - 1));
    assert_eq!(
        apart.views_apart.expect("a reason").note(plan.views),
        "the 5 views of a record are computed one record after the other, which takes longer: a physical batch has 4 rows"
    );
}

#[test]
fn views_are_clipped_as_one_on_cpu() {
    views_are_clipped_as_one(&Cpu);
}

#[test]
fn views_are_clipped_as_one_on_gpu() {
    views_are_clipped_as_one(&gpu());
}

/// A program that would clip and sum each view as a record of its own is none.
#[test]
fn views_that_are_clipped_one_by_one_are_refused() {
    for noise in [NoiseKind::Exact, NoiseKind::Float] {
        let mut program = artifact("mnist_small", "flat:0.3", noise).program;
        program.views = VIEWS;
        program.buffers.iter_mut().for_each(|buffer| buffer.len.per_row *= VIEWS);
        program.slots.iter_mut().flat_map(|slot| &mut slot.tenants).for_each(|len| len.per_row *= VIEWS);
        program.phases.values_mut().flatten().for_each(|dispatch| dispatch.views = VIEWS);
        let error = check::check(&program, &[1]).expect_err("a refusal").to_string();
        assert!(error.contains("takes each view for a record of its own"), "{error}");
    }
}
