//! Weights and axes in forms that few exporters use: gradients against PyTorch one sample at a time, and what is written
//! back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dpc::artifact::Artifact;
use dpc::onnx::proto::{ModelProto, NodeProto};
use dpc::onnx::{Dim, Source, discover, export};
use dpc::tensors::{Tensor, Tensors};
use dpc::train::data::Array;
use dpc::train::data::npz::{self, Npz};
use prost::Message;

use crate::place::{Place, models};

/// The golden file of a form, and the data in it.
struct Form {
    place: Place,
    name: &'static str,
    golden: Npz,
}

impl Form {
    fn new(name: &'static str) -> Form {
        let golden = Npz::open(Path::new(&models(&format!("forms/{name}.npz")))).expect("a golden file");
        Form { place: Place::new(), name, golden }
    }

    fn file(&self) -> String {
        models(&format!("forms/{}.onnx", self.name))
    }

    /// Writes the inputs and the labels as a data set.
    fn data(&mut self) {
        let results = ["logits", "loss", "per_sample/"];
        let names: Vec<String> = self.golden.names();
        let inputs = names.into_iter().filter(|name| !results.iter().any(|result| name.starts_with(result)));
        let arrays = inputs.map(|name| (name.clone(), self.golden.read(&name).expect("an array")));
        let arrays: BTreeMap<_, _> = arrays.collect();
        npz::write(&self.place.path("data.npz"), &arrays).expect("a file");
    }

    fn golden(&mut self, name: &str) -> Vec<f64> {
        let bytes = self.golden.read(name).expect("an array").bytes().to_vec();
        bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("8 bytes"))).collect()
    }

    /// Holds the loss and the gradients that `grads` writes against the golden ones.
    fn check(&mut self, flags: &str) {
        self.data();
        let file = self.file();
        let line = "--data data.npz --loss cross-entropy --per-sample --out out.npz --device cpu";
        self.place.ok(&format!("grads {file} {line} {flags}"));
        let mut found = Npz::open(&self.place.path("out.npz")).expect("gradients");
        let names: Vec<String> =
            self.golden.names().into_iter().filter(|n| n == "loss" || n.starts_with("per_sample/")).collect();
        let trained = found.names().into_iter().filter(|name| name.starts_with("per_sample/")).count();
        assert_eq!(trained, names.len() - 1, "{}: {:?}", self.name, found.names());
        for name in names {
            let expected = self.golden(&name);
            let found = found.read(&name).unwrap_or_else(|_| panic!("{}: {name}", self.name)).to_f32();
            assert_eq!(found.len(), expected.len());
            let off = found.iter().zip(&expected).map(|(f, e)| (f64::from(*f) - e).abs()).fold(0.0, f64::max);
            assert!(off < 1e-5, "{}: {name} is off by {off:.1e}", self.name);
        }
    }
}

/// The parameters of a model, each of its own value, and the model with them written back.
fn exported(source: &Source) -> (Tensors, ModelProto, Source) {
    let parameters = discover(source, &[], &[]).expect("parameters");
    let trained: Tensors = (1..)
        .zip(parameters.trainable())
        .map(|(k, p)| (p.name.clone(), Tensor { dims: p.dims.clone(), data: vec![k as f32 / 8.0; p.count()] }))
        .collect();
    let bytes = export(source, &trained, &[]).expect("a model");
    let again = Source::from_bytes(bytes.clone().into(), Path::new("nowhere/exported.onnx")).expect("a model");
    (trained, ModelProto::decode(bytes.as_slice()).expect("a model"), again)
}

fn nodes<'a>(model: &'a ModelProto, op: &'a str) -> impl Iterator<Item = &'a NodeProto> {
    model.graph.iter().flat_map(|graph| &graph.node).filter(move |node| node.op_type() == op)
}

#[test]
fn gradients_are_pytorchs() {
    for name in ["constants", "literal", "equal"] {
        Form::new(name).check("");
    }
}

#[test]
fn weights_in_constant_nodes_are_written_back_into_them() {
    let source = Source::open(Path::new(&models("forms/constants.onnx"))).expect("a model");
    let (trained, model, again) = exported(&source);
    assert_eq!(trained.keys().map(String::as_str).collect::<Vec<_>>(), ["b1", "b2", "w1", "w2"]);
    assert_eq!(nodes(&model, "Constant").count(), 7);
    assert!(model.graph.as_ref().expect("a graph").initializer.is_empty());
    for (name, tensor) in &trained {
        assert_eq!(again.initializers[name].floats(), Some(tensor.data.as_slice()), "{name}");
    }
    assert_eq!(again.lifted, source.lifted);
    // Everything but the weights is what it was.
    let constant = |model: &ModelProto, name: &str| nodes(model, "Constant").find(|n| n.output[0] == name).cloned();
    assert_eq!(constant(&model, "mask"), constant(&source.model, "mask"));
}

#[test]
fn a_constant_beside_weights_is_offered_and_not_trained() {
    let mut form = Form::new("literal");
    let file = form.file();
    let table = form.place.ok(&format!("check {file} --loss cross-entropy"));
    assert!(table.contains("a Constant node beside weights that are none, MatMul.1 of MatMul_2"), "{table}");
    form.data();
    let flags = "--data data.npz --loss cross-entropy --out out.npz --device cpu --train fixed";
    form.place.ok(&format!("grads {file} {flags}"));
    let names = Npz::open(&form.place.path("out.npz")).expect("gradients").names();
    assert!(names.contains(&"sum/fixed".to_owned()) && !names.contains(&"sum/w".to_owned()), "{names:?}");
}

#[test]
fn weights_that_were_equal_are_written_as_initialisers_of_their_own() {
    let source = Source::open(Path::new(&models("forms/equal.onnx"))).expect("a model");
    assert!(
        source.notes.iter().any(|note| note.ends_with("its own: `tied.bias`, `second.bias`, `second.weight`")),
        "{:?}",
        source.notes
    );
    let (trained, model, again) = exported(&source);
    assert_eq!(nodes(&model, "Identity").count(), 0);
    let stored: BTreeSet<&str> = model.graph.iter().flat_map(|g| &g.initializer).map(|t| t.name()).collect();
    assert!(stored.contains("second.weight") && !stored.contains("tied.weight"), "{stored:?}");
    for (name, tensor) in &trained {
        assert_eq!(again.initializers[name].floats(), Some(tensor.data.as_slice()), "{name}");
    }
    assert!(again.lifted.is_empty());

    // One that is frozen keeps its value where the one that it was equal to is trained.
    let alone: Tensors =
        trained.iter().filter(|(name, _)| *name == "first.weight").map(|(n, t)| (n.clone(), t.clone())).collect();
    let bytes = export(&source, &alone, &[]).expect("a model");
    let again = Source::from_bytes(bytes.into(), Path::new("nowhere/exported.onnx")).expect("a model");
    assert_eq!(again.initializers["second.weight"], source.initializers["second.weight"]);
    assert_ne!(again.initializers["first.weight"], source.initializers["first.weight"]);
}

#[test]
fn symbolic_axes_are_fixed_by_symbol_and_by_position() {
    let mut form = Form::new("axes");
    form.check("--dim time=6 --dim y:2=2");
    form.check("--dim x:1=6 --fix y:1=6 --fix y:2=2");
    form.check("--dim time=6,y:2=2");

    let (file, place) = (form.file(), &form.place);
    let text = place.fails(&format!("check {file}"), 1);
    for line in ["axis 1: time (--dim time=SIZE)", "`y`, axis 2: of unknown size (--dim y:2=SIZE)"] {
        assert!(text.contains(line), "{text}");
    }
    let text = place.fails(&format!("check {file} --fix t=6 --fix y:3=1"), 1);
    assert!(text.contains("dpc::onnx::fix") && text.contains("`t=6`") && text.contains("`y:3=1`"), "{text}");
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(words.join(" ").contains("the inputs have the symbols batch, time"), "{text}");
    for flag in ["--dim time", "--fix time", "--dim batch-norm=group", "--fix batch-norm=layer"] {
        let text = place.fails(&format!("check {file} {flag}"), 2);
        assert!(
            text.contains("SYMBOL=SIZE or INPUT:AXIS=SIZE")
                || text.contains("is none of group")
                || text.contains("no size"),
            "{text}"
        );
    }
}

#[test]
fn a_range_of_sizes_and_records_of_another_length_are_told_what_to_do() {
    let mut form = Form::new("axes");
    form.data();
    let (file, place) = (form.file(), &form.place);
    let text = place.fails(&format!("check {file} --dim time=1..6,y:2=2"), 2);
    assert!(text.contains("one size of each axis"), "{text}");
    let text = place.fails(&format!("eval {file} --data data.npz --loss cross-entropy --dim time=7,y:2=2"), 1);
    let words: Vec<&str> = text.split_whitespace().collect();
    let said = "axis 1 has 6 elements, and a compiled model takes 7: pad its records to that size";
    assert!(words.join(" ").contains(said), "{text}");
}

#[test]
fn what_is_fixed_stays_so_in_the_artifact_and_in_what_is_exported() {
    let mut form = Form::new("axes");
    form.data();
    let (file, place) = (form.file(), &form.place);
    let fix = "--dim time=6 --dim y:2=2";
    place.ok(&format!("compile {file} --loss cross-entropy -o m.dpc {fix}"));
    let artifact = Artifact::load(&place.path("m.dpc")).expect("an artifact");
    let source = Source::from_bytes(artifact.source, Path::new("m.dpc")).expect("its source");
    let [batch, six, two] = [Dim::Batch(1), Dim::Known(6), Dim::Known(2)];
    let dims: Vec<_> = source.inputs.iter().map(|input| input.dims.clone()).collect();
    assert_eq!(dims, [vec![batch, six, Dim::Known(5)], vec![batch, six, two]]);

    let train = "--data data.npz --lr 0.1 --noise-multiplier 1 --delta 1e-3 --batch 2 --steps 2 --device cpu --out run";
    place.ok(&format!("train m.dpc {train}"));
    place.ok("export run -o trained.onnx");
    let trained = Source::open(&place.path("trained.onnx")).expect("a model without symbols but the batch");
    assert_eq!(trained.inputs, source.inputs);

    for line in
        ["inspect FILE", "eval FILE --data data.npz --loss cross-entropy", "run FILE --data data.npz --out o.npz"]
    {
        place.ok(&format!("{} {fix}", line.replace("FILE", &file)));
        let text = place.fails(&format!("{} {fix}", line.replace("FILE", "m.dpc")), 1);
        assert!(text.contains("dpc::model::read"), "{text}");
    }
}

#[test]
fn ids_below_zero_count_from_the_end_of_each_table() {
    let mut form = Form::new("ids");
    let mut inputs: BTreeMap<_, _> = ["data", "table", "indices"]
        .map(|name| (name.to_owned(), form.golden.read(name).expect("an input")))
        .into_iter()
        .collect();
    let (file, place) = (form.file(), &form.place);
    npz::write(&place.path("data.npz"), &inputs).expect("a file");
    for device in ["cpu", "gpu"] {
        place.ok(&format!("run {file} --data data.npz --out out.npz --device {device}"));
        let mut found = Npz::open(&place.path("out.npz")).expect("the outputs");
        for name in ["from_data", "from_table"] {
            let right = form.golden.read(name).expect("an output");
            assert_eq!(found.read(name).expect("an output").to_f32(), right.to_f32(), "{name} on {device}");
        }
    }
    // The smaller table bounds the ids.
    inputs.insert("indices".into(), Array::from_i64(vec![2, 3], &[0, -5, 4, 3, -4, 1]));
    npz::write(&place.path("data.npz"), &inputs).expect("a file");
    let text = place.fails(&format!("run {file} --data data.npz --out out.npz --device cpu"), 1);
    assert!(text.contains("2 values out of range") && text.contains("ids must be in [-4, 4)"), "{text}");
    inputs.remove("indices");
    npz::write(&place.path("data.npz"), &inputs).expect("a file");
    let text = place.fails(&format!("run {file} --data data.npz --out out.npz --device cpu"), 1);
    assert!(text.contains("indices"), "{text}");
}

#[test]
fn a_sequence_is_no_output() {
    let form = Form::new("ids");
    let bytes = std::fs::read(form.file()).expect("a file");
    let mut model = ModelProto::decode(bytes.as_slice()).expect("a model");
    let graph = model.graph.as_mut().expect("a graph");
    graph.node.push(NodeProto {
        op_type: Some("SplitToSequence".into()),
        input: vec!["data".into()],
        output: vec!["parts".into()],
        ..NodeProto::default()
    });
    let mut output = graph.output[0].clone();
    (output.name, output.r#type) = (Some("parts".into()), None);
    graph.output.push(output);
    std::fs::write(form.place.path("parts.onnx"), model.encode_to_vec()).expect("a file");
    let text = form.place.fails(&format!("run parts.onnx --data {} --out o.npz", models("forms/ids.npz")), 1);
    assert!(text.contains("node `parts` (output): it is a sequence"), "{text}");
}
