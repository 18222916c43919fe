//! The seeds of the fuzzers, files that once crashed one among them: each is read, or refused with an error.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dpc::artifact::Artifact;
use dpc::compile::{Options, compile};
use dpc::device::TARGETS;
use dpc::device::cpu::Cpu;
use dpc::lower::cost::CostModel;
use dpc::lower::program::Phase;
use dpc::onnx::{Source, discover};
use dpc::options::{NormChoice, Precision};
use dpc::privacy::ClipRule;
use dpc::privacy::ledger::Contents;
use dpc::schema::{InputKind, InputSchema, Schema, TargetKind, TargetSchema};
use dpc::train::data::Dataset;
use dpc::train::engine::Engine;

use super::place::files;

fn seeds(target: &str) -> Vec<PathBuf> {
    let seeds = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target), |_| true);
    assert!(!seeds.is_empty());
    seeds
}

#[test]
fn models() {
    let (mut opened, mut compiled) = (0, 0);
    for path in seeds("onnx") {
        let Ok(source) = Source::open(&path) else { continue };
        let Ok(parameters) = discover(&source, &[], &[]) else { continue };
        opened += 1;
        for loss in [None, Some("mse".parse().expect("a loss"))] {
            let options = Options {
                loss,
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
            compiled += usize::from(compile(&source, &parameters, &options, TARGETS).is_ok());
        }
    }
    assert!(opened > 5 && compiled > 5, "{opened} opened, {compiled} compiled");
}

#[test]
fn artifacts() {
    let mut loaded = 0;
    for path in seeds("artifact") {
        let Ok(artifact) = Artifact::load(&path) else { continue };
        let phases: Vec<Phase> = artifact.program.phases.keys().copied().collect();
        let _ = artifact.provenance();
        loaded += usize::from(Engine::new(&Cpu, artifact.program.into(), &artifact.weights, 2, &phases).is_ok());
    }
    assert!(loaded > 0);
}

#[test]
fn data_sets() {
    let input = |dims: &[usize], kind| vec![InputSchema { name: "x".to_owned(), dims: dims.to_vec(), kind }];
    let class = TargetKind::Class { classes: 10, ignore_index: Some(-100) };
    let schemas = [
        Schema { inputs: input(&[1, 2, 2], InputKind::F32), targets: vec![TargetSchema::new("label", &[], class)] },
        Schema {
            inputs: input(&[4], InputKind::I32 { table: Some(50) }),
            targets: vec![TargetSchema::new("label", &[1], TargetKind::Real { within: Some([0.0, 1.0]) })],
        },
    ];
    let mut loaded = 0;
    for (path, schema) in seeds("data").iter().flat_map(|path| schemas.iter().map(move |schema| (path, schema))) {
        loaded += usize::from(Dataset::load(&path.display().to_string(), schema).is_ok());
    }
    assert!(loaded > 5);
}

#[test]
fn ledgers() {
    let steps: Vec<u64> = seeds("ledger").iter().filter_map(|path| Some(Contents::read(path).ok()?.steps())).collect();
    assert!(steps.iter().filter(|&&steps| steps == 3).count() >= 6, "{steps:?}");
}

fn toml(path: &str) -> toml::Table {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a file");
    text.parse().expect("TOML")
}

/// The names of what `dpc` depends on directly, by a lock file.
fn dependencies(lock: &str) -> BTreeSet<String> {
    let lock = toml(lock);
    let packages = lock["package"].as_array().expect("packages");
    let dpc = packages.iter().find(|package| package["name"].as_str() == Some("dpc")).expect("dpc");
    let names = dpc["dependencies"].as_array().expect("dependencies").iter().filter_map(|name| name.as_str());
    // Where there are several versions a name stands before its own.
    names.filter_map(|name| name.split(' ').next()).map(str::to_owned).collect()
}

/// The fuzz targets are a workspace of their own, which nothing else builds: `cargo metadata --manifest-path fuzz/Cargo.toml` brings
/// its lock file up to date.
#[test]
fn the_lock_file_of_the_fuzz_targets_is_up_to_date() {
    let mut expected = dependencies("Cargo.lock");
    // What only tests need, and a feature that the targets do not ask for.
    let manifest = toml("Cargo.toml");
    let tests = manifest["dev-dependencies"].as_table().expect("a table");
    let ranks = manifest["features"]["mpi"].as_array().expect("what a feature takes");
    let ranks: Vec<_> = ranks.iter().filter_map(|name| name.as_str()?.strip_prefix("dep:")).collect();
    assert!(ranks.contains(&"mpi"));
    expected.retain(|name| !tests.contains_key(name) && !ranks.contains(&name.as_str()));
    assert_eq!(dependencies("fuzz/Cargo.lock"), expected);
}
