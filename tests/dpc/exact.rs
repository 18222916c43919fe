//! Sums of integers: the same to the last bit whatever the physical batches, the order of records, and the threads; and one
//! record moves them by its own integers alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dpc::artifact::{self, Artifact};
use dpc::compile::{Options, compile};
use dpc::device::cpu::Cpu;
use dpc::device::gpu::Gpu;
use dpc::device::{Device, TARGETS};
use dpc::glob::Glob;
use dpc::lower::program::Phase;
use dpc::onnx::proto::{
    Dimension, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TensorType, TypeProto, TypeValue, ValueInfoProto,
};
use dpc::onnx::{Source, discover};
use dpc::options::{NoiseKind, NormChoice};
use dpc::privacy::clipping::{ClipRule, ClipState};
use dpc::privacy::grid;
use dpc::train::data::{Array, Dataset};
use dpc::train::engine::Engine;
use prost::Message;

use crate::shapes::{floats, ints, node};
use crate::zoo::{compiled, named, options};

/// The largest logical batch.
const RECORDS: usize = 512;

/// Models with every kind of sum: dense, convolutional, embedding, recurrent, tied, shared, broadcast.
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

fn artifact(name: &str, norm: NormChoice, clip: &str) -> Artifact {
    let model = named(name);
    let clip = clip.parse().expect("a clip rule");
    let options = Options { clip, per_sample: false, ..options(model.loss.clone(), norm) };
    let path = &model.files["ts"];
    let (_, compiled) = compiled(path, &options).expect("it compiles");
    let source = Source::open(path).expect("a model");
    let parameters = discover(&source, &[], &[]).expect("parameters");
    artifact::build(&source, &parameters, compiled, &options, RECORDS).expect("an artifact")
}

fn engine(device: &dyn Device, artifact: &Artifact, rows: usize) -> Engine {
    let program = Arc::new(artifact.program.clone());
    let mut engine = Engine::new(device, program, &artifact.weights, rows, &[Phase::Private]).expect("an engine");
    let state = ClipState::new(&artifact.manifest.clip, &artifact.manifest.clip_groups);
    engine.set_clip_bounds(&state.bounds(1.0)).expect("a write");
    engine
}

type Sums = BTreeMap<String, Vec<i64>>;

/// The sums over `records` in physical batches of `rows`.
fn sums(device: &dyn Device, artifact: &Artifact, data: &Dataset, records: &[usize], rows: usize) -> Sums {
    let mut engine = engine(device, artifact, rows);
    assert_eq!(engine.rows(), rows.min(grid::ROWS));
    for batch in records.chunks(engine.rows()) {
        engine.run(Phase::Private, data, batch, None).expect("a run");
    }
    let trained = engine.trained();
    trained.into_iter().map(|name| (name.clone(), engine.grid_sum(&name).expect("a sum"))).collect()
}

fn is_the_same_however_it_is_cut(device: &dyn Device, count: usize, batches: &[usize], ways: &[NormChoice]) {
    for name in MODELS {
        for &way in ways {
            let artifact = artifact(name, way, "per-layer:0.5");
            let data = Dataset::random(&artifact.manifest.schema, count);
            let records: Vec<usize> = (0..count).collect();
            let expected = sums(device, &artifact, &data, &records, count);
            assert!(expected.values().flatten().any(|&x| x != 0), "{name}");
            let mut shuffled: Vec<usize> = (0..count).map(|i| i * 5 % count).collect();
            assert_ne!(shuffled, records);
            for &rows in batches {
                let found = sums(device, &artifact, &data, &shuffled, rows);
                assert!(found == expected, "{name} {way:?}: in physical batches of {rows} the sum is another");
                shuffled.rotate_left(3);
            }
        }
    }
}

const WAYS: [NormChoice; 4] = [NormChoice::Auto, NormChoice::Materialize, NormChoice::Ghost, NormChoice::Tile];

#[test]
fn a_sum_is_the_same_however_it_is_cut_on_cpu() {
    is_the_same_however_it_is_cut(&Cpu, RECORDS, &[1, 7, 64, 512], &WAYS);
}

#[test]
fn a_sum_is_the_same_however_it_is_cut_on_gpu() {
    let gpu = Gpu::open(None).unwrap_or_else(|e| panic!("{:?}", miette::Report::from(e)));
    is_the_same_however_it_is_cut(&gpu, 64, &[1, 7, 33], &[NormChoice::Auto]);
}

#[test]
fn a_sum_is_the_same_on_any_number_of_threads() {
    for name in MODELS {
        let artifact = artifact(name, NormChoice::Auto, "flat:0.5");
        let data = Dataset::random(&artifact.manifest.schema, RECORDS);
        let records: Vec<usize> = (0..RECORDS).collect();
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| sums(&Cpu, &artifact, &data, &records, 100))
        };
        let one = on(1);
        assert!(one == on(2) && one == on(3), "{name}");
    }
}

/// `y = x · w` of one number, whose gradient by `w` is the record itself.
fn product(noise: NoiseKind) -> Artifact {
    let node = node("Mul(x, w)", "y");
    artifact_of(vec![node], vec![floats("w", &[1], vec![0.0])], &[1], "output:y", noise)
}

/// A model of the input `x` and the output `y`, both of these dims, that trains `w`.
fn artifact_of(
    node: Vec<NodeProto>,
    initializer: Vec<TensorProto>,
    dims: &[i64],
    loss: &str,
    noise: NoiseKind,
) -> Artifact {
    let info = |name: &str| {
        let batch = DimensionValue::Param("N".into());
        let dims = std::iter::once(batch).chain(dims.iter().map(|&size| DimensionValue::Value(size)));
        let dim = dims.map(|value| Dimension { value: Some(value), ..Default::default() }).collect();
        let tensor = TensorType { elem_type: Some(1), shape: Some(TensorShapeProto { dim }) };
        let ty = TypeProto { value: Some(TypeValue::Tensor(tensor)), ..Default::default() };
        ValueInfoProto { name: Some(name.into()), r#type: Some(ty), ..Default::default() }
    };
    let (input, output) = (vec![info("x")], vec![info("y")]);
    let graph = GraphProto { node, initializer, input, output, ..Default::default() };
    let model = ModelProto {
        ir_version: Some(10),
        opset_import: vec![OperatorSetIdProto { version: Some(20), ..Default::default() }],
        graph: Some(graph),
        ..Default::default()
    };
    let source = Source::from_bytes(model.encode_to_vec().into(), Path::new("made.onnx")).expect("a model");
    let parameters = discover(&source, &[Glob::new("w")], &[]).expect("parameters");
    let clip = ClipRule::flat(1.0).expect("a bound");
    let loss = loss.parse().expect("a loss");
    let options = Options { clip, noise, per_sample: false, ..options(loss, NormChoice::Auto) };
    let compiled = compile(&source, &parameters, &options, TARGETS).expect("it compiles");
    artifact::build(&source, &parameters, compiled, &options, 64).expect("an artifact")
}

/// 1,024 physical batches of 64 records. Those of the first half make a sum just below 2¹⁵, where floats are 2⁻⁹ apart and above
/// which they are 2⁻⁸ apart; those of the second half have one record each that is not zero. Below, two of them take a unit of
/// 2⁻⁹ away; above, they are rounded to nothing. One more record, the first, makes the difference.
fn caveat() -> (Dataset, Vec<usize>) {
    const ROWS: usize = 64;
    const BATCHES: usize = 1024;
    let mut x = vec![0.0; ROWS * BATCHES + 1];
    let (first, last) = x[1..].split_at_mut(ROWS * BATCHES / 2);
    first.fill(1.0);
    // A unit of the upper half below 2¹⁵.
    first[0] = 1.0 - 1.0 / 128.0;
    for (k, batch) in last.chunks_mut(ROWS).enumerate() {
        batch[0] = if k % 2 == 0 { -0.6 / 512.0 } else { 0.4 / 512.0 };
    }
    x[0] = 1.0;
    let arrays = BTreeMap::from([("x".to_owned(), Array::from_f32(vec![x.len(), 1], &x))]);
    let schema = product(NoiseKind::Float).manifest.schema;
    (Dataset::from_arrays("memory", &arrays, &schema).expect("data"), (1..x.len()).collect())
}

#[test]
fn records_that_are_made_for_it_move_a_float_sum_farther_than_an_exact_one() {
    let (data, others) = caveat();
    let moved = |noise: NoiseKind| {
        let artifact = product(noise);
        let sum = |first: &[usize]| -> f64 {
            let mut engine = engine(&Cpu, &artifact, 64);
            for batch in std::iter::once(first).chain(others.chunks(64)) {
                engine.run(Phase::Private, &data, batch, None).expect("a run");
            }
            match noise {
                NoiseKind::Exact => engine.grid_sum("w").expect("a sum")[0] as f64 * grid::unit(1.0),
                NoiseKind::Float => f64::from(engine.gradient_sum("w").expect("a sum")[0]),
            }
        };
        sum(&[0]) - sum(&[])
    };
    let (exact, float) = (moved(NoiseKind::Exact), moved(NoiseKind::Float));
    let artifact = product(NoiseKind::Exact);
    let most = artifact.manifest.grid.expect("a grid").group_sensitivity(0) * grid::unit(1.0);
    assert!(exact > 0.9999 && exact <= most && most < 1.000_002, "{exact} of {most}");
    assert!(float > 1.25, "{float}");
}

/// As many records as a physical batch may have, each with the largest integer there is, sum to what they should.
#[test]
fn a_full_batch_of_the_largest_records_does_not_overflow() {
    let artifact = product(NoiseKind::Exact);
    let x = vec![1e9; 3 * grid::ROWS];
    let arrays = BTreeMap::from([("x".to_owned(), Array::from_f32(vec![x.len(), 1], &x))]);
    let data = Dataset::from_arrays("memory", &arrays, &artifact.manifest.schema).expect("data");
    let records: Vec<usize> = (0..x.len()).collect();
    for device in [&Cpu as &dyn Device, &Gpu::open(None).expect("a gpu")] {
        let sums = sums(device, &artifact, &data, &records, usize::MAX >> 8);
        let each = sums["w"][0] as f64 / x.len() as f64;
        assert!(
            each > 0.9999 * f64::from(grid::UNITS)
                && each <= artifact.manifest.grid.as_ref().expect("a grid").group_sensitivity(0),
            "{each}"
        );
    }
}

/// Ids that all records share, one of them several times: what its positions add cancels to a small gradient, and each of them may be
/// far larger.
#[test]
fn positions_of_shared_ids_that_cancel_add_what_is_left() {
    let nodes = vec![node("Gather(w, ids)", "rows"), node("Mul(x, rows)", "y")];
    let weights = vec![floats("w", &[2, 1], vec![0.0; 2]), ints("ids", &[3], &[1, 1, 0])];
    let artifact = artifact_of(nodes, weights, &[3, 1], "output:y,reduction=sum", NoiseKind::Exact);
    let x = [10_000_000.5, -10_000_000.0, 0.25, 3e6, -3e6, 1.0, 1e-3, 1e-3, 0.0];
    let x: Vec<f32> = x.into_iter().map(|x: f64| x as f32).collect();
    let arrays = BTreeMap::from([("x".to_owned(), Array::from_f32(vec![3, 3, 1], &x))]);
    let data = Dataset::from_arrays("memory", &arrays, &artifact.manifest.schema).expect("data");
    let most = artifact.manifest.grid.as_ref().expect("a grid").group_sensitivity(0);
    for device in [&Cpu as &dyn Device, &Gpu::open(None).expect("a gpu")] {
        let mut added = vec![0; 2];
        for record in 0..3 {
            let own = sums(device, &artifact, &data, &[record], 1);
            let norm = own["w"].iter().map(|&units| (units as f64).powi(2)).sum::<f64>().sqrt();
            assert!(norm <= most, "{}: record {record} adds {norm} of {most}", device.name());
            added.iter_mut().zip(&own["w"]).for_each(|(sum, own)| *sum += own);
        }
        assert_eq!(sums(device, &artifact, &data, &[0, 1, 2], 3)["w"], added, "{}", device.name());
        // The second record's gradient, and the third's, which is not clipped.
        let units = |gradient: f64| (gradient * f64::from(grid::UNITS)) as i64;
        let second = sums(device, &artifact, &data, &[1], 1);
        assert!((second["w"][0] - units(1.0)).abs() <= 8 && second["w"][1].abs() <= 8, "{second:?}");
        let third = sums(device, &artifact, &data, &[2], 1);
        assert!((third["w"][1] - units(2e-3)).abs() <= 3 && third["w"][0] == 0, "{third:?}");
    }
}
