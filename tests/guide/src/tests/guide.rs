//! Models with the ops of the guide, from ONNX to both devices.

use std::path::Path;
use std::sync::Arc;

use prost::Message;

use crate::compile::{Options, compile};
use crate::device::cpu::Cpu;
use crate::device::gpu::Gpu;
use crate::device::{Device, TARGETS};
use crate::lower::program::{Phase, Role};
use crate::onnx::proto::{AttributeProto, ModelProto, NodeProto};
use crate::onnx::{Source, discover};
use crate::privacy::grid;

const OUTPUT: &str = "y";

/// The perceptron of the zoo with its input through `Flip`, `Cube` and `Squareplus`, the last of which is an output too.
fn source(axis: i64) -> Source {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/zoo/mlp.ts.onnx");
    let mut model = ModelProto::decode(std::fs::read(path).unwrap().as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let input = graph.input[0].clone();
    let name = input.name().to_owned();
    graph
        .node
        .iter_mut()
        .flat_map(|node| &mut node.input)
        .filter(|operand| **operand == name)
        .for_each(|operand| *operand = OUTPUT.into());
    let attribute =
        AttributeProto { name: Some("axis".into()), r#type: Some(2), i: Some(axis), ..AttributeProto::default() };
    let made = [("Flip", name.as_str(), "flipped"), ("Cube", "flipped", "cube"), ("Squareplus", "cube", OUTPUT)];
    let nodes = made.map(|(op, from, to)| NodeProto {
        name: Some(to.into()),
        op_type: Some(op.into()),
        input: vec![from.into()],
        output: vec![to.into()],
        attribute: if op == "Flip" { vec![attribute.clone()] } else { vec![] },
        ..NodeProto::default()
    });
    graph.node.splice(0..0, nodes);
    Source::from_bytes(model.encode_to_vec().into(), Path::new("model.onnx")).unwrap()
}

#[test]
fn a_model_of_new_ops_trains_on_both_devices() {
    let source = source(1);
    let parameters = discover(&source, &[], &[]).unwrap();
    let options = Options::private("cross-entropy".parse().unwrap());
    let compiled =
        compile(&source, &parameters, &options, TARGETS).unwrap_or_else(|e| panic!("{:?}", miette::Report::from(e)));
    let text = compiled.gradients.to_string();
    assert!(text.contains("flip") && text.contains("sqrt"), "{text}");
    let (rows, program) = (3, &compiled.program);
    let gpu = Gpu::open(None).unwrap_or_else(|e| panic!("{:?}", miette::Report::from(e)));
    let devices: [&dyn Device; 2] = [&Cpu, &gpu];
    let [cpu, gpu] = devices.map(|device| {
        let mut session = device.load(Arc::new(program.clone()), rows).unwrap();
        for id in program.ids() {
            let buffer = program.buffer(id);
            let values: Vec<f32> = (0..buffer.len.at(rows)).map(|i| ((i * 7919 % 31) as f32 - 15.0) / 20.0).collect();
            match &buffer.role {
                Role::Parameter(_) => session.write_f32(id, &values).unwrap(),
                Role::Input(name) if name.starts_with("dpc.") => {
                    session.write_f32(id, &vec![1.0; values.len()]).unwrap()
                }
                Role::Input(_) if buffer.dtype == crate::graph::DType::F32 => session.write_f32(id, &values).unwrap(),
                _ => {}
            }
        }
        session.run(Phase::Private).unwrap();
        let sums = program.ids().filter(|&id| matches!(program.buffer(id).role, Role::GridSum(_)));
        let words: Vec<u32> = sums.flat_map(|id| session.read(id).unwrap()).collect();
        // Integers of two words, the low one first; the clip bound is 1.
        let integer = |&[low, high]: &[u32; 2]| (u64::from(high) << 32 | u64::from(low)) as i64;
        let number = |words: &[u32; 2]| integer(words) as f32 / grid::UNITS as f32;
        words.as_chunks::<2>().0.iter().map(number).collect::<Vec<f32>>()
    });
    assert!(cpu.iter().any(|x| *x != 0.0));
    assert!(cpu.iter().zip(&gpu).all(|(a, b)| (a - b).abs() <= 1e-5), "{cpu:?}\n{gpu:?}");
}

#[test]
fn the_batch_cannot_be_reversed() {
    let source = source(0);
    let parameters = discover(&source, &[], &[]).unwrap();
    let refusal = format!("{:?}", miette::Report::from(crate::import::prove(&source, &parameters).unwrap_err()));
    assert!(refusal.contains("holds the batch"), "{refusal}");
}
