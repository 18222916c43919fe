//! The graphs of known image networks that come with ONNX's tests, of old operator sets, with constants for weights: they are
//! proved, and compiled in seconds. `cargo xtask conformance` names the folder of the cases that they stand beside.

use std::path::Path;
use std::time::{Duration, Instant};

use dpc::compile::{Compiled, compile};
use dpc::device::TARGETS;
use dpc::onnx::{Source, discover};
use dpc::options::NormChoice;

use super::zoo::options;

/// What each graph has of parameters that dpc sees: its convolutions' weights are all made by nodes.
const GRAPHS: [(&str, bool); 9] = [
    ("bvlc_alexnet", false),
    ("densenet121", true),
    ("inception_v1", true),
    ("inception_v2", true),
    ("resnet50", true),
    ("shufflenet", true),
    ("squeezenet", true),
    ("vgg19", true),
    ("zfnet512", false),
];

/// Compiles a graph for the batch of its fixed size, as the command line does.
fn compiled(path: &Path) -> Result<Compiled, String> {
    let report = |e: miette::Report| format!("{e:?}");
    let mut source = Source::open(path).map_err(|e| report(e.into()))?;
    source.take_batch(&[]).map_err(|e| report(e.into()))?;
    let parameters = discover(&source, &[], &[]).map_err(|e| report(e.into()))?;
    let options = options("cross-entropy".parse().expect("a loss"), NormChoice::Auto);
    compile(&source, &parameters, &options, TARGETS).map_err(|e| report(e.into()))
}

#[test]
fn known_networks_are_proved_and_compile_in_seconds() {
    let Some(cases) = std::env::var_os("DPC_CONFORMANCE") else {
        println!("NOT RUN: `cargo xtask conformance` fetches the graphs");
        return;
    };
    let folder = Path::new(&cases).with_file_name("light");
    if !folder.is_dir() {
        println!("NOT RUN: the graphs are not beside the cases; delete target/conformance, and fetch them again");
        return;
    }
    for (name, trains) in GRAPHS {
        let start = Instant::now();
        let result = compiled(&folder.join(format!("light_{name}.onnx")));
        assert!(start.elapsed() < Duration::from_secs(5), "{name}: {:?}", start.elapsed());
        match result {
            Ok(compiled) => assert!(trains && !compiled.choices.is_empty(), "{name} trains"),
            Err(error) => assert!(!trains && error.contains("nothing to train"), "{name}: {error}"),
        }
    }
}
