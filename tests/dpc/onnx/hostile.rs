//! Files that are damaged or made to do harm: an error that says what is wrong, and never a panic.

use std::path::Path;

use dpc::compile::{Options, compile};
use dpc::device::TARGETS;
use dpc::lower::cost::CostModel;
use dpc::onnx::proto::{
    AttributeProto, Dimension, DimensionValue, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeValue, ValueInfoProto,
};
use dpc::onnx::{OnnxError, Source, discover};
use dpc::options::{Loss, NormChoice, Precision};
use dpc::privacy::ClipRule;
use proptest::prelude::*;
use prost::Message;

use super::{files, models, read};

fn model(file: &str) -> ModelProto {
    ModelProto::decode(std::fs::read(models().join(file)).unwrap().as_slice()).unwrap()
}

fn from(bytes: &[u8]) -> Result<Source, OnnxError> {
    Source::from_bytes(bytes.to_vec().into(), Path::new("model.onnx"))
}

#[test]
fn what_is_no_model_is_said_to_be_none() {
    let bytes = std::fs::read(models().join("zoo/mlp.ts.onnx")).unwrap();
    let Err(OnnxError::NotAModel { offset, length, .. }) = from(&bytes[..bytes.len() - 7]) else { panic!("it is one") };
    assert!(offset <= length && length == bytes.len() - 7);
    assert!(matches!(from(b"PK\x03\x04rest"), Err(OnnxError::NotAModel { hint, .. }) if hint.contains("zip")));
    assert!(matches!(from(b"<html>"), Err(OnnxError::NotAModel { .. })));
    assert!(matches!(from(b""), Err(OnnxError::Empty { what: "no graph", .. })));
    assert!(matches!(Source::open(Path::new("nowhere.onnx")), Err(OnnxError::Read { .. })));
}

#[test]
fn element_types_are_named_together() {
    let mut model = model("zoo/mlp.ts.onnx");
    let graph = model.graph.as_mut().unwrap();
    graph.initializer[0].data_type = Some(8);
    graph.initializer[1].data_type = Some(14);
    let Err(OnnxError::ElementType { values }) = read(&model) else { panic!("it is read") };
    assert_eq!(values.len(), 2);
    assert!(values[0].ends_with("string") && values[1].ends_with("complex64"), "{values:?}");
}

#[test]
fn declared_shapes_allocate_nothing() {
    let mut model = model("zoo/mlp.ts.onnx");
    model.graph.as_mut().unwrap().initializer[0].dims = vec![1 << 40, 1 << 20];
    assert!(matches!(read(&model), Err(OnnxError::MalformedTensors { tensors }) if tensors.len() == 1));
}

#[test]
fn external_data_stays_in_the_models_directory() {
    let mut model = model("zoo/external_data.ts.onnx");
    for (key, value) in [
        ("location", "../zoo/external_data.ts.onnx.data"),
        ("location", "/etc/passwd"),
        ("location", "missing.data"),
        ("location", ""),
        ("offset", "100000000"),
        ("length", "100000000"),
        ("length", "-1"),
    ] {
        let mut model = model.clone();
        let tensors = &mut model.graph.as_mut().unwrap().initializer;
        let external: Vec<&mut TensorProto> = tensors.iter_mut().filter(|t| !t.external_data.is_empty()).collect();
        let count = external.len();
        assert!(count > 0);
        for tensor in external {
            tensor.external_data.retain(|entry| entry.key() != key);
            let (key, value) = (Some(key.to_owned()), Some(value.to_owned()));
            tensor.external_data.push(StringStringEntryProto { key, value });
        }
        let found = read(&model);
        assert!(
            matches!(&found, Err(OnnxError::ExternalData { tensors }) if tensors.len() == count),
            "{key} {value}: {:?}",
            found.err()
        );
    }
    model.graph.as_mut().unwrap().initializer.iter_mut().for_each(|tensor| tensor.external_data.clear());
    assert!(matches!(read(&model), Err(OnnxError::ExternalData { .. })));
}

#[cfg(unix)]
#[test]
fn external_data_does_not_follow_links_out() {
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("model");
    std::fs::create_dir(&inside).unwrap();
    let data = directory.path().join("external_data.ts.onnx.data");
    std::fs::copy(models().join("zoo/external_data.ts.onnx.data"), &data).unwrap();
    std::fs::copy(models().join("zoo/external_data.ts.onnx"), inside.join("model.onnx")).unwrap();
    std::os::unix::fs::symlink(&data, inside.join("external_data.ts.onnx.data")).unwrap();
    assert!(matches!(Source::open(&inside.join("model.onnx")), Err(OnnxError::ExternalData { .. })));
}

#[test]
fn wiring_problems_are_named_together() {
    let mut model = model("zoo/mlp.ts.onnx");
    let graph = model.graph.as_mut().unwrap();
    let output = graph.output[0].name().to_owned();
    let node = |name: &str, inputs: &[&str], result: &str| NodeProto {
        name: Some(name.to_owned()),
        op_type: Some("Relu".to_owned()),
        input: inputs.iter().map(|input| (*input).to_owned()).collect(),
        output: vec![result.to_owned()],
        ..NodeProto::default()
    };
    graph.node.push(node("ghost", &["undefined"], "g"));
    graph.node.push(node("again", &["g"], &output));
    graph.node.push(node("loop", &["turn"], "turn"));
    let Err(OnnxError::Wiring { problems }) = read(&model) else { panic!("it is read") };
    assert_eq!(problems.len(), 3, "{problems:?}");
    for expected in ["`undefined`, which node `ghost` reads", "defined twice", "cycle or behind one: loop"] {
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:?}");
    }
}

#[test]
fn nodes_without_names_are_called_after_their_operators() {
    let mut model = model("zoo/mlp.ts.onnx");
    let graph = model.graph.as_mut().unwrap();
    graph.node.iter_mut().for_each(|node| node.name = None);
    graph.node.reverse();
    let nodes = read(&model).unwrap().nodes;
    let names: std::collections::BTreeSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names.len(), nodes.len());
    assert!(names.iter().any(|name| name.starts_with("Gemm_")), "{names:?}");
}

#[test]
fn nodes_that_no_output_depends_on_are_left_out() {
    let mut model = model("zoo/mlp.ts.onnx");
    let nodes = read(&model).unwrap().nodes;
    let graph = model.graph.as_mut().unwrap();
    graph.node.push(NodeProto {
        op_type: Some("Frobnicate".to_owned()),
        input: vec![graph.input[0].name().to_owned()],
        output: vec!["unused".to_owned()],
        ..NodeProto::default()
    });
    assert_eq!(read(&model).unwrap().nodes, nodes);
}

#[test]
fn one_operator_without_a_rule_costs_no_other_its_facts() {
    let mut model = model("zoo/mlp.ts.onnx");
    let graph = model.graph.as_mut().unwrap();
    let input = graph.input[0].name().to_owned();
    for (op_type, domain, result) in [("Frobnicate", "", "a"), ("Gelu", "com.example", "b")] {
        graph.node.push(NodeProto {
            op_type: Some(op_type.to_owned()),
            domain: Some(domain.to_owned()),
            input: vec![input.clone()],
            output: vec![result.to_owned()],
            ..NodeProto::default()
        });
        graph.output.push(ValueInfoProto { name: Some(result.to_owned()), ..ValueInfoProto::default() });
    }
    let source = read(&model).unwrap();
    assert_eq!(source.facts.notes().len(), 2, "{:?}", source.facts.notes());
    assert!(source.facts.shape("a").is_none() && source.facts.shape("b").is_none());
    assert!(source.outputs[0].dims.is_some());
}

/// Operands and attributes that would have an inference reach for more memory than there is.
#[test]
fn constants_that_ask_for_memory_get_none() {
    let mut model = model("zoo/mlp.ts.onnx");
    let graph = model.graph.as_mut().unwrap();
    let input = graph.input[0].name().to_owned();
    graph.initializer.push(TensorProto {
        name: Some("far".to_owned()),
        data_type: Some(7),
        dims: vec![1],
        int64_data: vec![1 << 40],
        ..TensorProto::default()
    });
    graph.initializer.push(TensorProto {
        name: Some("scalar".to_owned()),
        data_type: Some(7),
        int64_data: vec![1],
        ..TensorProto::default()
    });
    graph.initializer.push(TensorProto {
        name: Some("many".to_owned()),
        data_type: Some(7),
        int64_data: vec![i64::MAX],
        ..TensorProto::default()
    });
    let perm = AttributeProto {
        name: Some("perm".to_owned()),
        r#type: Some(7),
        ints: vec![1 << 40, 0],
        ..AttributeProto::default()
    };
    let inferred = |op_type: &str| format!("result of {op_type}");
    for (op_type, inputs, attribute) in [
        ("ConstantOfShape", vec!["far"], None),
        ("Expand", vec!["scalar", "far"], None),
        ("Tile", vec!["far", "far"], None),
        ("Range", vec!["scalar", "many", "scalar"], None),
        ("Unsqueeze", vec!["scalar", "far"], None),
        ("Squeeze", vec![input.as_str(), "far"], None),
        ("ReduceSum", vec![input.as_str(), "far"], None),
        ("Reshape", vec!["far", "far"], None),
        ("OneHot", vec!["far", "many", "far"], None),
        ("SplitToSequence", vec!["far", "scalar"], None),
        ("Transpose", vec![input.as_str()], Some(perm)),
    ] {
        graph.node.push(NodeProto {
            op_type: Some(op_type.to_owned()),
            input: inputs.into_iter().map(str::to_owned).collect(),
            output: vec![inferred(op_type)],
            attribute: attribute.into_iter().collect(),
            ..NodeProto::default()
        });
        graph.output.push(ValueInfoProto { name: Some(inferred(op_type)), ..ValueInfoProto::default() });
    }
    assert!(read(&model).unwrap().outputs[0].dims.is_some());
}

/// Inference that would count from an axis before the first to the end of all integers.
#[test]
fn axes_before_the_first_are_refused_at_once() {
    let mut model = model("zoo/mlp.ts.onnx");
    let graph = model.graph.as_mut().unwrap();
    let matrix = graph.input[0].name().to_owned();
    graph.initializer.push(TensorProto {
        name: Some("s".into()),
        data_type: Some(1),
        float_data: vec![1.0],
        ..TensorProto::default()
    });
    let cases = [
        ("LayerNormalization", &matrix, Some(-3)),
        ("RMSNormalization", &matrix, Some(-3)),
        ("LayerNormalization", &"s".to_owned(), None),
        ("RMSNormalization", &"s".to_owned(), Some(-1)),
        ("Softmax", &matrix, Some(-3)),
        ("Concat", &matrix, Some(-3)),
    ];
    for (k, (op_type, data, axis)) in cases.into_iter().enumerate() {
        let axis = axis.map(|axis| AttributeProto {
            name: Some("axis".to_owned()),
            r#type: Some(2),
            i: Some(axis),
            ..AttributeProto::default()
        });
        let inputs = if op_type == "Softmax" { vec![data.clone()] } else { vec![data.clone(), data.clone()] };
        graph.node.push(NodeProto {
            op_type: Some(op_type.to_owned()),
            input: inputs,
            output: vec![format!("result {k}")],
            attribute: axis.into_iter().collect(),
            ..NodeProto::default()
        });
        graph.output.push(ValueInfoProto { name: Some(format!("result {k}")), ..ValueInfoProto::default() });
    }
    model.opset_import[0].version = Some(23);
    let source = read(&model).unwrap();
    let notes = source.facts.notes();
    assert_eq!(notes.iter().filter(|note| note.contains("is outside a value of rank")).count(), 6, "{notes:?}");
}

#[test]
fn an_input_of_absurd_size_is_an_input_all_the_same() {
    let mut model = model("zoo/mlp.ts.onnx");
    let input = &mut model.graph.as_mut().unwrap().input[0];
    let Some(TypeValue::Tensor(tensor)) = input.r#type.as_mut().and_then(|t| t.value.as_mut()) else { panic!() };
    let huge = Dimension { value: Some(DimensionValue::Value(i64::MAX)), ..Dimension::default() };
    tensor.shape = Some(TensorShapeProto { dim: vec![Dimension::default(), huge] });
    read(&model).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn damaged_bytes_never_panic(
        file in prop::sample::select(files("zoo")),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = std::fs::read(file).unwrap();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = from(&bytes);
    }

    #[test]
    fn damaged_graphs_never_panic(
        file in prop::sample::select(files("zoo")),
        damage in prop::collection::vec(damage(), 1..6),
    ) {
        let mut model = ModelProto::decode(std::fs::read(file).unwrap().as_slice()).unwrap();
        damage.iter().for_each(|damage| damage.apply(model.graph.as_mut().unwrap()));
        if let Ok(source) = read(&model) {
            let parameters = discover(&source, &[], &[]).unwrap();
            for loss in [None, Some("mse".parse().unwrap())] {
                let _ = compile(&source, &parameters, &options(loss), TARGETS);
            }
        }
    }
}

fn options(loss: Option<Loss>) -> Options {
    let (clip, optimizer) = (ClipRule::flat(1.0).unwrap(), "sgd".parse().unwrap());
    Options {
        loss,
        output: None,
        clip,
        norm: NormChoice::Auto,
        optimizer,
        costs: CostModel::default(),
        precision: Precision::default(),
        views: 1,
        per_sample: false,
        noise: dpc::options::NoiseKind::default(),
    }
}

/// A change to a graph that leaves it a message: of one node, one tensor or one input, to a number that may be extreme.
#[derive(Clone, Debug)]
struct Damage {
    kind: u8,
    which: prop::sample::Index,
    other: prop::sample::Index,
    number: i64,
}

fn damage() -> impl Strategy<Value = Damage> {
    let extreme = prop::sample::select(vec![i64::MIN, -1 << 40, -65, -1, 0, 1, 2, 13, 65, 1 << 31, 1 << 40, i64::MAX]);
    let number = prop_oneof![extreme, -5..9_i64];
    (0..6_u8, any::<prop::sample::Index>(), any::<prop::sample::Index>(), number)
        .prop_map(|(kind, which, other, number)| Damage { kind, which, other, number })
}

impl Damage {
    fn apply(&self, graph: &mut GraphProto) {
        const OPERATORS: [&str; 24] = [
            "Expand",
            "Tile",
            "Range",
            "Reshape",
            "Slice",
            "Pad",
            "Split",
            "Concat",
            "Gather",
            "Unsqueeze",
            "Squeeze",
            "Transpose",
            "ConstantOfShape",
            "Conv",
            "MaxPool",
            "LSTM",
            "Resize",
            "OneHot",
            "TopK",
            "ReduceSum",
            "Flatten",
            "DepthToSpace",
            "Attention",
            "SplitToSequence",
        ];
        let node = self.which.index(graph.node.len());
        let values: Vec<String> = graph.node.iter().flat_map(|node| &node.input).cloned().collect();
        let node = &mut graph.node[node];
        match self.kind {
            0 => node.op_type = Some((*self.other.get(&OPERATORS)).to_owned()),
            1 if !node.attribute.is_empty() => {
                let attribute = self.other.index(node.attribute.len());
                let attribute = &mut node.attribute[attribute];
                attribute.i = attribute.i.map(|_| self.number);
                attribute.ints.fill(self.number);
                attribute.t.iter_mut().for_each(|tensor| Self::fill(tensor, self.number));
            }
            2 if !node.input.is_empty() => {
                let input = self.other.index(node.input.len());
                node.input[input].clone_from(self.which.get(&values));
            }
            3 => node.input.push(self.other.get(&values).clone()),
            4 if !graph.initializer.is_empty() => {
                let tensor = self.other.index(graph.initializer.len());
                Self::fill(&mut graph.initializer[tensor], self.number);
            }
            _ => {
                let input = self.other.index(graph.input.len());
                let Some(TypeValue::Tensor(tensor)) = graph.input[input].r#type.as_mut().and_then(|t| t.value.as_mut())
                else {
                    return;
                };
                let Some(dim) = tensor.shape.as_mut().and_then(|shape| shape.dim.last_mut()) else { return };
                dim.value = Some(DimensionValue::Value(self.number));
            }
        }
    }

    /// Gives an integer tensor one value throughout.
    fn fill(tensor: &mut TensorProto, number: i64) {
        if let (7, Some(raw)) = (tensor.data_type(), &tensor.raw_data) {
            tensor.raw_data = Some(number.to_le_bytes().repeat(raw.len() / 8).into());
        }
    }
}
