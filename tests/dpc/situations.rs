//! What PyTorch users write and ONNX does not say: gradients against PyTorch's, one record at a time
//! (`models/situations.py`).

use std::path::Path;
use std::process::Command;

use dpc::artifact::Artifact;
use dpc::onnx::{Source, discover, export};
use dpc::tensors::{Tensor, Tensors};
use dpc::train::data::npz::Npz;
use serde::Deserialize;

use crate::place::Place;
use crate::zoo::{Golden, models};

#[derive(Deserialize)]
struct Situation {
    name: String,
    loss: String,
    flags: Vec<String>,
}

fn dpc(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_dpc")).args(arguments).output().expect("dpc runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).split_whitespace().collect::<Vec<_>>().join(" ");
    (output.status.success(), format!("{} {}", text(&output.stdout), text(&output.stderr)))
}

fn grads(situation: &Situation, data: &Path, device: &str, out: &Path) {
    let model = models(&format!("situations/{}.onnx", situation.name));
    let mut arguments = vec!["grads", model.to_str().expect("a path"), "--loss", &situation.loss, "--per-sample"];
    arguments.extend(["--data", data.to_str().expect("a path"), "--out", out.to_str().expect("a path")]);
    arguments.extend(["--clip", "flat:0.5", "--device", device]);
    arguments.extend(situation.flags.iter().map(String::as_str));
    let (ok, text) = dpc(&arguments);
    assert!(ok, "{}: {text}", situation.name);
}

fn close(what: &str, found: &[f64], right: &[f64]) {
    let scale = right.iter().fold(1e-6_f64, |most, value| most.max(value.abs()));
    assert_eq!(found.len(), right.len(), "{what}");
    let worst = found.iter().zip(right).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / scale;
    assert!(worst < 1e-5, "{what}: {worst:e} off");
}

/// Loss, norm, every gradient that the file has by its own name, and the clipped sums.
#[test]
fn gradients_are_those_of_the_module() {
    let text = std::fs::read_to_string(models("situations/situations.json")).expect("the list is there");
    let situations: Vec<Situation> = serde_json::from_str(&text).expect("the list is JSON");
    assert!(situations.len() > 20);
    let directory = tempfile::tempdir().expect("a directory");
    for situation in &situations {
        let golden = models(&format!("situations/{}.npz", situation.name));
        for device in ["cpu", "gpu"] {
            let out = directory.path().join("out.npz");
            grads(situation, &golden, device, &out);
            let (mut found, mut right) = (Golden::open(&out), Golden::open(&golden));
            let names = Npz::open(&out).expect("the gradients").names();
            let shared: Vec<String> = right.names().into_iter().filter(|name| names.contains(name)).collect();
            assert!(shared.len() >= 3, "{}: {shared:?}", situation.name);
            for name in shared.iter().filter(|name| *name != "ids" && *name != "x" && *name != "label") {
                close(&format!("{} on {device}: {name}", situation.name), &found.floats(name), &right.floats(name));
            }
        }
    }
}

/// What is said of a model: the words that have to be in the answer of `dpc check`, and whether it can be trained.
#[test]
fn what_no_file_can_do_silently_is_said() {
    for (model, flags, trains, words) in [
        ("situations/mask_buffer.ts", "", true, &["causal", "constant: it holds values that are not finite"][..]),
        ("situations/position_buffer.ts", "", true, &["pe", "constant: it holds the sines and cosines of positions"]),
        ("situations/position_buffer.dyn", "", true, &["constant: the exporter lists it as a buffer"]),
        ("situations/temperature.ts", "", true, &["whether `temperature` are parameters or buffers", "--freeze NAME"]),
        ("situations/temperature.dyn", "", true, &["temperature [] 1 yes Mul.1", "requires_grad=False"]),
        ("situations/tied", "", true, &["`wte.weight` and `head.weight` are one parameter of the module, tied"]),
        ("situations/padding", "", true, &["row 0 of its table gets no gradient (padding_idx)"]),
        ("situations/padding", "--padding-idx fc.*=0", false, &["no embedding's table matches"]),
        ("situations/padding", "--padding-idx emb.*=11", false, &["`emb.weight` has 11 rows"]),
        ("situations/detached", "", true, &["detaches its operand: no gradient passes through it"]),
        ("situations/mask_folded", "", true, &["(the module's `qkv.weight`)", "optimize=False"]),
        ("situations/statistics.dyn", "--output logits", true, &["the outputs `mean`", "are left out"]),
        ("situations/statistics.dyn", "--output mean", false, &["holds the batch"]),
        ("situations/fixed_conv.2", "", true, &["exported for a batch of 2", "dynamic_shapes", "--batch-axis"]),
        ("situations/fixed_conv.ts.1", "", true, &["exported for a batch of 1", "dynamic_axes"]),
        ("situations/fixed_conv.2", "--batch-axis x=1", false, &["no input of the model has a free batch axis"]),
        ("situations/fixed_conv.2", "--batch-axis y=0", false, &["`y`: there is no such input"]),
        (
            "situations/embedding_bag.mean",
            "",
            true,
            &["is taken as the EmbeddingBag that it stands for: a mean over each 6"],
        ),
        (
            "situations/embedding_bag.weighted.ts",
            "",
            true,
            &["is taken as the EmbeddingBag that it stands for: a sum over each 6"],
        ),
        ("situations/quantized", "", true, &["`whole` is stored as small integers: it stays as it is"]),
        ("situations/logistic", "--output out", true, &["linear.coefficients", "Gemm.1 of linear.Gemm"]),
        (
            "refused/batch_norm.ts",
            "",
            false,
            &["--fix batch-norm=group", "call .eval() on the BatchNorm layers before the"],
        ),
        (
            "refused/batch_norm.ts",
            "--fix batch-norm=group",
            true,
            &["group normalisation instead of batch normalisation"],
        ),
        ("refused/batch_norm.ts", "--fix batch-norm=instance", false, &["normalise over: use"]),
        ("situations/rewritten_group.dyn.20", "", false, &["dpc::prove::mixes_records", "--fix batch-norm=group"]),
        (
            "situations/frozen_norm.ts",
            "--fix batch-norm=group",
            false,
            &["dpc::onnx::batch_norm", "is in training mode"],
        ),
    ] {
        let file = models(&format!("{model}.onnx"));
        let mut arguments = vec!["check", file.to_str().expect("a path"), "--loss", "cross-entropy"];
        arguments.extend(flags.split_whitespace());
        let (ok, text) = dpc(&arguments);
        assert_eq!(ok, trains, "{model}: {text}");
        for words in words {
            assert!(text.contains(words), "{model}: {words}\n{text}");
        }
    }
}

/// What a file does is tried out as well as proved, and drawn.
#[test]
fn records_that_meet_are_found_by_trying() {
    let place = Place::new();
    let check = |model: &str| format!("check {} --loss cross-entropy --empirical --svg m.svg", models(model).display());
    let said = place.ok(&check("zoo/cifar_small.dyn.onnx"));
    assert!(
        said.contains("changed no other record's loss or gradient by a bit on the cpu, and its own in 6 cases"),
        "{said}"
    );
    let text = place.fails(&check("refused/batch_twice.ts.onnx"), 1);
    assert!(
        text.contains("exchanging record 0 of random data changed `logits` of the records [1, 2, 3] too"),
        "{text}"
    );
    let picture = std::fs::read_to_string(place.path("m.svg")).expect("a picture");
    assert_eq!(picture.matches("<circle").count(), 4, "two nodes are marked, and two reasons listed");
    // Both are named, though the second reads what the first is refused for.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("2 problems found") && text.contains("reads `/Tanh_output_0` f32[N, 6]"), "{text}");
}

/// Weights that are attributes of a node are written back into it.
#[test]
fn attributes_are_trained_and_exported() {
    let source = Source::open(&models("situations/logistic.onnx")).expect("a model");
    let parameters = discover(&source, &[], &[]).expect("parameters");
    let trained: Tensors = parameters
        .trainable()
        .map(|p| (p.name.clone(), Tensor { dims: p.dims.clone(), data: (0..p.count()).map(|k| k as f32).collect() }))
        .collect();
    assert_eq!(trained.keys().collect::<Vec<_>>(), ["linear.coefficients", "linear.intercepts"]);
    let bytes = export(&source, &trained, &[]).expect("a model");
    let again = Source::from_bytes(bytes.into(), Path::new("exported.onnx")).expect("a model");
    for (name, tensor) in &trained {
        assert_eq!(again.initializers[name].floats(), Some(tensor.data.as_slice()), "{name}");
    }
    let ops: Vec<&str> = again.model.graph.iter().flat_map(|graph| &graph.node).map(|node| node.op_type()).collect();
    assert_eq!(ops, ["LinearClassifier", "Normalizer"]);
}

/// A batch normalisation that is rewritten is so in the trained model, with the names of its scale and bias.
#[test]
fn a_rewritten_model_is_exported_as_it_was_trained() {
    let place = Place::new();
    for (name, fix, op) in [
        ("rewritten_group.ts.17", "group", "InstanceNormalization"),
        ("rewritten_group.dyn.21", "group", "GroupNormalization"),
        ("rewritten_instance.dyn.20", "instance", "InstanceNormalization"),
        ("rewritten_frozen.dyn.20", "frozen", "BatchNormalization"),
    ] {
        let file = models(&format!("situations/{name}.onnx"));
        let file = file.to_str().expect("a path");
        place.ok(&format!("compile {file} --loss cross-entropy -o m.dpc --fix batch-norm={fix}"));
        let source = Artifact::load(&place.path("m.dpc")).expect("an artifact").source;
        let source = Source::from_bytes(source, Path::new("m.dpc")).expect("its source");
        let weights: Vec<&str> = source
            .nodes
            .iter()
            .filter(|n| n.op_type == op)
            .flat_map(|n| n.input(1))
            .filter(|n| n.ends_with("weight"))
            .collect();
        // Before opset 21 the affine map of the channels follows.
        let expected: &[&str] = match (fix, op) {
            ("group", "InstanceNormalization") => &[],
            ("instance", _) => &["norm.weight"],
            _ => &["norm.weight", "flat.weight"],
        };
        assert_eq!(weights, expected, "{name}");
        assert_eq!(source.initializers.contains_key("norm.running_var"), fix == "frozen", "{name}");
        assert!(source.initializers.contains_key("norm.weight"), "{name}");
        let said = source.model.metadata_props.iter().find(|entry| entry.key() == "dpc.batch_norm");
        assert!(said.is_some_and(|entry| entry.value().starts_with(&format!("{fix}: "))), "{name}");
        // It is read again as it is.
        std::fs::write(place.path("again.onnx"), &source.bytes).expect("a file");
        place.ok("check again.onnx --loss cross-entropy");
    }
}
