//! Ops from outside: registered, compiled in the middle of a model, trained on both devices, kept in an artifact, audited; and
//! the same as a local function of the file.

use dpc::artifact::{Artifact, ArtifactError};
use dpc::audit::{Settings, audit};
use dpc::device::Device;
use dpc::device::cpu::Cpu;
use dpc::device::gpu::Gpu;
use dpc::library::custom::{Code, CustomOp, CustomOps, Func, Kernel, Node, Shape, Term};
use dpc::library::testing::{CheckError, OpCheck};
use dpc::lower::host_outputs;
use dpc::lower::program::{Phase, Role};
use dpc::onnx::proto::{
    Dimension, DimensionValue, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto,
    TensorType, TypeProto, TypeValue, ValueInfoProto,
};
use dpc::privacy::request::PlanRequest;
use dpc::train::data::Array;
use dpc::train::data::npz;
use dpc::{Compiled, Model, Options, Setup, Trainer};
use prost::Message;

use crate::place::Place;
use crate::shapes::{floats, ints, node, numbers};

const DOMAIN: &str = "com.example";

/// An op whose formula is given, for tests.
#[derive(Debug)]
struct Op {
    name: &'static str,
    formula: for<'f> fn(&Node<'f>) -> Result<Vec<Term<'f>>, String>,
    kernels: &'static [&'static Kernel],
}

impl CustomOp for Op {
    fn domain(&self) -> &str {
        DOMAIN
    }

    fn op_type(&self) -> &str {
        self.name
    }

    fn formula<'f>(&self, node: &Node<'f>) -> Result<Vec<Term<'f>>, String> {
        (self.formula)(node)
    }

    fn kernels(&self) -> Vec<&'static Kernel> {
        self.kernels.to_vec()
    }
}

/// `x + sin²(a x) / a`, and the sine.
fn snake() -> Op {
    fn formula<'f>(node: &Node<'f>) -> Result<Vec<Term<'f>>, String> {
        let [x, a] = node.operands()?;
        let sine = (a * x).call(Func::Sin);
        Ok(vec![x + sine * sine / a, sine])
    }
    Op { name: "Snake", formula, kernels: &[] }
}

/// Bell curves of the distances to centres.
fn rbf() -> Op {
    fn formula<'f>(node: &Node<'f>) -> Result<Vec<Term<'f>>, String> {
        let [x, c] = node.operands()?;
        Ok(vec![node.formula().kernel(&RBF, &[x, c], &[node.float("gamma", 1.0)?])])
    }
    static RBF: Kernel = Kernel {
        name: "rbf",
        shape: Shape::Records(|dims, _| match dims {
            [[width], [centres, own]] if width == own => Ok(vec![*centres]),
            _ => Err("takes vectors, and as many centres of that length as there are rows".into()),
        }),
        code: Code {
            operands: &["x", "c"],
            wgsl: "
fn square(j: u32) -> f32 {
    var square = 0.0;
    for (var i = 0u; i < x_len(); i++) {
        let distance = x(i) - c(j * x_len() + i);
        square += distance * distance;
    }
    return square;
}

fn element(j: u32) -> f32 {
    return exp(-number(0u) * square(j));
}",
            native: |record, y| {
                let [x, c] = record.operands();
                for (y, c) in y.iter_mut().zip(c.chunks(x.len())) {
                    let square: f32 = x.iter().zip(c).map(|(x, c)| (x - c) * (x - c)).sum();
                    *y = (-record.number(0) * square).exp();
                }
            },
        },
        vjp: Some(|call| {
            let [x, c] = call.operands();
            let scale = call.cotangent() * call.value() * (2.0 * call.numbers()[0]);
            let of_c = call.kernel(&OF_C, &[x, c, scale]);
            vec![Some(-of_c.sum(&[0])), Some(of_c)]
        }),
    };
    static OF_C: Kernel = Kernel {
        name: "of_c",
        shape: Shape::Records(|dims, _| Ok(dims[1].to_vec())),
        code: Code {
            operands: &["x", "c", "scale"],
            wgsl: "fn element(i: u32) -> f32 { return scale(i / x_len()) * (x(i % x_len()) - c(i)); }",
            native: |record, of_c| {
                let [x, c, scale] = record.operands();
                of_c.iter_mut().enumerate().for_each(|(i, y)| *y = scale[i / x.len()] * (x[i % x.len()] - c[i]));
            },
        },
        vjp: None,
    };
    const KERNELS: &[&Kernel] = &[&RBF, &OF_C];
    Op { name: "Rbf", formula, kernels: KERNELS }
}

/// `x³`, element by element, of two operands' product, with a derivative and WGSL as they are given.
macro_rules! cube {
    ($name:literal, $wgsl:literal, $factor:literal) => {{
        static CUBE: Kernel = Kernel {
            name: "cube",
            shape: Shape::Elementwise,
            code: Code {
                operands: &["x", "y"],
                wgsl: $wgsl,
                native: |record, z| {
                    let [x, y] = record.operands();
                    z.iter_mut().zip(x.iter().zip(y)).for_each(|(z, (x, y))| *z = x * x * x * y);
                },
            },
            vjp: Some(|call| {
                let ([x, y], d) = (call.operands(), call.cotangent());
                vec![Some(x * x * $factor * y * d), Some(x * x * x * d)]
            }),
        };
        const KERNELS: &[&Kernel] = &[&CUBE];
        fn formula<'f>(node: &Node<'f>) -> Result<Vec<Term<'f>>, String> {
            let [x, y] = node.operands()?;
            Ok(vec![node.formula().kernel(&CUBE, &[x, y], &[])])
        }
        Op { name: $name, formula, kernels: KERNELS }
    }};
}

fn ops() -> CustomOps {
    let cube = cube!("Cube", "fn element(i: u32) -> f32 { return x(i) * x(i) * x(i) * y(i); }", 3.0);
    let wrong = cube!("Wrong", "fn element(i: u32) -> f32 { return x(i) * x(i) * x(i) * y(i); }", 2.0);
    let apart = cube!("Apart", "fn element(i: u32) -> f32 { return x(i) * x(i) * y(i); }", 3.0);
    [snake(), rbf(), cube, wrong, apart].into_iter().fold(CustomOps::new(), |ops, op| ops.with(op).expect("an op"))
}

fn gpu() -> Gpu {
    Gpu::open(None).unwrap_or_else(|e| panic!("{:?}", miette::Report::from(e)))
}

#[test]
fn ops_have_the_derivatives_of_finite_differences_on_both_devices() {
    let (ops, gpu) = (ops(), gpu());
    let devices: [&dyn Device; 2] = [&Cpu, &gpu];
    let check = |op: &str| OpCheck::new(&ops, DOMAIN, op);
    let rbf = || check("Rbf").float("gamma", 0.5);
    let of_cube = || check("Cube");
    for (what, check, derivatives) in [
        ("a formula", check("Snake").between(0.5, 1.5).records(&[4, 7]).parameter(&[4, 1]), 32),
        ("a formula of one number", check("Snake").between(0.5, 1.5).records(&[]).parameter(&[]), 2),
        ("a kernel", rbf().records(&[3]).parameter(&[4, 3]), 15),
        ("a kernel, one past a workgroup", rbf().records(&[5]).parameter(&[65, 5]), 5 + 55),
        ("a kernel of two operands that records have", rbf().records(&[3]).records(&[2, 3]), 9),
        ("a kernel element by element", of_cube().records(&[2, 5]).parameter(&[5]), 15),
        ("a kernel that broadcasts a record", of_cube().records(&[1, 2]).parameter(&[3, 2]), 8),
    ] {
        let checked = check.run(&devices).unwrap_or_else(|e| panic!("{what}: {:?}", miette::Report::from(e)));
        // Of three records, by four strategies, on two devices.
        assert_eq!(checked.derivatives, derivatives * 3 * 4 * 2, "{what}");
    }
}

#[test]
fn wrong_ops_are_found_out() {
    let (ops, gpu) = (ops(), gpu());
    let of = |op: &str, devices: &[&dyn Device]| {
        OpCheck::new(&ops, DOMAIN, op).records(&[3]).parameter(&[3]).run(devices).expect_err(op)
    };
    let error = of("Wrong", &[&Cpu]);
    assert!(matches!(&error, CheckError::Differs { what, .. } if what.contains("operand 0")), "{error}");
    let error = of("Apart", &[&Cpu, &gpu]);
    assert!(matches!(&error, CheckError::Differs { what, .. } if what == "a loss"), "{error}");
    let error = of("Rbf", &[&Cpu]).to_string();
    assert!(error.contains("cannot be compiled"), "{error}");
}

fn info(name: &str, dims: &[i64]) -> ValueInfoProto {
    let axis = |value| Dimension { value: Some(value), ..Default::default() };
    let dim = dims.iter().map(|&size| match size {
        0 => axis(DimensionValue::Param("N".into())),
        size => axis(DimensionValue::Value(size)),
    });
    let tensor = TensorType { elem_type: Some(1), shape: Some(TensorShapeProto { dim: dim.collect() }) };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value: Some(TypeValue::Tensor(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

/// The nodes that a text has, one a line as `y = Op(x)`; ops of the domain have a point before their name.
fn nodes(text: &str) -> Vec<NodeProto> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (outputs, call) = line.split_once(" = ").expect("a node");
            let mut node = node(call.trim_start_matches('.'), outputs.split(',').next().expect("an output"));
            node.output = outputs.split(',').map(|name| name.trim().to_owned()).collect();
            node.domain = call.starts_with('.').then(|| DOMAIN.to_owned());
            node
        })
        .collect()
}

fn set(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) }
}

/// A network for records of 6 numbers and 3 classes, with ops of the domain in the middle, behind which a shape is computed.
fn network() -> ModelProto {
    let text = "
        h = MatMul(x, w1)
        s, sine = .Snake(h, a)
        shape = Shape(s)
        same = Reshape(sine, shape)
        both = Add(s, same)
        pairs = Reshape(both, pairs_shape)
        flat = Flatten(pairs)
        bells = .Rbf(flat, centres; gamma=0.5)
        y = Gemm(bells, w2, b2)";
    let parameter = |name: &str, dims: &[i64], seed| {
        floats(name, dims, numbers(dims.iter().product::<i64>() as usize, seed).iter().map(|x| 0.6 * x).collect())
    };
    let graph = GraphProto {
        node: nodes(text),
        initializer: vec![
            parameter("w1", &[6, 4], 1),
            floats("a", &[4], vec![0.7, 0.9, 1.1, 1.3]),
            parameter("centres", &[5, 4], 2),
            parameter("w2", &[5, 3], 3),
            parameter("b2", &[3], 4),
            ints("pairs_shape", &[3], &[-1, 2, 2]),
        ],
        input: vec![info("x", &[0, 6])],
        output: vec![info("y", &[0, 3])],
        ..Default::default()
    };
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![set("", 17), set(DOMAIN, 1)],
        graph: Some(graph),
        ..Default::default()
    }
}

/// The op as a local function of the file.
fn snake_function() -> FunctionProto {
    FunctionProto {
        name: Some("Snake".into()),
        domain: Some(DOMAIN.into()),
        input: vec!["x".into(), "a".into()],
        output: vec!["y".into(), "sine".into()],
        node: nodes(
            "ax = Mul(a, x)
             sine = Sin(ax)
             square = Mul(sine, sine)
             part = Div(square, a)
             y = Add(x, part)",
        ),
        opset_import: vec![set("", 17)],
        ..Default::default()
    }
}

fn options() -> Options {
    Options { per_sample: true, ..Options::private("cross-entropy".parse().expect("a loss")) }
}

fn compiled(model: &ModelProto, ops: &CustomOps) -> Compiled {
    let model = Model::with_ops(model.encode_to_vec(), ops).expect("a model");
    let model = model.choosing(&["w1", "a", "centres", "w2", "b2"], &[]).expect("parameters");
    model.compile(&options()).unwrap_or_else(|e| panic!("{:?}", miette::Report::from(e)))
}

const RECORDS: usize = 64;

fn data() -> Vec<(String, Array)> {
    let labels: Vec<i64> = (0..RECORDS as i64).map(|record| record % 3).collect();
    let mut inputs = numbers(RECORDS * 6, 9);
    // The class is a bump on two of the six numbers.
    inputs.chunks_mut(6).zip(&labels).for_each(|(x, &label)| x[2 * label as usize] += 2.0);
    vec![
        ("x".to_owned(), Array::from_f32(vec![RECORDS, 6], &inputs)),
        ("label".to_owned(), Array::from_i64(vec![RECORDS], &labels)),
    ]
}

/// Each record's gradient by every parameter, and norms.
fn gradients(compiled: &Compiled, device: &dyn Device) -> Vec<(String, Vec<f32>)> {
    const ROWS: usize = 5;
    let artifact = compiled.artifact();
    let program = &artifact.program;
    let mut session = device.load(program.clone().into(), ROWS).expect("it loads");
    for id in program.ids() {
        let len = program.buffer(id).len.at(ROWS);
        match &program.buffer(id).role {
            Role::Parameter(name) => session.write_f32(id, &artifact.weights[name].data),
            Role::Input(name) if name == "x" => session.write_f32(id, &numbers(len, 5)),
            Role::Input(name) if name == "label" => session.write_i32(id, &[0, 1, 2, 1, 0]),
            Role::Input(name) if !name.ends_with("hyper") => session.write_f32(id, &vec![1.0; len]),
            _ => Ok(()),
        }
        .expect("a write");
    }
    session.run(Phase::Private).expect("a run");
    let mut all = Vec::new();
    for id in program.ids() {
        if let Role::Output(name) = &program.buffer(id).role
            && (name.starts_with("per_sample/") || name == host_outputs::NORM)
        {
            all.push((name.clone(), session.read_f32(id).expect("a read")));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn compare(found: &[(String, Vec<f32>)], expected: &[(String, Vec<f32>)]) {
    assert_eq!(found.len(), expected.len());
    for ((name, found), (own, expected)) in found.iter().zip(expected) {
        assert_eq!(name, own);
        let largest = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-4 * largest);
        assert!(close && largest > 0.0, "{name}: {found:?} and {expected:?}");
    }
}

#[test]
fn an_op_and_its_local_function_are_the_same_on_both_devices() {
    let mut with_function = network();
    let own = gradients(&compiled(&network(), &ops()), &Cpu);
    assert_eq!(own.len(), 6);
    compare(&gradients(&compiled(&network(), &ops()), &gpu()), &own);
    with_function.functions.push(snake_function());
    // The function's body is written out: nothing of that name need be registered.
    let rest = CustomOps::new().with(rbf()).expect("an op");
    compare(&gradients(&compiled(&with_function, &rest), &Cpu), &own);
}

#[test]
fn a_model_of_local_functions_needs_no_code() {
    let place = Place::new();
    let mut model = network();
    model.functions.push(snake_function());
    let graph = model.graph.as_mut().expect("a graph");
    graph.node.retain(|node| node.op_type() != "Rbf");
    graph.node.last_mut().expect("a node").input[0] = "flat".into();
    graph.initializer.retain(|tensor| tensor.name() != "centres");
    graph.initializer.iter_mut().find(|tensor| tensor.name() == "w2").expect("weights").dims = vec![4, 3];
    graph.initializer.iter_mut().find(|tensor| tensor.name() == "w2").expect("weights").float_data.truncate(12);
    std::fs::write(place.path("net.onnx"), model.encode_to_vec()).expect("a file");
    npz::write(&place.path("data.npz"), &data().into_iter().collect()).expect("a file");
    place.ok("compile net.onnx --loss cross-entropy --train a -o m.dpc");
    place.ok("train m.dpc --data data.npz --epsilon 8 --delta 1e-3 --batch 16 --steps 3 --lr 0.5 --device cpu");
}

#[test]
fn an_artifact_with_ops_is_loaded_only_where_they_are_registered() {
    let place = Place::new();
    let compiled = compiled(&network(), &ops());
    let path = place.path("m.dpc");
    compiled.artifact().save(&path).expect("a file");
    assert_eq!(Artifact::load_with(&path, &ops()).expect("an artifact").program, compiled.artifact().program);

    let error = Artifact::load(&path).expect_err("nothing is registered");
    assert!(matches!(&error, ArtifactError::UnknownOps { .. }), "{error}");
    let text = unwrapped(&place.fails("inspect m.dpc", 1));
    assert!(text.contains("dpc::artifact::ops") && text.contains("`com.example::Rbf`"), "{text}");
    // Of the same name with other code.
    let other = Op { kernels: cube!("", "fn element(i: u32) -> f32 { return x(i); }", 1.0).kernels, ..rbf() };
    let error = Artifact::load_with(&path, &CustomOps::new().with(other).expect("an op")).expect_err("other code");
    assert!(error.to_string().contains("with the kernel `of_c`"), "{error}");

    std::fs::write(place.path("net.onnx"), network().encode_to_vec()).expect("a file");
    let text = unwrapped(&place.fails("check net.onnx --loss cross-entropy", 1));
    assert!(text.contains("no rule for this op of the domain") && text.contains("local function"), "{text}");
}

#[test]
fn a_model_with_ops_trains_on_both_devices_and_passes_the_audit() {
    let compiled = compiled(&network(), &ops());
    let place = Place::new();
    npz::write(&place.path("data.npz"), &data().into_iter().collect()).expect("a file");
    let npz = dpc::train::data::npz::Npz::open(&place.path("data.npz")).expect("data");
    let data = compiled.dataset(npz).expect("data");
    let plan = compiled.plan(&PlanRequest::epsilon(50.0, 1e-3, 32.0).epochs(30.0), &data).expect("a plan");
    for device in [&Cpu as &dyn Device, &gpu()] {
        let mut trainer = Trainer::new(&compiled, &data, &plan, device, Setup::new(1.0)).expect("a trainer");
        let before = trainer.evaluate(&data).expect("a loss").loss;
        trainer.train(|_| {}).expect("training");
        let after = trainer.evaluate(&data).expect("a loss").loss;
        assert!(after < 0.9 * before, "{before} {after} on {}", device.name());
    }
    let settings = Settings {
        noise_multiplier: 1.0,
        sample_rate: 0.125,
        delta: 1e-5,
        batch: 8,
        replays: 50,
        confidence: 0.95,
        canaries: None,
        steps: 4,
        mutate: false,
        exhaustive: true,
        insecure_seed: Some(1),
    };
    let report = audit(compiled.artifact(), &[Box::new(Cpu)], &settings, |_| ()).expect("an audit");
    assert!(report.passed, "{report}");
}

/// An error's text on one line.
fn unwrapped(text: &str) -> String {
    text.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is said of a model of one node of an op, and of what its operand is.
fn refusal(op: Op, call: &str, dims: &[i64]) -> String {
    let graph = GraphProto {
        node: nodes(call),
        initializer: vec![floats("w", &[3], vec![0.1, 0.2, 0.3])],
        input: vec![info("x", dims)],
        output: vec![ValueInfoProto { name: Some("y".into()), ..Default::default() }],
        ..Default::default()
    };
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![set("", 17), set(DOMAIN, 1)],
        graph: Some(graph),
        ..Default::default()
    };
    let ops = CustomOps::new().with(op).expect("an op");
    let model = Model::with_ops(model.encode_to_vec(), &ops).expect("a model");
    unwrapped(&format!("{:?}", miette::Report::from(model.check().expect_err("refused"))))
}

#[test]
fn records_do_not_meet_in_ops_from_outside() {
    fn over_the_batch<'f>(node: &Node<'f>) -> Result<Vec<Term<'f>>, String> {
        let [x] = node.operands()?;
        Ok(vec![x - x.mean(&[0])])
    }
    let centre = || Op { name: "Centre", formula: over_the_batch, kernels: &[] };
    let text = refusal(centre(), "y = .Centre(x)", &[0, 3]);
    assert!(text.contains("reduces over axis 0"), "{text}");
    let text = refusal(rbf(), "t = Transpose(x; perm=[1, 0])\ny = .Rbf(t, w)", &[0, 3]);
    assert!(text.contains("takes records along axis 0"), "{text}");
    let text = refusal(rbf(), "y = .Rbf(x, w)", &[0, 3]);
    assert!(text.contains("as many centres of that length"), "{text}");
    let unlisted = Op { kernels: &[], ..rbf() };
    let text = refusal(unlisted, "y = .Rbf(x, w)", &[0, 3]);
    assert!(text.contains("does not list the kernel `rbf`"), "{text}");
}

#[test]
fn what_cannot_be_registered_says_why() {
    let twice = CustomOps::new().with(snake()).expect("an op").with(snake()).expect_err("twice");
    assert!(twice.to_string().contains("registered already"), "{twice}");
    #[derive(Debug)]
    struct Relu;
    impl CustomOp for Relu {
        fn domain(&self) -> &str {
            "ai.onnx"
        }
        fn op_type(&self) -> &str {
            "Relu"
        }
        fn formula<'f>(&self, node: &Node<'f>) -> Result<Vec<Term<'f>>, String> {
            Ok(vec![node.operands::<1>()?[0]])
        }
    }
    let error = CustomOps::new().with(Relu).expect_err("ONNX's own");
    assert!(error.to_string().contains("ONNX's own domain"), "{error}");
    let reaching = cube!("Reach", "fn element(i: u32) -> f32 { return dpc_0[i + 1u]; }", 3.0);
    let error = CustomOps::new().with(reaching).expect_err("it reaches for memory");
    assert!(error.to_string().contains("no definition in scope"), "{error}");
}
