//! ONNX's own conformance cases, each through the whole pipeline on both devices.
//!
//! `cargo xtask conformance` fetches them with the PyPI package onnx and names their folder in the variable
//! `DPC_CONFORMANCE`. What a case gives as an operand dpc may have to know when it compiles (axes, shapes, indices), so a
//! model that is refused with all of them as inputs is tried again with the integers as constants, and then with all but
//! the first operand. Recurrent nodes are for batches: their input, lengths and states get a batch axis, and their weights are
//! constants. The names of the cases that pass are in `conformance.expected`; one of these that fails fails the
//! test. With `DPC_CONFORMANCE_WRITE=1` the list is written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use dpc::artifact;
use dpc::compile::{Options, compile};
use dpc::device::cpu::Cpu;
use dpc::device::gpu::Gpu;
use dpc::device::{Device, TARGETS};
use dpc::lower::cost::CostModel;
use dpc::onnx::proto::{ModelProto, TensorProto};
use dpc::onnx::{BatchAxis, Elem, Source, Tensor, TensorData, discover};
use dpc::options::{NormChoice, Precision};
use dpc::privacy::ClipRule;
use dpc::train::data::Array;
use dpc::train::predict::predict;
use prost::Message;

/// The operators of the first tier.
const FIRST: &str = "Add Sub Mul Div Neg Sqrt Exp Log Pow Abs Reciprocal Relu Sigmoid Tanh Gelu Erf Softmax LogSoftmax \
    Gemm MatMul Conv MaxPool AveragePool GlobalAveragePool GlobalMaxPool Flatten Reshape Transpose Squeeze Unsqueeze \
    Concat Split Slice Gather Expand Where Equal Less Greater LessOrEqual GreaterOrEqual And Or Not Cast CastLike \
    Identity Constant ConstantOfShape Shape Size Range ReduceMean ReduceSum ReduceMax LayerNormalization \
    InstanceNormalization GroupNormalization BatchNormalization Dropout LSTM GRU RNN Clip SoftmaxCrossEntropyLoss \
    NegativeLogLikelihoodLoss Trilu Max Min Sum Mean";

/// The operators that the second tier adds.
const SECOND: &str = "LeakyRelu Elu Selu Celu PRelu Softplus Softsign HardSigmoid HardSwish Mish Swish ThresholdedRelu \
    RMSNormalization Attention RotaryEmbedding ConvTranspose Pad Resize Upsample Tile ReduceL1 ReduceL2 ReduceMin \
    ReduceSumSquare ReduceLogSum ReduceLogSumExp ReduceProd GatherElements GatherND ScatterElements ScatterND Einsum \
    LpPool LpNormalization MeanVarianceNormalization LRN CumSum ArgMax ArgMin OneHot TopK DepthToSpace SpaceToDepth Sin \
    Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Floor Ceil Round Sign Mod Shrink IsNaN IsInf Xor GlobalLpPool \
    Hardmax EyeLike NonZero Compress";

/// Operators of neither tier that dpc has.
const MORE: &str = "GridSample Col2Im QuantizeLinear DequantizeLinear Scan Loop If SequenceAt SequenceConstruct SequenceEmpty \
    SequenceInsert SequenceErase SequenceLength ConcatFromSequence SplitToSequence";

/// Folders beside that of the cases of single operators: small models, and exports of PyTorch's layers and operators.
const BESIDE: [(&str, usize); 3] = [("simple", 4), ("pytorch-operator", 5), ("pytorch-converted", 5)];

/// The domain of optimizers and of derivatives as operators, whose cases are of the tier of small models.
const TRAINING: &str = "ai.onnx.preview.training";

/// A case: a model of a node or two.
struct Case {
    name: String,
    folder: PathBuf,
    model: ModelProto,
    /// Its operators, joined.
    ops: String,
    /// 1 or 2; 3 for operators of both on other types than float32, which dpc computes as what it has; 4 for small models,
    /// operators of training and those of neither tier; 5 for what PyTorch exported.
    tier: usize,
}

/// The cases of all tiers on floats, integers and truth values.
fn cases(folder: &Path) -> Vec<Case> {
    let mut cases = of_folder(folder, None);
    for (beside, tier) in BESIDE {
        let beside = folder.parent().expect("a folder of folders").join(beside);
        if beside.is_dir() {
            cases.extend(of_folder(&beside, Some(tier)));
        }
    }
    cases
}

/// The cases in a folder, of the tier that is given or that their operators are of.
fn of_folder(folder: &Path, given: Option<usize>) -> Vec<Case> {
    let [first, second, more] = [FIRST, SECOND, MORE].map(|ops| ops.split_whitespace().collect::<BTreeSet<_>>());
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    let mut cases = Vec::new();
    for folder in folders {
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let Ok(bytes) = std::fs::read(folder.join("model.onnx")) else { continue };
        let Ok(model) = ModelProto::decode(bytes.as_slice()) else { continue };
        let Some(graph) = &model.graph else { continue };
        let elem = |info: &dpc::onnx::proto::ValueInfoProto| {
            use dpc::onnx::proto::TypeValue;
            match info.r#type.as_ref().and_then(|ty| ty.value.as_ref()) {
                Some(TypeValue::Tensor(tensor)) => Elem::from_onnx(tensor.elem_type()),
                _ => Elem::Other(0),
            }
        };
        let elems: Vec<Elem> = graph.input.iter().chain(&graph.output).map(elem).collect();
        let taken = |elem: &Elem| matches!(elem, Elem::F32 | Elem::F64 | Elem::I64 | Elem::I32 | Elem::Bool);
        let ops: BTreeSet<&str> = graph.node.iter().map(|node| node.op_type()).collect();
        let has_more = ops.iter().any(|op| more.contains(op));
        let small = |elem: &Elem| has_more && matches!(elem, Elem::U8 | Elem::I8 | Elem::U16 | Elem::I16);
        if name.contains("_expanded") || !elems.iter().all(|elem| taken(elem) || small(elem)) {
            continue;
        }
        let single = elems.contains(&Elem::F32) && !elems.contains(&Elem::F64);
        let training = graph.node.iter().any(|node| node.domain() == TRAINING);
        let tier = match ops.iter().all(|op| first.contains(op) || second.contains(op)) {
            _ if given.is_some() => given.unwrap_or_default(),
            _ if training => 4,
            _ if has_more && ops.iter().all(|op| [&first, &second, &more].iter().any(|tier| tier.contains(op))) => 4,
            false => continue,
            true if !single => 3,
            true if ops.is_subset(&first) => 1,
            true => 2,
        };
        let ops = ops.into_iter().collect::<Vec<_>>().join("/");
        cases.push(Case { name, folder, model, ops, tier });
    }
    cases
}

/// The tensors that a case gives, in the order of the model's inputs or outputs.
fn tensors(case: &Case, what: &str, count: usize) -> Result<Vec<TensorProto>, String> {
    (0..count)
        .map(|k| {
            let path = case.folder.join(format!("test_data_set_0/{what}_{k}.pb"));
            let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            TensorProto::decode(bytes.as_slice()).map_err(|e| format!("{}: {e}", path.display()))
        })
        .collect()
}

fn array(tensor: &Tensor) -> Array {
    let dims = tensor.dims.clone();
    match &tensor.data {
        TensorData::F32(values) => Array::from_f32(dims, values),
        TensorData::I64(values) => Array::from_i64(dims, values),
        TensorData::Bool(values) => Array::from_i64(dims, &values.iter().map(|&b| i64::from(b)).collect::<Vec<_>>()),
    }
}

/// Why a case does not pass.
enum Failure {
    /// It is not compiled.
    Refused(String),
    /// It is, and what it gives is wrong.
    Wrong(String),
}

/// Runs a case with the operands that `constant` says as initialisers.
fn attempt(
    device: &dyn Device,
    case: &Case,
    constant: impl Fn(usize, &Tensor) -> bool,
    batch: &[(&str, usize)],
) -> Result<Vec<String>, Failure> {
    let mut model = case.model.clone();
    let graph = model.graph.as_mut().expect("a graph");
    let wrong = Failure::Wrong;
    let mut inputs = BTreeMap::new();
    // Older files have their initialisers among the inputs too.
    let stored: BTreeSet<&str> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
    let fed: Vec<_> = graph.input.iter().filter(|info| !stored.contains(info.name())).cloned().collect();
    let rest: Vec<_> = graph.input.iter().filter(|info| stored.contains(info.name())).cloned().collect();
    let given = tensors(case, "input", fed.len()).map_err(wrong)?;
    let mut free = Vec::new();
    for (k, (info, proto)) in fed.iter().zip(given).enumerate() {
        let tensor = Tensor::from_proto(&proto).map_err(|e| wrong(format!("{}: {e:?}", info.name())))?;
        match constant(k, &tensor) {
            true => graph.initializer.push(TensorProto { name: info.name.clone(), ..proto }),
            false => {
                inputs.insert(info.name().to_owned(), array(&tensor));
                free.push(info.clone());
            }
        }
    }
    graph.input = free.into_iter().chain(rest).collect();
    let names: Vec<String> = graph.output.iter().map(|info| info.name().to_owned()).collect();
    let refused = |error: &dyn std::fmt::Display| Failure::Refused(error.to_string());
    let bytes = model.encode_to_vec();
    let mut source = Source::from_bytes(bytes.into(), Path::new("model.onnx")).map_err(|e| refused(&e))?;
    let has = |input: &str| source.inputs.iter().any(|info| info.name == input);
    let axes = batch.iter().filter(|(input, _)| has(input));
    let axes: Vec<BatchAxis> = axes.map(|&(input, axis)| BatchAxis { input: input.to_owned(), axis }).collect();
    source.free_batch(&axes).map_err(|e| refused(&e))?;
    let parameters = discover(&source, &[], &[]).map_err(|e| refused(&e))?;
    let options = Options {
        loss: None,
        output: None,
        clip: ClipRule::flat(1.0).expect("a bound"),
        norm: NormChoice::Auto,
        optimizer: "sgd".parse().expect("an optimizer"),
        costs: CostModel::default(),
        precision: Precision::default(),
        views: 1,
        per_sample: false,
        noise: dpc::options::NoiseKind::default(),
    };
    let compiled = compile(&source, &parameters, &options, TARGETS).map_err(|error| match error {
        dpc::compile::CompileError::Refused(refusal) => {
            let problems: Vec<String> = refusal.problems.iter().map(ToString::to_string).collect();
            Failure::Refused(format!("{} {:?}", problems.join("; "), source.facts.notes()))
        }
        other => refused(&other),
    })?;
    let artifact = artifact::build(&source, &parameters, compiled, &options, 64).map_err(|e| refused(&e))?;
    let found = predict(device, &artifact, "the case", &inputs).map_err(|e| wrong(e.to_string()))?;
    for (name, proto) in names.iter().zip(tensors(case, "output", names.len()).map_err(wrong)?) {
        let expected = Tensor::from_proto(&proto).map_err(|e| wrong(format!("{name}: {e:?}")))?;
        let found = found.get(name).ok_or_else(|| wrong(format!("there is no output {name}")))?;
        same(found, &expected).map_err(|why| wrong(format!("{name}: {why}")))?;
    }
    Ok(source.facts.notes().to_vec())
}

/// Whether an output is the expected one: integers and truth values exactly, floats by ONNX's own tolerance.
fn same(found: &Array, expected: &Tensor) -> Result<(), String> {
    if found.dims() != expected.dims {
        return Err(format!("its dims are {:?}, not {:?}", found.dims(), expected.dims));
    }
    let expected = array(expected);
    if let (Some(found), Some(expected)) = (found.to_i64(), expected.to_i64()) {
        let off = found.iter().zip(&expected).filter(|(f, e)| f != e).count();
        return if off == 0 { Ok(()) } else { Err(format!("{off} of {} integers differ", found.len())) };
    }
    if found.dtype().is_float() != expected.dtype().is_float() {
        return Err(format!("it is of {}", found.dtype().name()));
    }
    let (found, expected) = (found.to_f32(), expected.to_f32());
    let close = |f: f32, e: f32| f == e || (f.is_nan() && e.is_nan()) || (f - e).abs() <= 1e-5 + 1e-3 * e.abs();
    let off: Vec<usize> = (0..found.len()).filter(|&k| !close(found[k], expected[k])).collect();
    match off.first() {
        None => Ok(()),
        Some(&at) => {
            let (count, all, f, e) = (off.len(), found.len(), found[at], expected[at]);
            Err(format!("{count} of {all} numbers differ, {f} from {e} at {at}"))
        }
    }
}

/// What shape inference does not know of a case that passes.
fn run(device: &dyn Device, case: &Case) -> Result<Vec<String>, Failure> {
    let mut last = attempt(device, case, |_, _| false, &[]);
    if let Err(Failure::Refused(_)) = last {
        last = attempt(device, case, |_, tensor| tensor.floats().is_none(), &[]);
    }
    if let Err(Failure::Refused(_)) = last {
        last = attempt(device, case, |k, _| k > 0, &[]);
    }
    if let (Err(Failure::Refused(_)), Some(layout)) = (&last, layout(case)) {
        let axes = [("X", 1 - layout), ("sequence_lens", 0), ("initial_h", 1 - layout), ("initial_c", 1 - layout)];
        let inputs: Vec<&str> =
            case.model.graph.iter().flat_map(|graph| &graph.input).map(|info| info.name()).collect();
        last = attempt(device, case, |k, _| !axes.iter().any(|(input, _)| inputs[k] == *input), &axes);
    }
    if let Err(Failure::Refused(_)) = last {
        last = attempt(device, case, |_, _| true, &[]);
    }
    last
}

/// The layout of a recurrent node: the axis of the batch is 1 less that.
fn layout(case: &Case) -> Option<usize> {
    let node = case.model.graph.as_ref()?.node.iter().find(|node| ["LSTM", "GRU", "RNN"].contains(&node.op_type()))?;
    let layout = node.attribute.iter().find(|attribute| attribute.name() == "layout").map_or(0, |layout| layout.i());
    usize::try_from(layout).ok().filter(|&layout| layout < 2)
}

#[test]
fn the_cases_of_onnx_that_passed_still_pass() {
    check(&Cpu);
}

#[test]
fn the_cases_of_onnx_pass_on_the_gpu_as_well() {
    if std::env::var_os("DPC_CONFORMANCE").is_some() {
        check(&Gpu::open(None).unwrap_or_else(|e| panic!("{:?}", miette::Report::from(e))));
    }
}

fn check(device: &(dyn Device + Sync)) {
    let Some(folder) = std::env::var_os("DPC_CONFORMANCE") else {
        println!("NOT RUN: `cargo xtask conformance` fetches the cases");
        return;
    };
    let cases = cases(Path::new(&folder));
    assert!(cases.len() > 500, "only {} cases", cases.len());
    let (next, results) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = catch_unwind(AssertUnwindSafe(|| run(device, case)));
                    let result = result.unwrap_or_else(|_| Err(Failure::Wrong("PANIC".into())));
                    results.lock().expect("no panic").insert(case.name.as_str(), result);
                }
            });
        }
    });
    let results = results.into_inner().expect("no panic");
    let passes = |case: &&Case| results[case.name.as_str()].is_ok();
    let mut by_ops: BTreeMap<(usize, &str), [usize; 2]> = BTreeMap::new();
    for case in &cases {
        let [passed, all] = by_ops.entry((case.tier, &case.ops)).or_default();
        *passed += usize::from(passes(&case));
        *all += 1;
        match &results[case.name.as_str()] {
            Ok(notes) => notes.iter().for_each(|note| println!("passes without inference {}: {note}", case.name)),
            Err(Failure::Refused(why)) => println!("refused {}: {why}", case.name),
            Err(Failure::Wrong(why)) => println!("WRONG {}: {why}", case.name),
        }
    }
    for ((tier, ops), [passed, all]) in by_ops {
        println!("tier {tier} {ops}: {passed} of {all}");
    }
    for tier in [1, 2, 3, 4, 5] {
        let of_tier: Vec<&Case> = cases.iter().filter(|case| case.tier == tier).collect();
        println!(
            "tier {tier}: {} of {} cases pass",
            of_tier.iter().copied().filter(|c| passes(c)).count(),
            of_tier.len()
        );
    }
    let passing: Vec<&str> = cases.iter().filter(passes).map(|case| case.name.as_str()).collect();
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dpc/conformance.expected");
    if std::env::var_os("DPC_CONFORMANCE_WRITE").is_some() {
        std::fs::write(&list, passing.join("\n") + "\n").expect("the list is written");
    }
    let expected = std::fs::read_to_string(&list).expect("the list of cases");
    let lost: Vec<&str> = expected.lines().filter(|name| !passing.contains(name)).collect();
    let new: Vec<&str> = passing.iter().copied().filter(|name| !expected.lines().any(|line| line == *name)).collect();
    if !new.is_empty() {
        println!("{} cases pass that are not on the list (DPC_CONFORMANCE_WRITE=1 adds them): {new:?}", new.len());
    }
    assert!(lost.is_empty(), "cases that are on the list fail: {lost:?}");
}
