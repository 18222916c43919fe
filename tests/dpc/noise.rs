//! Random numbers of each record: normal and uniform ones are so distributed, differ from record to record, are the same on
//! both devices, and are their median where the model is evaluated.

use std::collections::BTreeMap;

use dpc::onnx::proto::{
    AttributeProto, Dimension, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorType, TypeProto, TypeValue, ValueInfoProto,
};
use dpc::train::data::Array;
use dpc::train::data::npz::{self, Npz};
use prost::Message;

use crate::place::Place;

const RECORDS: usize = 500;
const WIDTH: usize = 8;

fn value(name: &str) -> ValueInfoProto {
    let dims = [DimensionValue::Param("batch".into()), DimensionValue::Value(WIDTH as i64)];
    let dim = dims.map(|value| Dimension { value: Some(value), ..Dimension::default() }).into();
    let tensor = TensorType { elem_type: Some(1), shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { value: Some(TypeValue::Tensor(tensor)), ..TypeProto::default() });
    ValueInfoProto { name: Some(name.into()), r#type, ..ValueInfoProto::default() }
}

/// `y = noise · w`, so that the gradient of the sum of a record's `y` is its noise.
fn model(op: &str, attributes: &[(&str, f32)]) -> Vec<u8> {
    let attribute = |(name, value): &(&str, f32)| AttributeProto {
        name: Some((*name).into()),
        r#type: Some(1),
        f: Some(*value),
        ..AttributeProto::default()
    };
    let node = |op: &str, input: &[&str], output: &str, attribute: Vec<AttributeProto>| NodeProto {
        op_type: Some(op.into()),
        input: input.iter().map(|name| (*name).into()).collect(),
        output: vec![output.into()],
        attribute,
        ..NodeProto::default()
    };
    let weight = TensorProto {
        name: Some("weight".into()),
        data_type: Some(1),
        dims: vec![WIDTH as i64],
        float_data: vec![1.0; WIDTH],
        ..TensorProto::default()
    };
    let graph = GraphProto {
        node: vec![
            node(op, &["x"], "noise", attributes.iter().map(attribute).collect()),
            node("Mul", &["noise", "weight"], "y", vec![]),
        ],
        initializer: vec![weight],
        input: vec![value("x")],
        output: vec![value("y")],
        ..GraphProto::default()
    };
    let set = OperatorSetIdProto { version: Some(17), ..OperatorSetIdProto::default() };
    let model =
        ModelProto { ir_version: Some(8), opset_import: vec![set], graph: Some(graph), ..ModelProto::default() };
    model.encode_to_vec()
}

/// The noise of each record on a device, and what the model is evaluated to.
fn noise(place: &Place, device: &str) -> (Vec<f32>, Vec<f32>) {
    place.ok(&format!(
        "grads m.onnx --data data.npz --loss output:y,reduction=sum --per-sample --out out.npz --device {device}"
    ));
    let drawn = Npz::open(&place.path("out.npz")).expect("a file").read("per_sample/weight").expect("gradients");
    place.ok(&format!("run m.onnx --data data.npz --out run.npz --device {device}"));
    let evaluated = Npz::open(&place.path("run.npz")).expect("a file").read("y").expect("an output");
    (drawn.to_f32(), evaluated.to_f32())
}

#[test]
fn noise_is_distributed_as_it_should_be_and_each_records_own() {
    let place = Place::new();
    let x = Array::from_f32(vec![RECORDS, WIDTH], &vec![0.0; RECORDS * WIDTH]);
    npz::write(&place.path("data.npz"), &BTreeMap::from([("x".to_owned(), x)])).expect("a file");
    let normal = ("RandomNormalLike", vec![("mean", 3.0), ("scale", 2.0)], 3.0, 4.0, 3.0);
    let uniform = ("RandomUniformLike", vec![("low", -1.0), ("high", 3.0)], 1.0, 16.0 / 12.0, 1.8);
    for (op, attributes, mean, variance, kurtosis) in [normal, uniform] {
        std::fs::write(place.path("m.onnx"), model(op, &attributes)).expect("a file");
        let (drawn, evaluated) = noise(&place, "cpu");
        let count = drawn.len() as f64;
        let moment = |k: i32| drawn.iter().map(|x| (f64::from(*x) - mean).powi(k)).sum::<f64>() / count;
        // Five deviations of each estimate.
        assert!(moment(1).abs() < 5.0 * (variance / count).sqrt(), "{op}: mean off by {}", moment(1));
        assert!((moment(2) / variance - 1.0).abs() < 5.0 * (kurtosis / count).sqrt(), "{op}: {}", moment(2));
        assert!((moment(4) / moment(2).powi(2) - kurtosis).abs() < 0.5, "{op}: {}", moment(4));
        let mut sorted = drawn.clone();
        sorted.sort_by(f32::total_cmp);
        let equal = sorted.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!(equal < 10, "{op}: {equal} numbers are drawn twice");
        assert!(evaluated.iter().all(|y| (f64::from(*y) - mean).abs() < 1e-6), "{op}: {:?}", &evaluated[..WIDTH]);
        let (other, _) = noise(&place, "gpu");
        let off = drawn.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-4, "{op}: the devices differ by {off}");
    }
}
