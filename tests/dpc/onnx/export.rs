//! Trained values in the exported model.

use dpc::onnx::proto::ModelProto;
use dpc::onnx::{OnnxError, Source, discover, export};
use dpc::tensors::{Tensor, Tensors};
use prost::Message;

use super::{models, open};

/// Every trainable parameter, one larger everywhere.
fn shifted(source: &Source) -> Tensors {
    discover(source, &[], &[])
        .unwrap()
        .trainable()
        .map(|parameter| {
            let values = source.initializers[&parameter.name].floats().unwrap();
            let data = values.iter().map(|x| x + 1.0).collect();
            (parameter.name.clone(), Tensor { dims: parameter.dims.clone(), data })
        })
        .collect()
}

fn reread(source: &Source, trained: &Tensors) -> (ModelProto, Source) {
    let metadata = [("dpc.epsilon".to_owned(), "3".to_owned())];
    let bytes = export(source, trained, &metadata).unwrap();
    let model = ModelProto::decode(bytes.as_slice()).unwrap();
    // Read away from the source's directory: the file has to stand for itself.
    (model, Source::from_bytes(bytes.into(), std::path::Path::new("nowhere/exported.onnx")).unwrap())
}

#[test]
fn only_the_trained_values_change() {
    for file in [
        "zoo/mnist_small.ts.onnx",
        "zoo/lstm_small.dyn.onnx",
        "zoo/external_data.ts.onnx",
        "zoo/external_data.dyn.onnx",
    ] {
        let source = open(file);
        let mut trained = shifted(&source);
        let untouched = trained.pop_first().unwrap().0;
        let (model, exported) = reread(&source, &trained);
        for (name, tensor) in &exported.initializers {
            match trained.get(name) {
                Some(values) => assert_eq!(tensor.floats().unwrap(), values.data, "{file}: {name}"),
                None => assert_eq!(tensor, &source.initializers[name], "{file}: {name}"),
            }
        }
        assert_eq!(exported.initializers[&untouched], source.initializers[&untouched], "{file}");
        assert_eq!(model.metadata_props.last().map(|entry| (entry.key(), entry.value())), Some(("dpc.epsilon", "3")));
        let mut original = source.model.clone();
        let mut restored = model;
        for model in [&mut original, &mut restored] {
            model.metadata_props.clear();
            model.graph.as_mut().unwrap().initializer.iter_mut().for_each(|tensor| {
                tensor.raw_data = None;
                tensor.float_data.clear();
            });
        }
        assert!(original == restored, "{file}: more than values changed");
    }
}

#[test]
fn nothing_changes_without_trained_values() {
    let source = open("zoo/mnist_small.dyn.onnx");
    assert!(export(&source, &Tensors::new(), &[]).unwrap() == source.bytes);
}

#[test]
fn dropout_infers() {
    let source = open("zoo/mlp_dropout.ts.onnx");
    let training = source.nodes.iter().filter(|node| node.op_type == "Dropout" && node.inputs.len() == 3).count();
    assert!(training > 0);
    let (_, exported) = reread(&source, &Tensors::new());
    let dropouts: Vec<_> = exported.nodes.iter().filter(|node| node.op_type == "Dropout").collect();
    assert!(dropouts.len() >= training);
    assert!(dropouts.iter().all(|node| node.inputs.len() <= 2));
}

#[test]
fn values_that_do_not_fit_are_named_together() {
    let source = open("zoo/mlp.ts.onnx");
    let name = discover(&source, &[], &[]).unwrap()[0].name.clone();
    let tensor = Tensor { dims: vec![1], data: vec![0.0] };
    let trained = Tensors::from([(name.clone(), tensor.clone()), ("nobody".to_owned(), tensor)]);
    let Err(OnnxError::ExportMismatch { values }) = export(&source, &trained, &[]) else { panic!("it fits") };
    assert_eq!(values.len(), 2);
    assert!(values.iter().any(|value| value.starts_with(&format!("`{name}`: shape [1]"))), "{values:?}");
    assert!(values.contains(&"`nobody`: not in the model".to_owned()), "{values:?}");
}

#[test]
fn external_data_travels_in_the_bytes_of_a_source() {
    let source = open("zoo/external_data.ts.onnx");
    let alone = Source::from_bytes(source.bytes.clone(), std::path::Path::new("nowhere/model.onnx")).unwrap();
    assert_eq!(alone.initializers, source.initializers);
    assert!(std::fs::metadata(models().join("zoo/external_data.ts.onnx.data")).is_ok());
}
