//! The operators that move, select, reduce and slide, in models that are trained: each record's gradient against differences
//! of its loss, and a record's values against those that it has alone.

use std::path::Path;
use std::sync::Arc;

use dpc::artifact;
use dpc::compile::{CompileError, Compiled, Options, compile};
use dpc::device::cpu::Cpu;
use dpc::device::gpu::Gpu;
use dpc::device::{Device, Session, TARGETS};
use dpc::glob::Glob;
use dpc::graph::DType;
use dpc::lower::program::{Phase, Role};
use dpc::lower::{host_inputs, host_outputs};
use dpc::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorType, TypeProto,
    TypeValue, ValueInfoProto,
};
use dpc::onnx::{Source, discover};
use dpc::options::NormChoice;
use dpc::train::data::Array;
use dpc::train::predict::predict;
use prost::Message;

use crate::zoo::{options, result};

/// A model `y = op(x · w, …)` of records of these dims, with the constants that the nodes read.
pub struct Net {
    dims: Vec<i64>,
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
}

const RECORDS: usize = 3;

/// Numbers without ties, between -1 and 1.
pub fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

pub fn floats(name: &str, dims: &[i64], values: Vec<f32>) -> TensorProto {
    assert_eq!(dims.iter().product::<i64>() as usize, values.len());
    TensorProto {
        name: Some(name.into()),
        data_type: Some(1),
        dims: dims.to_vec(),
        float_data: values,
        ..Default::default()
    }
}

pub fn ints(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        data_type: Some(7),
        dims: dims.to_vec(),
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

/// A node as text: `Op(input, …; name=3; name=[1, 2]; name=text; name=0.5)`; with `Op*`, it has a second output, named with a
/// `*` behind.
pub fn node(text: &str, output: &str) -> NodeProto {
    let (op, rest) = text.trim_end_matches(')').split_once('(').expect("an op");
    let (op, second) = op.strip_suffix('*').map_or((op, None), |op| (op, Some(format!("{output}*"))));
    let mut parts = rest.split(';');
    let inputs = parts.next().unwrap_or_default().split(',').map(|name| name.trim().to_owned()).collect();
    let attribute = |part: &str| {
        let (name, value) = part.trim().split_once('=').expect("a value");
        let mut attribute = AttributeProto { name: Some(name.into()), ..Default::default() };
        if let Some(list) = value.strip_prefix('[') {
            attribute.r#type = Some(7);
            attribute.ints =
                list.trim_end_matches(']').split(',').map(|n| n.trim().parse().expect("a number")).collect();
        } else if let Ok(number) = value.parse() {
            (attribute.r#type, attribute.i) = (Some(2), Some(number));
        } else if let Ok(number) = value.parse() {
            (attribute.r#type, attribute.f) = (Some(1), Some(number));
        } else {
            (attribute.r#type, attribute.s) = (Some(3), Some(value.as_bytes().to_vec().into()));
        }
        attribute
    };
    NodeProto {
        op_type: Some(op.into()),
        name: Some(format!("node_{output}")),
        input: inputs,
        output: [output.into()].into_iter().chain(second).collect(),
        attribute: parts.map(attribute).collect(),
        ..Default::default()
    }
}

/// A model of operators one after the other, ` | ` between them: the results are `t0`, `t1` and so on.
pub fn net(dims: &[i64], ops: &str, tensors: Vec<TensorProto>) -> Net {
    let count = dims.iter().product::<i64>() as usize;
    let weight = floats("w", dims, numbers(count, 7).into_iter().map(|w| w + 0.3 * w.signum()).collect());
    let mut nodes = vec![node("Mul(x, w)", "h")];
    nodes.extend(ops.split(" | ").enumerate().map(|(k, op)| node(op, &format!("t{k}"))));
    nodes.last_mut().expect("a node").output = vec!["y".into()];
    Net { dims: dims.to_vec(), nodes, tensors: [vec![weight], tensors].concat() }
}

impl Net {
    fn source(&self) -> Source {
        let info = |name: &str, dims: Option<&[i64]>| {
            use dpc::onnx::proto::{Dimension, DimensionValue, TensorShapeProto};
            let shape = dims.map(|dims| {
                let batch = Dimension { value: Some(DimensionValue::Param("N".into())), ..Default::default() };
                let sizes =
                    dims.iter().map(|&n| Dimension { value: Some(DimensionValue::Value(n)), ..Default::default() });
                TensorShapeProto { dim: std::iter::once(batch).chain(sizes).collect() }
            });
            let tensor = TensorType { elem_type: Some(1), shape };
            ValueInfoProto {
                name: Some(name.into()),
                r#type: Some(TypeProto { value: Some(TypeValue::Tensor(tensor)), ..Default::default() }),
                ..Default::default()
            }
        };
        let graph = GraphProto {
            node: self.nodes.clone(),
            initializer: self.tensors.clone(),
            input: vec![info("x", Some(&self.dims))],
            output: vec![info("y", None)],
            ..Default::default()
        };
        let model = ModelProto {
            ir_version: Some(10),
            opset_import: vec![OperatorSetIdProto { version: Some(20), ..Default::default() }],
            graph: Some(graph),
            ..Default::default()
        };
        Source::from_bytes(model.encode_to_vec().into(), Path::new("net.onnx")).expect("a model")
    }

    pub fn compile(&self) -> Result<(Source, Compiled), String> {
        let source = self.source();
        let trained: Vec<Glob> = ["w", "w?"].map(Glob::new).into_iter().take(1 + usize::from(self.has("w2"))).collect();
        let parameters = discover(&source, &trained, &[]).map_err(|e| e.to_string())?;
        let options = options("mse".parse().expect("a loss"), NormChoice::Auto);
        let compiled = compile(&source, &parameters, &options, TARGETS).map_err(|error| match error {
            CompileError::Refused(refused) => {
                refused.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            }
            other => format!("{other}"),
        })?;
        Ok((source, compiled))
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.iter().any(|tensor| tensor.name() == name)
    }
}

/// The program with its inputs filled.
fn session(device: &dyn Device, source: &Source, compiled: &Compiled) -> Box<dyn Session> {
    let program = &compiled.program;
    let mut session = device.load(Arc::new(program.clone()), RECORDS).expect("the program loads");
    for id in program.ids() {
        let buffer = program.buffer(id);
        let len = buffer.len.fixed + buffer.len.per_row * RECORDS;
        match &buffer.role {
            Role::Parameter(name) => {
                session.write_f32(id, source.initializers[name].floats().expect("floats")).expect("a write");
            }
            Role::Input(name) if name == host_inputs::WEIGHT => {
                session.write_f32(id, &[1.0; RECORDS]).expect("a write");
            }
            Role::Input(name) if name == host_inputs::CLIP_BOUNDS => {
                session.write_f32(id, &vec![0.5; len]).expect("a write");
            }
            Role::Input(_) if buffer.dtype == DType::F32 => {
                session.write_f32(id, &numbers(len, 3)).expect("a write");
            }
            _ => {}
        }
    }
    session
}

/// What is wrong with a model's gradients.
fn problem(net: &Net) -> Option<String> {
    const STEP: f32 = 2e-3;
    let (source, compiled) = match net.compile() {
        Ok(compiled) => compiled,
        Err(why) => return Some(why),
    };
    let mut session = session(&Cpu, &source, &compiled);
    session.run(Phase::Private).expect("a run");
    let norms = result(&mut *session, &compiled, host_outputs::NORM);
    let mut squares = [0.0_f64; RECORDS];
    let names: Vec<String> = compiled.clip_groups.iter().flat_map(|group| group.parameters.clone()).collect();
    for name in names {
        session.run(Phase::Private).expect("a run");
        let gradient = result(&mut *session, &compiled, &format!("per_sample/{name}"));
        let len = gradient.len() / RECORDS;
        let largest = gradient.iter().fold(1e-3_f32, |m, g| m.max(g.abs()));
        let id = compiled.program.find(&Role::Parameter(name.clone())).expect("the parameter");
        let values = source.initializers[&name].floats().expect("floats").to_vec();
        for k in 0..len {
            let mut loss = |step: f32| {
                let mut values = values.clone();
                values[k] += step;
                session.write_f32(id, &values).expect("a write");
                session.run(Phase::Private).expect("a run");
                result(&mut *session, &compiled, host_outputs::LOSS)
            };
            let (above, below) = (loss(STEP), loss(-STEP));
            for n in 0..RECORDS {
                let difference = (f64::from(above[n]) - f64::from(below[n])) / f64::from(2.0 * STEP);
                let found = f64::from(gradient[n * len + k]);
                if (difference - found).abs() > 1e-2 * f64::from(largest) {
                    return Some(format!(
                        "{name}[{k}] of record {n}: {found} by the rule, {difference} by differences"
                    ));
                }
                squares[n] += found * found;
            }
        }
        session.write_f32(id, &values).expect("a write");
    }
    for (norm, square) in norms.iter().zip(squares) {
        if (f64::from(*norm) - square.sqrt()).abs() > 1e-4 * square.sqrt() + 1e-6 {
            return Some(format!("a norm is {norm}, and that of the gradients {}", square.sqrt()));
        }
    }
    None
}

/// Every operator, in a model of records of these dims, with its constants.
fn nets() -> Vec<(String, Net)> {
    let weight = |dims: &[i64]| floats("w2", dims, numbers(dims.iter().product::<i64>() as usize, 11));
    let list = |name: &str, values: &[i64]| ints(name, &[values.len() as i64], values);
    let f = |name: &str, values: &[f32]| floats(name, &[values.len() as i64], values.to_vec());
    let mut nets = Vec::new();
    let mut add =
        |dims: &[i64], op: &str, tensors: Vec<TensorProto>| nets.push((op.to_owned(), net(dims, op, tensors)));
    add(
        &[2, 3, 4],
        "ConvTranspose(h, w2; strides=[2, 1]; pads=[1, 0, 0, 1]; output_padding=[1, 0])",
        vec![weight(&[2, 3, 2, 2])],
    );
    add(&[4, 5], "ConvTranspose(h, w2; group=2; dilations=[2])", vec![weight(&[4, 2, 2])]);
    add(&[2, 2, 3, 2], "ConvTranspose(h, w2; strides=[1, 2, 1])", vec![weight(&[2, 1, 2, 2, 2])]);
    add(&[2, 3, 4, 3], "Conv(h, w2; pads=[1, 0, 1, 0, 0, 1]; strides=[1, 2, 1])", vec![weight(&[3, 2, 2, 2, 2])]);
    add(&[2, 3, 4, 3], "MaxPool(h; kernel_shape=[2, 2, 2]; ceil_mode=1; strides=[2, 2, 1])", vec![]);
    add(&[2, 3, 4, 3], "AveragePool(h; kernel_shape=[2, 2, 2]; pads=[1, 0, 0, 0, 1, 1])", vec![]);
    add(&[2, 4, 5], "LpPool(h; kernel_shape=[2, 3]; p=3; pads=[1, 1, 0, 0])", vec![]);
    add(&[2, 4, 5], "GlobalLpPool(h; p=2)", vec![]);
    add(&[2, 4, 5], "GlobalMaxPool(h)", vec![]);
    for op in [
        "ReduceMax(h, axes)",
        "ReduceMin(h, axes)",
        "ReduceL1(h, axes; keepdims=0)",
        "ReduceL2(h, axes)",
        "ReduceSumSquare(h, axes)",
        "ReduceLogSumExp(h, axes; keepdims=0)",
        "ReduceProd(h, axes)",
    ] {
        add(&[2, 3, 4], op, vec![list("axes", &[3, 1])]);
    }
    add(
        &[2, 5],
        "Pad(h, pads, v, axes; mode=constant)",
        vec![list("pads", &[2, -1]), f("v", &[0.5]), list("axes", &[-1])],
    );
    for op in ["Pad(h, pads; mode=reflect)", "Pad(h, pads; mode=edge)"] {
        add(&[2, 5], op, vec![list("pads", &[0, 1, 3, 0, 0, 4])]);
    }
    add(&[2, 5], "Pad(h, pads; mode=wrap)", vec![list("pads", &[0, 0, 7, 0, 1, 6])]);
    add(&[2, 3], "Tile(h, repeats)", vec![list("repeats", &[1, 3, 2])]);
    add(&[3, 4], "Trilu(h, k; upper=0)", vec![ints("k", &[], &[1])]);
    add(&[3, 4], "CumSum(h, axis; exclusive=1; reverse=1)", vec![ints("axis", &[], &[2])]);
    add(&[3, 4], "CumSum(h, axis)", vec![ints("axis", &[], &[1])]);
    add(&[1, 3, 4], "Resize(h, , scales; mode=linear)", vec![f("scales", &[1.0, 1.0, 2.0, 1.5])]);
    add(&[1, 3, 4], "Resize(h, , , sizes; mode=cubic; axes=[2, 3])", vec![list("sizes", &[5, 3])]);
    add(&[2, 3, 4], "Resize(h, , scales; mode=nearest)", vec![f("scales", &[1.0, 1.0, 2.0, 1.5])]);
    add(&[4, 2, 3], "DepthToSpace(h; blocksize=2; mode=CRD)", vec![]);
    add(&[2, 4, 6], "SpaceToDepth(h; blocksize=2)", vec![]);
    add(&[5, 2, 3], "LRN(h; size=3; alpha=0.5; beta=0.75; bias=1.0)", vec![]);
    add(&[6], "TopK(h, k)", vec![list("k", &[3])]);
    add(&[2, 4], "TopK(h, k; axis=2; largest=0)", vec![list("k", &[2])]);
    add(&[3, 4], "Einsum(h, w2; equation=nij,jk->nki)", vec![weight(&[4, 2])]);
    add(&[3, 4], "Einsum(h, w2, h; equation=nij,ijk,nil->nlk)", vec![weight(&[3, 4, 2])]);
    add(&[3, 3], "Einsum(h, w2; equation=nii,i->ni)", vec![weight(&[3])]);
    add(&[3, 4], "Einsum(h, w2; equation=...ij,kj->...)", vec![weight(&[2, 4])]);
    add(&[3, 4], "Einsum(h, w2; equation=...j,kj->...k)", vec![weight(&[2, 4])]);
    add(&[3, 4], "Einsum(h, w2; equation=...ij,...kj->...ik)", vec![weight(&[2, 4])]);
    // The batch behind the axes that are addressed, which comes back.
    let ids = ints("ids", &[3, 2], &[0, 1, 2, -1, 0, 1]);
    add(&[3, 4], "Transpose(h; perm=[1, 2, 0]) | GatherND(t0, ids) | Transpose(t1; perm=[1, 0])", vec![ids]);
    let bounds = vec![ints("ids", &[1, 1], &[1]), list("zero", &[0]), list("one", &[1])];
    add(
        &[3, 4],
        "Transpose(h; perm=[1, 2, 0]) | Slice(t0, zero, one) | ScatterND(t0, ids, t1) | Transpose(t2; perm=[2, 0, 1])",
        bounds.clone(),
    );
    add(
        &[3, 4],
        "Transpose(h; perm=[1, 2, 0]) | Slice(t0, zero, one) | ScatterND(t0, ids, t1; reduction=mul) | Transpose(t2; perm=[2, 0, 1])",
        bounds,
    );
    // Several images of each record.
    let frames = |tensors: Vec<TensorProto>| {
        [vec![list("merged", &[-1, 2, 3, 4]), list("apart", &[-1, 2, 72])], tensors].concat()
    };
    for op in ["Conv(t0, w2; pads=[1, 1, 1, 1])", "ConvTranspose(t0, w2; pads=[1, 1, 1, 1])"] {
        let ops: &'static str = format!("Reshape(h, merged) | {op} | Flatten(t1) | Reshape(t2, apart)").leak();
        add(
            &[2, 2, 3, 4],
            ops,
            frames(vec![weight(&if op.contains("Transpose") { [2, 6, 3, 3] } else { [6, 2, 3, 3] })]),
        );
    }
    let ops = "Reshape(h, merged) | MaxPool(t0; kernel_shape=[2, 2]) | Flatten(t1) | Reshape(t2, apart)";
    add(&[2, 2, 3, 4], ops, vec![list("merged", &[-1, 2, 3, 4]), list("apart", &[-1, 2, 12])]);
    let videos = vec![
        list("merged", &[-1, 2, 2, 3, 2]),
        list("apart", &[-1, 2, 16]),
        floats("w2", &[2, 2, 2, 2, 2], numbers(32, 11)),
    ];
    add(&[2, 2, 2, 3, 2], "Reshape(h, merged) | Conv(t0, w2; pads=[1, 0, 0, 0, 0, 1]) | Reshape(t1, apart)", videos);
    // A selection by what the data say, and one by its own order.
    let pick = "ArgMax(h; axis=1; keepdims=1) | GatherElements(h, t0; axis=1)";
    add(&[3, 4], pick, vec![]);
    add(&[4], &by_own_row("Range(zero, t1, one)"), own_row_tensors());
    for ops in by_own_elements() {
        add(&[2, 4, 4], ops, own_element_tensors());
    }
    for (dims, ops) in [(&[3, 3][..], "Det(h)"), (&[2, 4, 4], "Tanh(h) | Det(t0)"), (&[2, 1, 1], "Det(h)")] {
        add(dims, ops, vec![]);
    }
    nets
}

/// Elements put where MaxPool found them, their numbers within a channel, and elements of all records in a row.
pub fn by_own_elements() -> [&'static str; 4] {
    [
        "MaxPool*(h; kernel_shape=[2, 2]; strides=[2, 2]) | Tanh(t0) | MaxUnpool(t1, t0*; kernel_shape=[2, 2]; strides=[2, 2])",
        "MaxPool*(h; kernel_shape=[3, 2]; strides=[3, 2]; pads=[1, 0, 1, 0]) | Tanh(t0) | \
         MaxUnpool(t1, t0*; kernel_shape=[3, 2]; strides=[3, 2]; pads=[1, 0, 1, 0])",
        "MaxPool*(h; kernel_shape=[2, 2]; strides=[2, 2]) | MaxPool*(h; kernel_shape=[1, 1]) | \
         Slice(t1*, zeros, ones, spatial) | Sub(t0*, t2) | Cast(t3; to=1) | Mul(t0, t4)",
        "Shape(x; start=0; end=1) | Squeeze(t0) | Mul(t1, two) | Range(zero, t2, one) | Mul(t3, sixteen) | Unsqueeze(t4, axis1) | \
         Reshape(h, flat) | Slice(h, zero1, ones1, axis1) | Slice(t7, zero1, ones1, axis2) | Slice(t8, zero1, two1, axis3) | \
         Reshape(t9, flat) | ScatterND(t6, t5, t10) | Reshape(t11, back)",
    ]
}

/// The constants of [`by_own_elements`].
pub fn own_element_tensors() -> Vec<TensorProto> {
    vec![
        ints("zero", &[], &[0]),
        ints("one", &[], &[1]),
        ints("two", &[], &[2]),
        ints("sixteen", &[], &[16]),
        ints("zeros", &[2], &[0, 0]),
        ints("ones", &[2], &[1, 1]),
        ints("spatial", &[2], &[2, 3]),
        ints("zero1", &[1], &[0]),
        ints("ones1", &[1], &[1]),
        ints("two1", &[1], &[2]),
        ints("axis1", &[1], &[1]),
        ints("axis2", &[1], &[2]),
        ints("axis3", &[1], &[3]),
        ints("flat", &[1], &[-1]),
        ints("back", &[4], &[-1, 2, 4, 4]),
    ]
}

/// Elements 2, 0 and 3 of each record, at tuples of indices whose first is the record's number, as `index` makes it.
pub fn by_own_row(index: &str) -> String {
    let count = index.split(" | ").count();
    let [last, wide, shape, ids, both] = [1, 2, 3, 4, 5].map(|k| format!("t{}", count + k));
    format!(
        "Shape(x; start=0; end=1) | Squeeze(t0) | {index} | Unsqueeze({last}, axes12) | Expand({wide}, shape131) | \
         Concat(t0, shape31; axis=0) | Expand(places, {ids}) | Concat({shape}, {both}; axis=-1) | GatherND(h, t{})",
        count + 6
    )
}

/// The constants of [`by_own_row`].
pub fn own_row_tensors() -> Vec<TensorProto> {
    vec![
        ints("zero", &[], &[0]),
        ints("one", &[], &[1]),
        ints("axes12", &[2], &[1, 2]),
        ints("shape131", &[3], &[1, 3, 1]),
        ints("shape31", &[2], &[3, 1]),
        ints("places", &[1, 3, 1], &[2, 0, 3]),
    ]
}

#[test]
fn gradients_are_those_of_differences() {
    let problems: Vec<String> =
        nets().iter().filter_map(|(op, net)| Some(format!("{op}: {}", problem(net)?))).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The operators whose results have no derivative, or are integers.
fn positions() -> Vec<(String, Net)> {
    let depth = || [ints("depth", &[], &[4]), floats("values", &[2], vec![-1.0, 2.0])];
    [
        ("ArgMax(h; axis=1)", vec![]),
        ("ArgMin(h; axis=-1; keepdims=0; select_last_index=1)", vec![]),
        ("Hardmax(h; axis=1)", vec![]),
        ("ArgMax(h; axis=2; keepdims=0) | OneHot(t0, depth, values; axis=1)", depth().to_vec()),
    ]
    .map(|(ops, tensors)| (ops.to_owned(), net(&[3, 4], ops, tensors)))
    .into()
}

#[test]
fn the_gpu_has_the_same_gradients() {
    let gpu = Gpu::open(None).unwrap_or_else(|e| panic!("{:?}", miette::Report::from(e)));
    for (ops, net) in nets() {
        let (source, compiled) = net.compile().unwrap_or_else(|e| panic!("{ops}: {e}"));
        let devices: [&dyn Device; 2] = [&Cpu, &gpu];
        let [expected, found] = devices.map(|device| {
            let mut session = session(device, &source, &compiled);
            session.run(Phase::Private).expect("a run");
            let parameters = compiled.clip_groups.iter().flat_map(|group| &group.parameters);
            let names = parameters.map(|name| format!("per_sample/{name}"));
            let names = names.chain([host_outputs::LOSS, host_outputs::NORM].map(String::from));
            names.flat_map(|name| result(&mut *session, &compiled, &name)).collect::<Vec<f32>>()
        });
        let largest = expected.iter().fold(1e-3_f32, |m, x| m.max(x.abs()));
        let off = found.iter().zip(&expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
        assert!(off <= 1e-4 * largest && found.len() == expected.len(), "{ops}: the gpu is off by {off}");
    }
}

/// What a net makes of records.
fn forward(ops: &str, net: &Net) -> impl Fn(&[f32]) -> Vec<f32> {
    let source = net.source();
    let parameters = discover(&source, &[], &[]).expect("parameters");
    let options =
        Options { loss: None, per_sample: false, ..options("mse".parse().expect("a loss"), NormChoice::Auto) };
    let compiled = compile(&source, &parameters, &options, TARGETS).unwrap_or_else(|e| panic!("{ops}: {e}"));
    let artifact = artifact::build(&source, &parameters, compiled, &options, 8).expect("an artifact");
    let len = net.dims.iter().product::<i64>() as usize;
    let own: Vec<usize> = net.dims.iter().map(|&n| n as usize).collect();
    let ops = ops.to_owned();
    move |values| {
        let x = Array::from_f32([&[values.len() / len], &own[..]].concat(), values);
        let outputs = predict(&Cpu, &artifact, "memory", &[("x".to_owned(), x)].into());
        outputs.unwrap_or_else(|e| panic!("{ops}: {e}"))["y"].to_f32()
    }
}

/// tract takes a Celu of any alpha for one of 1.
#[test]
fn constants_are_worked_out_as_onnx_has_them() {
    let celu = "Cast(minus; to=1) | Celu(t0; alpha=2.0) | Mul(h, t1)";
    let found = forward(celu, &net(&[4], celu, vec![ints("minus", &[1], &[-1])]))(&numbers(8, 5));
    let value = 2.0 * ((-0.5f32).exp() - 1.0);
    let right = forward("Mul", &net(&[4], "Mul(h, c)", vec![floats("c", &[1], vec![value])]))(&numbers(8, 5));
    assert!(found.iter().zip(&right).all(|(a, b)| (a - b).abs() <= 1e-6), "{found:?} and {right:?}");
}

#[test]
fn a_record_has_the_values_that_it_has_alone() {
    for (ops, net) in nets().into_iter().chain(positions()) {
        let len = net.dims.iter().product::<i64>() as usize;
        let all = numbers(RECORDS * len, 5);
        let of = forward(&ops, &net);
        let together = of(&all);
        let alone: Vec<f32> = all.chunks(len).flat_map(&of).collect();
        // Results that have the batch elsewhere than first are not one record after the other.
        assert_eq!(together.len(), alone.len(), "{ops}");
        let close = together.iter().zip(&alone).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs().max(1.0));
        assert!(close, "{ops}: {together:?} and {alone:?}");
        assert!(
            together.iter().all(|value| value.is_finite()) && together.iter().any(|value| *value != together[0]),
            "{ops}"
        );
    }
}

#[test]
fn what_lets_records_meet_is_refused() {
    let list = |name: &str, values: &[i64]| ints(name, &[values.len() as i64], values);
    for (op, tensors) in [
        ("ReduceMax(h, axes)", vec![list("axes", &[0])]),
        ("ReduceL2(h)", vec![]),
        ("Pad(h, pads)", vec![list("pads", &[1, 0, 0, 0, 0, 0])]),
        ("Tile(h, repeats)", vec![list("repeats", &[2, 1, 1])]),
        ("CumSum(h, axis)", vec![ints("axis", &[], &[0])]),
        ("ArgMax(h; axis=0)", vec![]),
        ("TopK(h, k; axis=0)", vec![list("k", &[1])]),
        ("Einsum(h; equation=nij->ij)", vec![]),
        ("Einsum(h, h; equation=nij,mij->nm)", vec![]),
        ("GatherND(h, ids)", vec![ints("ids", &[1, 1], &[0])]),
        ("ScatterND(h, ids, h)", vec![ints("ids", &[1, 1], &[0])]),
        ("Resize(h, , scales; mode=linear)", vec![floats("scales", &[3], vec![2.0, 1.0, 1.0])]),
        (
            "Compress(h, condition)",
            vec![TensorProto {
                name: Some("condition".into()),
                data_type: Some(9),
                dims: vec![2],
                int32_data: vec![1, 0],
                ..Default::default()
            }],
        ),
    ] {
        let why = net(&[3, 4], op, tensors).compile().err().unwrap_or_else(|| panic!("{op} is not refused"));
        assert!(why.contains("would depend on other records"), "{op}: {why}");
    }
}
