//! Facts and parameters of the committed models, against what PyTorch wrote about them.

use std::collections::{BTreeMap, BTreeSet};

use dpc::onnx::proto::{DimensionValue, ModelProto, TypeValue};
use dpc::onnx::{Dim, Elem, Glob, Int, Source, discover};
use prost::Message;
use serde::Deserialize;

use super::{files, models, open};

#[derive(Deserialize)]
struct Entry {
    name: String,
    files: BTreeMap<String, String>,
    opsets: BTreeMap<String, i64>,
    parameters: BTreeMap<String, Vec<usize>>,
}

fn manifest() -> Vec<Entry> {
    serde_json::from_slice(&std::fs::read(models().join("zoo/manifest.json")).unwrap()).unwrap()
}

#[test]
fn a_file_that_is_decoded_and_encoded_has_lost_nothing() {
    for directory in ["", "zoo", "hazards", "refused"] {
        for path in files(directory) {
            let bytes = std::fs::read(&path).unwrap();
            let model = ModelProto::decode(bytes.as_slice()).unwrap();
            assert_eq!(model.encoded_len(), bytes.len(), "{}", path.display());
            assert!(model.encode_to_vec() == bytes, "{}", path.display());
        }
    }
}

#[test]
fn every_value_of_the_zoo_has_a_shape_and_type() {
    for path in files("").into_iter().chain(files("zoo")) {
        let source = Source::open(&path).unwrap();
        assert!(source.facts.notes().is_empty(), "{}: {:?}", path.display(), source.facts.notes());
        for node in source.nodes.iter().filter(|node| node.op_type != "SplitToSequence") {
            for output in node.outputs.iter().filter(|name| !name.is_empty()) {
                assert!(source.facts.shape(output).is_some(), "{}: {output}", path.display());
                assert!(source.facts.dtype(output).is_some(), "{}: {output}", path.display());
            }
        }
    }
}

/// torch.export writes the shape that it inferred for each value.
#[test]
fn shapes_are_those_that_the_exporter_inferred() {
    let mut checked = 0;
    for path in files("zoo").into_iter().chain(files("refused")) {
        let source = Source::open(&path).unwrap();
        let graph = source.model.graph.as_ref().unwrap();
        for info in graph.value_info.iter().chain(&graph.output) {
            let Some(TypeValue::Tensor(tensor)) = info.r#type.as_ref().and_then(|t| t.value.as_ref()) else { continue };
            let Some(shape) = tensor.shape.as_ref() else { continue };
            let Some(found) = source.facts.shape(info.name()) else { continue };
            assert_eq!(found.len(), shape.dim.len(), "{}: {}", path.display(), info.name());
            assert_eq!(source.facts.dtype(info.name()), Some(Elem::from_onnx(tensor.elem_type())));
            for (dim, declared) in found.iter().zip(&shape.dim) {
                match &declared.value {
                    Some(DimensionValue::Value(size)) => {
                        assert_eq!(
                            *dim,
                            Dim::Known(usize::try_from(*size).unwrap()),
                            "{}: {}",
                            path.display(),
                            info.name()
                        );
                    }
                    // The older exporter names every axis that it did not infer after the value.
                    Some(DimensionValue::Param(name)) if name.contains(info.name()) => {}
                    _ => assert!(matches!(dim, Dim::Batch(_)), "{}: {} {dim}", path.display(), info.name()),
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 1000, "{checked}");
}

#[test]
fn shape_arithmetic_is_solved() {
    let source = open("zoo/shape_chain.ts.onnx");
    let reshapes: Vec<&str> =
        source.nodes.iter().filter(|node| node.op_type == "Reshape").map(|node| node.inputs[1].as_str()).collect();
    assert!(!reshapes.is_empty());
    for shape in &reshapes {
        assert!(source.facts.ints(shape).is_some(), "{shape}");
    }
    let batched = |shape: &&&str| source.facts.ints(shape).is_some_and(|ints| ints.contains(&Int::Batch(1)));
    assert!(reshapes.iter().any(|shape| batched(&shape)), "{reshapes:?}");
}

#[test]
fn the_default_parameters_are_those_of_the_module() {
    for entry in manifest() {
        for (recipe, file) in &entry.files {
            let source = open(&format!("zoo/{file}"));
            assert_eq!(source.opset, entry.opsets[recipe], "{file}");
            let found = discover(&source, &[], &[]).unwrap();
            let shapes: BTreeSet<Vec<usize>> = found.trainable().map(|parameter| parameter.dims.clone()).collect();
            assert_eq!(shapes, entry.parameters.values().cloned().collect(), "{file}\n{found}");
            assert_eq!(found.trainable().count(), entry.parameters.len(), "{} {file}\n{found}", entry.name);
            let tied = entry.parameters.keys().filter(|name| !found.trainable().any(|p| p.name == **name)).count();
            assert!(tied <= 1, "{file}\n{found}");
        }
    }
}

#[test]
fn the_table_of_parameters() {
    let mut text = String::new();
    for (file, freeze) in [
        ("zoo/lstm_small.ts.onnx", &["*.bias"][..]),
        ("hazards/merged_biases.dyn.onnx", &[]),
        ("hazards/untied_head.ts.onnx", &[]),
    ] {
        let globs: Vec<Glob> = freeze.iter().map(|pattern| Glob::new(*pattern)).collect();
        let found = discover(&open(file), &[], &globs).unwrap();
        text += &format!("{file}, freeze {freeze:?}\n\n{found}\n");
        found.warnings.iter().for_each(|warning| text += &format!("warning: {warning}\n"));
        text += "\n";
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!("parameters", text));
}
