use super::*;
use crate::onnx::proto::{AttributeProto, NodeProto};
use crate::onnx::tensor::TensorData;

#[test]
fn sizes_at_two_batches_tell_fixed_from_multiples() {
    assert_eq!(integer(5, 5), Some(Int::Known(5)));
    assert_eq!(integer(13, 17), Some(Int::Batch(1)));
    assert_eq!(integer(-104, -136), Some(Int::Batch(-8)));
    assert_eq!(integer(14, 18), None);
    assert_eq!(integer(6, 8), None);
    assert_eq!(Int::Batch(-8).to_dim(), None);
    assert_eq!(Int::Batch(8).to_dim().map(|dim| dim.to_string()).as_deref(), Some("8·N"));
}

/// A node: its operator, `inputs -> outputs`, and its integer attributes.
type Spec<'a> = (&'a str, &'a str, &'a [(&'a str, i64)]);

/// The facts of a graph; an operand `_` is absent.
fn infer(nodes: &[Spec], constants: &[(&str, Tensor)], inputs: &[(&str, Vec<Dim>)]) -> Facts {
    infer_of(nodes, constants, inputs, &[])
}

/// [`infer`], where those of the float initialisers that are `known` are no parameters.
fn infer_of(nodes: &[Spec], constants: &[(&str, Tensor)], inputs: &[(&str, Vec<Dim>)], known: &[String]) -> Facts {
    let attribute = |(name, value): &(&str, i64)| AttributeProto {
        name: Some((*name).to_owned()),
        r#type: Some(2),
        i: Some(*value),
        ..AttributeProto::default()
    };
    let node = |(op_type, operands, attributes): &Spec| {
        let (inputs, outputs) = operands.split_once(" -> ").unwrap();
        let names = |text: &str| text.split(' ').map(|name| name.replace('_', "")).collect();
        let proto = NodeProto {
            op_type: Some((*op_type).to_owned()),
            input: names(inputs),
            output: names(outputs),
            attribute: attributes.iter().map(attribute).collect(),
            ..NodeProto::default()
        };
        OnnxNode::from_proto(&proto, format!("a {op_type}"))
    };
    let nodes: Vec<OnnxNode> = nodes.iter().map(node).collect();
    let constants = constants.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect();
    let inputs: Vec<ValueInfo> = inputs
        .iter()
        .map(|(name, dims)| ValueInfo { name: (*name).to_owned(), dtype: Elem::F32, dims: dims.clone() })
        .collect();
    let known = known.iter().cloned().collect();
    Facts::infer(&nodes, (&constants, &HashMap::new(), &known), &inputs, &[], 20)
}

fn ints(values: &[i64]) -> Tensor {
    Tensor { dims: vec![values.len()], data: TensorData::I64(values.to_vec()) }
}

fn int(value: i64) -> Tensor {
    Tensor { dims: vec![], data: TensorData::I64(vec![value]) }
}

fn dims(facts: &Facts, value: &str) -> Option<String> {
    Some(facts.shape(value)?.iter().map(Dim::to_string).collect::<Vec<_>>().join(","))
}

const N: Dim = Dim::Batch(1);

/// The examples of the ONNX specification of Range, and an empty one.
#[test]
fn ranges() {
    for (bounds, expected) in [([3, 9, 3], vec![3, 6]), ([10, 4, -2], vec![10, 8, 6]), ([4, 4, 1], vec![])] {
        let constants = ["start", "limit", "delta"].into_iter().zip(bounds.map(int)).collect::<Vec<_>>();
        let facts = infer(&[("Range", "start limit delta -> r", &[])], &constants, &[]);
        let expected: Vec<Int> = expected.into_iter().map(Int::Known).collect();
        assert_eq!(facts.ints("r"), Some(&expected[..]), "{bounds:?}");
    }
    let constants = [("start", int(0)), ("limit", int(4)), ("delta", int(0))];
    let facts = infer(&[("Range", "start limit delta -> r", &[])], &constants, &[]);
    assert_eq!(facts.notes(), ["node `a Range` (Range): its step is zero"]);
}

#[test]
fn a_range_over_the_batch_is_no_constant() {
    let nodes: [Spec; 3] =
        [("Shape", "x -> s", &[]), ("Gather", "s zero -> n", &[]), ("Range", "zero n one -> r", &[])];
    let facts = infer(&nodes, &[("zero", int(0)), ("one", int(1))], &[("x", vec![N, Dim::Known(3)])]);
    assert_eq!(facts.ints("n"), Some(&[Int::Batch(1)][..]));
    assert_eq!(dims(&facts, "r").as_deref(), Some("N"));
    assert_eq!(facts.ints("r"), None);
    assert!(facts.constant("n").is_none() && facts.constant("zero").is_some());
}

#[test]
fn sequences_that_split_makes() {
    let at: [Spec; 2] = [("SplitToSequence", "x size -> s", &[("axis", -1)]), ("SequenceAt", "s last -> y", &[])];
    let x = [("x", vec![N, Dim::Known(7)])];
    let facts = infer(&at, &[("size", int(3)), ("last", int(-1))], &x);
    assert_eq!(dims(&facts, "y").as_deref(), Some("N,1"));
    let facts = infer(&at, &[("size", ints(&[2, 5])), ("last", int(1))], &x);
    assert_eq!(dims(&facts, "y").as_deref(), Some("N,5"));
    let facts = infer(&at, &[("size", int(3)), ("last", int(3))], &x);
    assert_eq!(facts.notes(), ["node `a SequenceAt` (SequenceAt): its position is behind the end of the sequence"]);
}

#[test]
fn attention_of_both_ranks() {
    let heads = [("q_num_heads", 4), ("kv_num_heads", 2)];
    let rank3 = [
        ("q", vec![N, Dim::Known(5), Dim::Known(12)]),
        ("k", vec![N, Dim::Known(7), Dim::Known(6)]),
        ("v", vec![N, Dim::Known(7), Dim::Known(16)]),
    ];
    let facts = infer(&[("Attention", "q k v -> y key value scores", &heads)], &[], &rank3);
    assert_eq!(dims(&facts, "y").as_deref(), Some("N,5,32"));
    assert_eq!(dims(&facts, "key").as_deref(), Some("N,2,7,3"));
    assert_eq!(dims(&facts, "value").as_deref(), Some("N,2,7,8"));
    assert_eq!(dims(&facts, "scores").as_deref(), Some("N,4,5,7"));
    let rank4 = |positions, width| vec![N, Dim::Known(4), Dim::Known(positions), Dim::Known(width)];
    let inputs = [("q", rank4(5, 3)), ("k", rank4(7, 3)), ("v", rank4(7, 8)), ("p", rank4(2, 3)), ("r", rank4(2, 8))];
    let facts = infer(&[("Attention", "q k v _ p r -> y _ value", &[])], &[], &inputs);
    assert_eq!(dims(&facts, "y").as_deref(), Some("N,4,5,8"));
    assert_eq!(dims(&facts, "value").as_deref(), Some("N,4,9,8"));
}

#[test]
fn a_size_that_is_no_multiple_of_the_batch_is_noted_where_it_arises() {
    let nodes: [Spec; 2] = [("Concat", "x x1 -> y", &[("axis", 0)]), ("Relu", "y -> z", &[])];
    let facts = infer(&nodes, &[], &[("x", vec![N, Dim::Known(3)]), ("x1", vec![Dim::Known(1), Dim::Known(3)])]);
    assert_eq!(
        facts.notes(),
        ["node `a Concat` (Concat): the size of `y` is neither fixed nor a multiple of the batch"]
    );
    let nodes: [Spec; 1] = [("Add", "x w -> y", &[])];
    let w = Tensor { dims: vec![13], data: TensorData::F32(vec![0.0; 13]) };
    let facts = infer(&nodes, &[("w", w)], &[("x", vec![N])]);
    assert!(facts.shape("y").is_none());
    assert!(facts.notes()[0].starts_with("node `a Add` (Add): it does not take a batch of any size"));
}

#[test]
fn constants_of_a_shape_are_float_zeros_by_default() {
    let facts = infer(&[("ConstantOfShape", "s -> y", &[])], &[("s", ints(&[2, 1]))], &[]);
    assert_eq!(facts.constant("y"), Some(&Tensor { dims: vec![2, 1], data: TensorData::F32(vec![0.0; 2]) }));
}

#[test]
fn what_depends_on_a_weight_is_no_constant() {
    let scale = Tensor { dims: vec![1], data: TensorData::F32(vec![2.0]) };
    let nodes: [Spec; 2] = [("Mul", "w w -> y", &[]), ("Shape", "y -> s", &[])];
    let facts = infer(&nodes, &[("w", scale)], &[]);
    assert!(facts.constant("y").is_none() && facts.constant("w").is_none());
    assert_eq!(facts.constant("s"), Some(&ints(&[1])));
}

#[test]
fn pads_with_axes_and_conditions_give_sizes() {
    let x = [("x", vec![N, Dim::Known(3), Dim::Known(7)])];
    let pads = [("pads", ints(&[2, -1])), ("axes", ints(&[-1]))];
    let facts = infer(&[("Pad", "x pads _ axes -> y", &[])], &pads, &x);
    assert_eq!(dims(&facts, "y").as_deref(), Some("N,3,8"));
    let condition = Tensor { dims: vec![3], data: TensorData::Bool(vec![true, false, true]) };
    let facts = infer(&[("Compress", "x c -> y", &[("axis", 1)])], &[("c", condition)], &x);
    assert_eq!(dims(&facts, "y").as_deref(), Some("N,2,7"));
    let ones = Tensor { dims: vec![2, 2], data: TensorData::F32(vec![1.0, 0.0, 1.0, 1.0]) };
    let fill = [("ConstantOfShape", "s -> z", &[][..]), ("NonZero", "z -> none", &[])];
    let facts = infer(&fill, &[("s", ints(&[2]))], &[]);
    assert_eq!(facts.ints("none"), Some(&[][..]));
    assert_eq!(facts_of_constant(ones), [0, 1, 1, 0, 0, 1].map(Int::Known));
    let facts = infer(&[("Size", "x -> n", &[])], &[], &x);
    assert_eq!(facts.ints("n"), Some(&[Int::Batch(21)][..]));
}

/// The places of what is not zero in a constant.
fn facts_of_constant(tensor: Tensor) -> Vec<Int> {
    let TensorData::F32(values) = &tensor.data else { panic!("floats") };
    let bools = TensorData::Bool(values.iter().map(|&x| x != 0.0).collect());
    let tensor = Tensor { data: bools, ..tensor };
    let facts = infer(&[("NonZero", "c -> places", &[])], &[("c", tensor)], &[]);
    facts.ints("places").unwrap_or_default().to_vec()
}

/// What tract computes otherwise than ONNX has it is no constant, and has its shape all the same.
#[test]
fn what_tract_computes_otherwise_is_left_to_dpc() {
    let floats = |dims: &[usize], value: f32| Tensor {
        dims: dims.to_vec(),
        data: TensorData::F32(vec![value; dims.iter().product()]),
    };
    let fill: [Spec; 3] =
        [("ConstantOfShape", "sx -> x", &[]), ("ConstantOfShape", "sw -> w", &[]), ("ConstantOfShape", "sr -> r", &[])];
    let sizes = [("sx", ints(&[4, 2, 3])), ("sw", ints(&[1, 5, 3])), ("sr", ints(&[1, 5, 5]))];
    // Its clip, its activations and a single backward direction are lost on tract.
    let nodes = [&fill[..], &[("RNN", "x w r -> y last", &[("hidden_size", 5)])]].concat();
    let facts = infer(&nodes, &sizes, &[]);
    assert_eq!(dims(&facts, "y").as_deref(), Some("4,1,2,5"));
    assert!(facts.constant("x").is_some() && facts.constant("y").is_none());
    // The largest of NaN and 1 is NaN, and that of nothing is below all numbers.
    let undefined = [("nan", floats(&[2], f32::NAN)), ("one", floats(&[2], 1.0)), ("none", floats(&[0, 2], 0.0))];
    let names = ["nan", "one", "none"].map(str::to_owned);
    let nodes: [Spec; 3] = [
        ("Max", "nan one -> most", &[]),
        ("IsNaN", "nan -> is", &[]),
        ("ReduceMax", "none first -> top", &[("keepdims", 0)]),
    ];
    let facts = infer_of(&nodes, &[&undefined[..], &[("first", ints(&[0]))]].concat(), &[], &names);
    assert!(facts.constant("most").is_none() && facts.constant("top").is_none());
    assert_eq!(facts.constant("is").and_then(Tensor::bools), Some(&[true, true][..]));
    assert_eq!(dims(&facts, "top").as_deref(), Some("2"));
}

#[test]
fn integers_of_another_type_wrap_around() {
    let like = |value: i64| Tensor { dims: vec![], data: TensorData::I64(vec![value]) };
    assert_eq!([300, -1].map(|x| Elem::U8.wrap(x)), [44, 255]);
    assert_eq!([300, 200].map(|x| Elem::I8.wrap(x)), [44, -56]);
    let facts = infer(&[("CastLike", "x like -> y", &[])], &[("x", ints(&[1 << 40, 7])), ("like", like(0))], &[]);
    assert_eq!(facts.constant("y"), Some(&ints(&[1 << 40, 7])));
}
