//! Every operator set that dpc reads, by one model in the form of each, against PyTorch one sample at a time.

use dpc::device::cpu::Cpu;
use dpc::lower::host_outputs;
use dpc::lower::program::{Phase, Role};
use dpc::onnx::opset::{NEWEST_OPSET, OLDEST_OPSET};
use dpc::onnx::proto::{ModelProto, NodeProto};
use dpc::options::NormChoice;
use prost::Message;

use crate::place::Place;
use crate::zoo::{Golden, compiled, models, options, result, session};

/// The largest distance, by the largest expected entry.
fn off(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1e-12f64, |m, x| m.max(x.abs()));
    let distances = found.iter().zip(expected).map(|(f, e)| (f64::from(*f) - e).abs());
    distances.fold(0.0, |a: f64, b| if b.is_nan() { b } else { a.max(b) }) / largest
}

#[test]
fn a_model_means_the_same_in_the_form_of_every_operator_set() {
    const TOLERANCE: f64 = 1e-5;
    let mut problems = Vec::new();
    for opset in OLDEST_OPSET..=NEWEST_OPSET {
        let name = if opset < 13 { "before_13" } else { "from_13" };
        let mut golden = Golden::open(&models(&format!("opsets/{name}.npz")));
        let path = models(&format!("opsets/op{opset:02}.onnx"));
        let options = options("cross-entropy".parse().expect("a loss"), NormChoice::Auto);
        let (source, compiled) = compiled(&path, &options).unwrap_or_else(|e| panic!("{opset}: {e}"));
        assert_eq!(source.opset, opset);
        assert!(source.notes.is_empty() && source.facts.notes().is_empty(), "{opset}: {:?}", source.facts.notes());
        let mut session = session(&Cpu, (&source, &compiled), &mut golden, 4);
        session.run(Phase::Private).expect("a run");
        let mut expect = |what: &str, found: &[f32], expected: &[f64]| {
            let off = off(found, expected);
            if off.is_nan() || off > TOLERANCE {
                problems.push(format!("{opset}: {what} is off by {off:.1e}"));
            }
        };
        expect("loss", &result(&mut *session, &compiled, host_outputs::LOSS), &golden.floats("loss"));
        let parameters = golden.parameters();
        assert_eq!(parameters.len(), 9);
        for parameter in parameters {
            let name = format!("per_sample/{parameter}");
            expect(&parameter, &result(&mut *session, &compiled, &name), &golden.floats(&name));
        }
        session.run(Phase::Forward).expect("a run");
        let logits = compiled.program.find(&Role::Output("logits".into())).expect("logits");
        expect("logits", &session.read_f32(logits).expect("a read"), &golden.floats("logits"));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Softmax and LogSoftmax of old normalise over all axes from one on, and the batch may not be among them.
#[test]
fn an_old_softmax_over_the_batch_is_refused() {
    let refused = |version: i64, axis: i64| {
        let file = models(&format!("opsets/op{version:02}.onnx"));
        let mut model = ModelProto::decode(std::fs::read(file).expect("a model").as_slice()).expect("a model");
        for node in model.graph.iter_mut().flat_map(|graph| &mut graph.node) {
            if node.op_type() == "LogSoftmax" {
                node.attribute.iter_mut().for_each(|attribute| attribute.i = Some(axis));
            }
        }
        let place = Place::new();
        std::fs::write(place.path("m.onnx"), model.encode_to_vec()).expect("a file");
        let text = place.fails("check m.onnx --loss cross-entropy", 1);
        assert!(text.contains("dpc::prove::mixes") && text.contains("it normalises over axis 0"), "{text}");
    };
    refused(12, 0);
    refused(7, 0);
    refused(13, 0);
}

#[test]
fn the_readme_states_the_operator_sets() {
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&format!("\nOpsets {OLDEST_OPSET} to {NEWEST_OPSET}")));
}

#[test]
fn an_operator_set_that_is_not_read_is_refused_with_the_range() {
    let bytes = std::fs::read(models("zoo/mlp.ts.onnx")).expect("a model");
    let place = Place::new();
    for version in [OLDEST_OPSET - 1, NEWEST_OPSET + 1, 0, -1, i64::MAX] {
        let mut model = ModelProto::decode(bytes.as_slice()).expect("a model");
        model.opset_import[0].version = Some(version);
        std::fs::write(place.path("m.onnx"), model.encode_to_vec()).expect("a file");
        let text = place.fails("check m.onnx", 1);
        assert!(text.contains("dpc::onnx::opset") && text.contains("operator sets 6 to 28"), "{text}");
        assert!(text.contains(&format!("operator set {version}")), "{text}");
    }
}

/// An older file is read where none of its operators has changed since.
#[test]
fn an_older_file_of_unchanged_operators_is_read() {
    let node = |op_type: &str, input: &[&str], output: &str| NodeProto {
        op_type: Some(op_type.into()),
        input: input.iter().map(|name| (*name).into()).collect(),
        output: vec![output.into()],
        ..Default::default()
    };
    let place = Place::new();
    for (op, reads) in [("Softplus", true), ("Relu", false)] {
        let bytes = std::fs::read(models("zoo/mlp.ts.onnx")).expect("a model");
        let mut model = ModelProto::decode(bytes.as_slice()).expect("a model");
        model.opset_import[0].version = Some(1);
        let graph = model.graph.as_mut().expect("a graph");
        let (x, y) = (graph.input[0].name().to_owned(), graph.output[0].name().to_owned());
        let weight =
            graph.initializer.iter().find(|tensor| tensor.dims.len() == 2).expect("a weight").name().to_owned();
        graph.node = vec![
            node("Transpose", &[&weight], "transposed"),
            node("MatMul", &[&x, "transposed"], "product"),
            node(op, &["product"], &y),
        ];
        std::fs::write(place.path("m.onnx"), model.encode_to_vec()).expect("a file");
        match reads {
            true => _ = place.ok("check m.onnx"),
            false => assert!(place.fails("check m.onnx", 1).contains("dpc::onnx::opset")),
        }
    }
}
