//! `check` on models that were changed as only somebody who knows the format would: whatever comes out is an error or a
//! model, never a panic, in bounded time and memory.
//!
//! A case is a function of its number. `DPC_MUTATION_SECONDS=1800 cargo test --test dpc mutations::for_long -- --ignored`
//! goes on for as long as it says; a case that fails there goes into [`ONCE_FAILED`] with the fix.

mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use dpc::compile::{Options, compile};
use dpc::device::TARGETS;
use dpc::lower::cost::CostModel;
use dpc::onnx::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use dpc::onnx::{Source, discover};
use dpc::options::{Loss, NormChoice, Precision};
use dpc::privacy::ClipRule;
use prost::Message;

use crate::place::{Place, files, models};
use mutate::Random;

/// Cases that failed once.
const ONCE_FAILED: &[u64] =
    &[4_294_975_055, 6_000_023_805, 8_000_019_937, 8_000_023_274, 9_000_083_314, 50_000_046_405];

const LOSSES: [&str; 5] = ["cross-entropy", "cross-entropy:axis=last", "nll", "mse", "bce"];

/// The most that a case may take, in a build that is not optimised and on a machine that is shared.
const LONGEST: Duration = Duration::from_secs(60);
/// The most memory that any case may take the process to.
const MOST_MIB: u64 = 2048;

/// The models that cases start from, each small enough to be compiled in no time.
fn seeds() -> Vec<ModelProto> {
    let folders = ["zoo", "refused", "hazards", "opsets", "situations"];
    let paths = folders.iter().flat_map(|folder| files(Path::new(&models(folder)), |name| name.ends_with(".onnx")));
    let bytes = paths.map(|path| std::fs::read(path).expect("a model"));
    bytes.map(|bytes| ModelProto::decode(bytes.as_slice()).expect("a model")).collect()
}

/// The file of a case.
fn case(seeds: &[ModelProto], number: u64) -> Vec<u8> {
    let mut random = Random::new(number);
    let mut model = random.pick(seeds).clone();
    for _ in 0..=random.below(5) {
        mutate::mutate(&mut model, random.pick(seeds), &mut random);
    }
    model.encode_to_vec()
}

/// What `check` does with each loss; returns how many ended well.
fn check(bytes: &[u8]) -> usize {
    let path = Path::new(&models("zoo")).join("case.onnx");
    let Ok(mut source) = Source::from_bytes(bytes.to_vec().into(), &path) else { return 0 };
    source.take_batch(&[]).expect("no axis is named");
    let parameters = discover(&source, &[], &[]).expect("no pattern is given");
    let losses = LOSSES.iter().map(|loss| Some(loss.parse::<Loss>().expect("a loss")));
    let compiled = [None].into_iter().chain(losses).filter(|loss| {
        let options = Options {
            loss: loss.clone(),
            output: source.outputs.first().map(|output| output.name.clone()),
            clip: ClipRule::flat(1.0).expect("a bound"),
            norm: NormChoice::Auto,
            optimizer: "sgd".parse().expect("an optimizer"),
            costs: CostModel::default(),
            precision: Precision::default(),
            views: 1,
            per_sample: false,
            noise: dpc::options::NoiseKind::default(),
        };
        match compile(&source, &parameters, &options, TARGETS) {
            Ok(_) => true,
            Err(error) => {
                let text = format!("{:?}", miette::Report::from(error));
                assert!(!text.contains("panicked") && !text.contains("dpc::internal"), "{text}");
                false
            }
        }
    });
    compiled.count()
}

/// Runs a case, within its limits; returns how many losses it compiles with.
fn run(seeds: &[ModelProto], number: u64) -> Result<usize, String> {
    let bytes = case(seeds, number);
    let begun = Instant::now();
    let compiled = catch_unwind(AssertUnwindSafe(|| check(&bytes))).map_err(|_| format!("case {number} fails"))?;
    match begun.elapsed() {
        long if long > LONGEST => Err(format!("case {number} takes {long:?}")),
        _ => Ok(compiled),
    }
}

/// Runs `dpc check` on a case: it may refuse the model, and nothing else.
fn run_command(place: &Place, seeds: &[ModelProto], number: u64) {
    std::fs::write(place.path("case.onnx"), case(seeds, number)).expect("a file");
    let loss = LOSSES[number as usize % LOSSES.len()];
    let mut command = place.command(&format!("check case.onnx --loss {loss}"));
    let output = command.env("RUST_BACKTRACE", "1").output().expect("dpc runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)), "case {number}: {:?}\n{text}", output.status);
    assert!(!text.contains("panicked") && !text.contains("stack backtrace"), "case {number}: {text}");
}

/// The largest resident memory of this process so far, where the system says.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? / 1024)
}

#[test]
fn changed_models_are_checked_without_a_panic() {
    let seeds = seeds();
    let numbers = ONCE_FAILED.iter().copied().chain(0..CASES);
    let results: Vec<Result<usize, String>> = numbers.map(|number| run(&seeds, number)).collect();
    let problems: Vec<&String> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert!(problems.is_empty(), "{problems:?}");
    // Changes that no model survives would show nothing of what comes after reading.
    let compiled = results.iter().filter(|result| matches!(result, Ok(1..))).count();
    assert!(compiled * 10 > CASES as usize, "{compiled} of {CASES} compile");
}

const CASES: u64 = 200;

#[test]
fn the_command_says_nothing_of_panics() {
    let (seeds, place) = (seeds(), Place::new());
    (0..20).for_each(|number| run_command(&place, &seeds, 1_000_000 + number));
}

/// PyTorch's EmbeddingBag has an If whose branches read values from outside, on which tract panics.
#[test]
fn a_branch_that_reads_what_is_outside_of_it_is_refused_without_a_panic() {
    let bytes = std::fs::read(models("zoo/mlp.ts.onnx")).expect("a model");
    let mut model = ModelProto::decode(bytes.as_slice()).expect("a model");
    let graph = model.graph.as_mut().expect("a graph");
    let outside: Vec<String> = graph.initializer.iter().take(3).map(|tensor| tensor.name().to_owned()).collect();
    let value = |name: &str| ValueInfoProto { name: Some(name.to_owned()), ..ValueInfoProto::default() };
    let node = |op: &str, input: Vec<String>, output: &str| NodeProto {
        op_type: Some(op.to_owned()),
        input,
        output: vec![output.to_owned()],
        ..NodeProto::default()
    };
    let branch = |name: &str| AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(5),
        g: Some(GraphProto {
            node: vec![node("Sum", outside.clone(), "inside")],
            output: vec![value("inside")],
            ..GraphProto::default()
        }),
        ..AttributeProto::default()
    };
    let mut choice = node("If", vec!["opposite".to_owned()], "chosen");
    choice.attribute = vec![branch("then_branch"), branch("else_branch")];
    // One that is computed stays; a condition that the file knows makes one of the branches a part of the graph.
    graph.node.splice(0..0, [node("Xor", vec!["condition".to_owned(); 2], "opposite"), choice]);
    graph.output.push(value("chosen"));
    graph.initializer.push(TensorProto {
        name: Some("condition".to_owned()),
        data_type: Some(9),
        int32_data: vec![1],
        ..TensorProto::default()
    });
    let bytes = model.encode_to_vec();
    let source = Source::from_bytes(bytes.clone().into(), Path::new("model.onnx")).expect("a model");
    let notes = source.facts.notes();
    assert!(
        notes.iter().any(|note| note.contains("(If): there is no inference for operators that hold graphs")),
        "{notes:?}"
    );
    let place = Place::new();
    std::fs::write(place.path("model.onnx"), bytes).expect("a file");
    let output =
        place.command("check model.onnx --output chosen").env("RUST_BACKTRACE", "1").output().expect("dpc runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("(If) is not supported") && !text.contains("panicked"), "{text}");
}

#[test]
#[ignore = "takes as long as DPC_MUTATION_SECONDS says"]
fn for_long() {
    let number = |name: &str, default| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (seconds, first) = (number("DPC_MUTATION_SECONDS", 60), number("DPC_MUTATION_FIRST", 1 << 32));
    let (seeds, place) = (seeds(), Place::new());
    let (begun, mut compiled, mut problems, mut peak) = (Instant::now(), 0, Vec::new(), peak_mib().unwrap_or(0));
    let mut slowest = (Duration::ZERO, 0);
    let mut at = first;
    while begun.elapsed() < Duration::from_secs(seconds) {
        let start = Instant::now();
        // What hangs is named by what was begun last.
        std::fs::write(std::env::temp_dir().join(format!("dpc-mutation-{first}")), at.to_string()).expect("a file");
        match run(&seeds, at) {
            Ok(count) => compiled += usize::from(count > 0),
            Err(problem) => {
                eprintln!("{problem}");
                problems.push(problem);
            }
        }
        slowest = slowest.max((start.elapsed(), at));
        if let Some(mib) = peak_mib().filter(|&mib| mib > peak + 64) {
            eprintln!("case {at}: the process takes {mib} MiB");
            peak = mib;
        }
        if at.is_multiple_of(100) {
            run_command(&place, &seeds, at);
        }
        at += 1;
    }
    eprintln!(
        "{} cases, {compiled} of which compile with some loss, in {:?}; at most {peak} MiB; the slowest, {}, takes {:?}",
        at - first,
        begun.elapsed(),
        slowest.1,
        slowest.0
    );
    assert!(problems.is_empty() && peak < MOST_MIB, "{problems:?}");
}
