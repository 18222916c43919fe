//! Values without elements: a part of a concatenation that adds nothing is left out; everything else that reads one is
//! refused by name.

use dpc::compile::compile;
use dpc::device::TARGETS;
use dpc::import::{Refusal, prove};
use dpc::onnx::proto::{AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use dpc::onnx::{Source, discover};
use dpc::options::NormChoice;
use prost::Message;

use crate::zoo::{models, options};

/// A perceptron whose input first goes through these nodes, the last of which yields what it reads.
fn behind(nodes: &[(&str, &[&str], &str)]) -> Source {
    let bytes = std::fs::read(models("zoo/mlp.ts.onnx")).expect("a model");
    let mut model = ModelProto::decode(bytes.as_slice()).expect("a model");
    let graph = model.graph.as_mut().expect("a graph");
    let input = graph.input[0].name().to_owned();
    let last = nodes.last().expect("a node").2;
    for name in graph.node.iter_mut().flat_map(|node| &mut node.input).filter(|name| **name == input) {
        *name = last.to_owned();
    }
    let made = nodes.iter().map(|(op, operands, result)| NodeProto {
        name: Some((*result).to_owned()),
        op_type: Some((*op).to_owned()),
        input: operands.iter().map(|name| if *name == "x" { input.clone() } else { (*name).to_owned() }).collect(),
        output: vec![(*result).to_owned()],
        attribute: match *op {
            "Concat" => vec![AttributeProto {
                name: Some("axis".to_owned()),
                r#type: Some(2),
                i: Some(1),
                ..AttributeProto::default()
            }],
            _ => Vec::new(),
        },
        ..NodeProto::default()
    });
    graph.node.splice(0..0, made);
    for (name, value) in [("zero", 0), ("one", 1)] {
        graph.initializer.push(TensorProto {
            name: Some(name.to_owned()),
            data_type: Some(7),
            dims: vec![1],
            int64_data: vec![value],
            ..TensorProto::default()
        });
    }
    graph.value_info.clear();
    graph.output.iter_mut().for_each(|output| *output = ValueInfoProto { r#type: None, ..output.clone() });
    Source::from_bytes(model.encode_to_vec().into(), std::path::Path::new("model.onnx")).expect("a model")
}

const NOTHING: (&str, &[&str], &str) = ("Slice", &["x", "zero", "zero", "one"], "nothing");

#[test]
fn a_part_without_elements_adds_nothing_to_a_concatenation() {
    let source = behind(&[NOTHING, ("Concat", &["nothing", "x", "nothing"], "whole")]);
    let parameters = discover(&source, &[], &[]).expect("parameters");
    let proved = prove(&source, &parameters).expect("a model");
    let text = proved.graph.to_string();
    assert!(!text.contains("concat"), "{text}");
}

#[test]
fn what_is_made_of_nothing_is_nothing_and_a_reader_that_needs_elements_is_refused_by_name() {
    let source = behind(&[NOTHING, ("Relu", &["nothing"], "positive")]);
    let parameters = discover(&source, &[], &[]).expect("parameters");
    let problems = prove(&source, &parameters).expect_err("nothing to compute").problems;
    let Refusal::Unsupported { node, why, .. } = &problems[0] else { panic!("{problems:?}") };
    assert_eq!(node, "/0/Gemm");
    assert!(why.contains("`positive` of dims [N, 0] has no elements"), "{why}");
}

#[test]
fn a_loss_of_nothing_is_refused() {
    let mut model = behind(&[NOTHING, ("Identity", &["x"], "same")]).model;
    let graph = model.graph.as_mut().expect("a graph");
    graph.output = vec![ValueInfoProto { name: Some("nothing".to_owned()), ..ValueInfoProto::default() }];
    let source = Source::from_bytes(model.encode_to_vec().into(), std::path::Path::new("model.onnx")).expect("a model");
    let parameters = discover(&source, &[], &[]).expect("parameters");
    let options = options("cross-entropy".parse().expect("a loss"), NormChoice::Auto);
    let Err(refused) = compile(&source, &parameters, &options, TARGETS) else { panic!("it compiles") };
    let text = format!("{:?}", miette::Report::from(refused));
    assert!(text.contains("no elements"), "{text}");
}
