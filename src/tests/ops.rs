//! Small graphs with each op in their middle.

use super::sketch::{ROWS, SIGNED, Sketch};
use crate::graph::{NodeId, Type};
use crate::lower::host_inputs;
use crate::lower::kernels::{ConvGeometry, PoolGeometry, PoolKind};
use crate::lower::scalar::Func;
use crate::ops::contract::Contract;
use crate::ops::conv::{Conv, ConvInputGradient};
use crate::ops::detach::Detach;
use crate::ops::dropout::Dropout;
use crate::ops::embedding::Gather;
use crate::ops::leaf::{Constant, Data, Fill};
use crate::ops::loss::CrossEntropy;
use crate::ops::lstm::Lstm;
use crate::ops::movement::{Broadcast, Concat, Pad, Rearrange, Reshape, Slice, Transpose};
use crate::ops::pool::Pool;
use crate::ops::reduce::Sum;
use crate::ops::softmax::Softmax;
use crate::ops::{Op, elementwise::Elementwise};

/// Graphs with an op that has a derivative, by its name in the op table.
pub const SKETCHES: &[(&str, fn() -> Vec<Sketch>)] = &[
    ("Input", leaves),
    ("Parameter", leaves),
    ("Constant", leaves),
    ("Fill", leaves),
    ("Elementwise", elementwise),
    ("Sum", sum),
    ("Reshape", reshape),
    ("Transpose", transpose),
    ("Slice", slice),
    ("Pad", pad),
    ("Concat", concat),
    ("Broadcast", broadcast),
    ("Rearrange", rearrange),
    ("Contract", contract),
    ("Conv", conv),
    ("ConvInputGradient", conv_input_gradient),
    ("Pool", pool),
    ("Softmax", softmax),
    ("Gather", gather),
    ("Lstm", lstm),
    ("Dropout", dropout),
    ("Detach", detach),
    ("CrossEntropy", cross_entropy),
];

/// Ops without a derivative, which the graphs of the others come to have.
pub const UNDERIVABLE: &[&str] = &[
    "SumBatch",
    "Outer",
    "PoolVjp",
    "SoftmaxVjp",
    "Scatter",
    "LstmVjp",
    "CrossEntropyVjp",
    "SquareNorm",
    "OuterNorm",
    "GhostNorm",
    "TileNorm",
    "SegmentNorm",
    "SegmentCross",
    "LengthBound",
    "ClipFactor",
];

const EITHER: [bool; 2] = [true, false];

/// All ways in which `arity` operands are batched or shared, the first of which has them all batched.
fn batchings(arity: usize) -> Vec<Vec<bool>> {
    (0..1 << arity).map(|bits| (0..arity).map(|k| bits >> k & 1 == 0).collect()).collect()
}

/// The op on operands of these dims, batched or shared in all ways.
fn on(name: &str, op: impl Into<Op>, dims: &[&[usize]]) -> Vec<Sketch> {
    let op = op.into();
    let sketch = |batched: Vec<bool>| {
        let mut sketch = Sketch::new(format!("{name} {dims:?} batched {batched:?}"));
        let operands: Vec<NodeId> =
            dims.iter().zip(&batched).map(|(dims, &batched)| sketch.value(batched, dims, &SIGNED)).collect();
        let y = sketch.add(op.clone(), &operands);
        sketch.loss_of(y)
    };
    batchings(dims.len()).into_iter().map(sketch).collect()
}

fn leaves() -> Vec<Sketch> {
    let mut all = Vec::new();
    for batched in EITHER {
        let mut sketch = Sketch::new(format!("leaves, a fill batched {batched}"));
        let x = sketch.value(true, &[3], &SIGNED);
        let bias = sketch.parameter(&[3], &SIGNED);
        let constant = sketch.add(Constant { dims: vec![3], data: Data::F32([0.5, -1.5, 2.0].into()) }, &[]);
        let fill = sketch.add(Fill { ty: Type { batched, ..Type::shared([3]) }, value: -0.75 }, &[]);
        let scaled = sketch.call(Func::Mul, &[x, constant]);
        let shifted = sketch.call(Func::Add, &[scaled, bias]);
        let y = sketch.call(Func::Mul, &[shifted, fill]);
        all.push(sketch.loss_of(y));
    }
    all
}

/// A function of operands that are values of the sketch, or inputs where it has no derivative in them.
struct Scalar {
    func: Func,
    /// Operands with a derivative, which come first.
    derivable: usize,
    positive: bool,
}

/// Whether a function is tested, and how; `None` for those that derivatives and clip factors are made of.
fn scalar(func: Func) -> Option<Scalar> {
    let (derivable, positive) = match func {
        Func::Add | Func::Sub | Func::Mul => (2, false),
        Func::Div => (2, true),
        Func::Log | Func::Sqrt => (1, true),
        Func::Neg | Func::Exp | Func::Abs | Func::Relu | Func::Tanh | Func::Sigmoid => (1, false),
        Func::BceWithLogits | Func::Huber => (1, false),
        Func::Guard
        | Func::AbsVjp
        | Func::ReluVjp
        | Func::TanhVjp
        | Func::SigmoidVjp
        | Func::BceWithLogitsVjp
        | Func::HuberVjp => return None,
    };
    Some(Scalar { func, derivable, positive })
}

fn elementwise() -> Vec<Sketch> {
    let mut all = Vec::new();
    for Scalar { func, derivable, positive } in Func::ALL.iter().filter_map(|&func| scalar(func)) {
        let shapes: &[[&[usize]; 2]] =
            if derivable == 1 { &[[&[2, 3], &[2, 3]]] } else { &[[&[2, 3], &[2, 3]], [&[2, 1], &[5]], [&[], &[3]]] };
        for shape in shapes {
            for batched in batchings(func.arity()) {
                let mut sketch = Sketch::new(format!("{} {shape:?} batched {batched:?}", func.name()));
                let range = if positive { 0.5..2.0 } else { SIGNED };
                let operands: Vec<NodeId> = (0..func.arity())
                    .map(|k| match k < derivable {
                        true => sketch.value(batched[k], shape[k], &range),
                        // A label or a threshold.
                        false => {
                            sketch.input("given", Type { batched: batched[k], ..Type::shared(shape[k]) }, &(0.2..0.9))
                        }
                    })
                    .collect();
                let y = sketch.call(func, &operands);
                all.push(sketch.loss_of(y));
            }
        }
    }
    all.extend(on("scale", Elementwise::scale(-1.75), &[&[2, 3]]));
    // One operand twice.
    for batched in EITHER {
        let mut sketch = Sketch::new(format!("square batched {batched}"));
        let x = sketch.value(batched, &[3], &SIGNED);
        let y = sketch.call(Func::Mul, &[x, x]);
        all.push(sketch.loss_of(y));
    }
    all
}

fn sum() -> Vec<Sketch> {
    [vec![], vec![0], vec![1], vec![0, 2], vec![0, 1, 2]]
        .into_iter()
        .flat_map(|axes| on(&format!("{axes:?}"), Sum { axes }, &[&[2, 3, 5]]))
        .collect()
}

fn reshape() -> Vec<Sketch> {
    on("to a matrix", Reshape { dims: vec![3, 10] }, &[&[2, 3, 5]])
}

fn transpose() -> Vec<Sketch> {
    on("cycle", Transpose { perm: vec![1, 2, 0] }, &[&[2, 3, 5]])
}

fn slice() -> Vec<Sketch> {
    [(0, 1, 1), (1, 0, 2), (2, 2, 3)]
        .into_iter()
        .flat_map(|(axis, start, len)| on(&format!("{axis}"), Slice { axis, start, len }, &[&[2, 3, 5]]))
        .collect()
}

fn pad() -> Vec<Sketch> {
    [(0, 1, 4), (2, 0, 7), (1, 2, 5)]
        .into_iter()
        .flat_map(|(axis, start, size)| on(&format!("{axis}"), Pad { axis, start, size }, &[&[2, 3, 5]]))
        .collect()
}

fn concat() -> Vec<Sketch> {
    let mut all = on("last axis", Concat { axis: 1 }, &[&[2, 1], &[2, 3]]);
    all.extend(on("first axis", Concat { axis: 0 }, &[&[1, 3], &[2, 3], &[3, 3]]));
    all
}

fn broadcast() -> Vec<Sketch> {
    let mut all = on("inner", Broadcast { dims: vec![2, 4, 3] }, &[&[2, 1, 3]]);
    all.extend(on("leading", Broadcast { dims: vec![2, 3, 5] }, &[&[1, 5]]));
    all
}

fn rearrange() -> Vec<Sketch> {
    let map = |map: &[i32], from_len| Rearrange { map: map.into(), dims: vec![map.len()], from_len };
    let mut all = on("permutation", map(&[4, 2, 0, 5, 1, 3], 6), &[&[2, 3]]);
    all.extend(on("selection", map(&[4, 0, 3], 6), &[&[2, 3]]));
    // As importers and the pass collapse make it: right behind the parameter.
    let mut sketch = Sketch::new("of a parameter");
    let (x, parameter) = (sketch.value(true, &[6], &SIGNED), sketch.parameter(&[2, 3], &SIGNED));
    let moved = sketch.add(map(&[4, 2, 0, 5, 1, 3], 6), &[parameter]);
    let y = sketch.call(Func::Mul, &[x, moved]);
    all.push(sketch.loss_of(y));
    all
}

fn contract() -> Vec<Sketch> {
    let mut all = Vec::new();
    for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
        let order = |first, second, swapped: bool| if swapped { [second, first] } else { [first, second] };
        let (a, b) = (order(3, 5, trans_a), order(5, 2, trans_b));
        let lead = |m: [usize; 2]| [4, m[0], m[1]];
        let op = Contract::new(trans_a, trans_b);
        let name = format!("transposed {trans_a} {trans_b}");
        all.extend(on(&name, op.clone(), &[&a, &b]));
        all.extend(on(&name, op.clone(), &[&lead(a), &lead(b)]));
        all.extend(on(&name, op.clone(), &[&lead(a), &b]));
        all.extend(on(&name, op, &[&a, &lead(b)]));
    }
    all.extend(on("row", Contract::new(false, false), &[&[5], &[5, 2]]));
    all.extend(on("row", Contract::new(false, true), &[&[5], &[2, 5]]));
    all.extend(on("column", Contract::new(false, false), &[&[3, 5], &[5]]));
    all.extend(on("inner product", Contract::new(false, false), &[&[5], &[5]]));
    all.extend([vec![5], vec![4, 5]].map(|dims| layer(&dims)));
    all.push(shared_layer());
    all
}

/// A linear layer, whose weight and bias are parameters as they stand.
fn layer(dims: &[usize]) -> Sketch {
    let mut sketch = Sketch::new(format!("layer on {dims:?}"));
    let (x, weight) = (sketch.value(true, dims, &SIGNED), sketch.parameter(&[2, 5], &SIGNED));
    let bias = sketch.parameter(&[2], &SIGNED);
    let y = sketch.add(Contract::new(false, true), &[x, weight]);
    let y = sketch.call(Func::Add, &[y, bias]);
    sketch.loss_of(y)
}

/// A linear layer that is used twice.
fn shared_layer() -> Sketch {
    let mut sketch = Sketch::new("shared layer");
    let (mut x, weight) = (sketch.value(true, &[4, 5], &SIGNED), sketch.parameter(&[5, 5], &SIGNED));
    for _ in 0..2 {
        x = sketch.add(Contract::new(false, true), &[x, weight]);
        x = sketch.call(Func::Tanh, &[x]);
    }
    sketch.loss_of(x)
}

fn geometries() -> [(&'static str, ConvGeometry); 4] {
    let plain = ConvGeometry {
        channels: 2,
        filters: 3,
        groups: 1,
        input: [4, 5],
        output: [2, 4],
        kernel: [3, 2],
        stride: [1, 1],
        dilation: [1, 1],
        pad: [0, 0],
    };
    [
        ("plain", plain),
        ("strided", ConvGeometry { stride: [2, 3], pad: [1, 0], output: [2, 2], ..plain }),
        ("dilated", ConvGeometry { kernel: [2, 2], dilation: [2, 3], pad: [0, 1], output: [2, 4], ..plain }),
        ("grouped", ConvGeometry { channels: 4, filters: 6, groups: 2, ..plain }),
    ]
}

fn image(g: &ConvGeometry) -> [usize; 3] {
    [g.channels, g.input[0], g.input[1]]
}

fn map(g: &ConvGeometry) -> [usize; 3] {
    [g.filters, g.output[0], g.output[1]]
}

fn filters(g: &ConvGeometry) -> [usize; 4] {
    [g.filters, g.channels / g.groups, g.kernel[0], g.kernel[1]]
}

/// An op on batched images and a shared weight, which is in the middle of the graph or a parameter.
fn convolutions(op: impl Fn(ConvGeometry) -> Op, from: impl Fn(&ConvGeometry) -> [usize; 3]) -> Vec<Sketch> {
    let mut all = Vec::new();
    for (name, geometry) in geometries() {
        for direct in EITHER {
            let mut sketch = Sketch::new(format!("{name}, a parameter as its weight: {direct}"));
            let (x, shape) = (sketch.value(true, &from(&geometry), &SIGNED), filters(&geometry));
            let weight = if direct { sketch.parameter(&shape, &SIGNED) } else { sketch.value(false, &shape, &SIGNED) };
            let y = sketch.add(op(geometry), &[x, weight]);
            all.push(sketch.loss_of(y));
        }
    }
    all
}

fn conv() -> Vec<Sketch> {
    convolutions(|geometry| Conv::new(geometry).into(), image)
}

fn conv_input_gradient() -> Vec<Sketch> {
    convolutions(|geometry| ConvInputGradient { geometry }.into(), map)
}

fn pool() -> Vec<Sketch> {
    let plain = PoolGeometry {
        channels: 2,
        input: [4, 5],
        output: [2, 2],
        kernel: [3, 2],
        stride: [1, 3],
        dilation: [1, 1],
        pad: [0, 0],
        pad_end: [0, 0],
    };
    let geometries = [
        ("plain", plain),
        ("overlapping", PoolGeometry { stride: [1, 1], output: [2, 4], ..plain }),
        ("padded", PoolGeometry { stride: [2, 2], pad: [1, 1], pad_end: [1, 0], output: [2, 3], ..plain }),
        ("dilated", PoolGeometry { kernel: [2, 2], dilation: [2, 2], stride: [1, 1], output: [2, 3], ..plain }),
    ];
    let mut all = Vec::new();
    for (name, geometry) in geometries {
        for kind in [PoolKind::Max, PoolKind::AverageInside, PoolKind::AveragePadded] {
            all.extend(on(&format!("{name} {kind:?}"), Pool { kind, geometry }, &[&[2, 4, 5]]));
        }
    }
    all
}

fn softmax() -> Vec<Sketch> {
    let forms = (0..3).flat_map(|axis| EITHER.map(|log| Softmax { axis, log }));
    forms.flat_map(|op| on(&format!("{op:?}"), op, &[&[2, 3, 5]])).collect()
}

fn gather() -> Vec<Sketch> {
    let mut all = Vec::new();
    for batched in EITHER {
        for direct in EITHER {
            for dims in [&[][..], &[4], &[2, 3]] {
                let name = format!("ids {dims:?} batched {batched}, a parameter as its table: {direct}");
                let mut sketch = Sketch::new(name);
                let ids = sketch.ids(batched, dims, -7..7);
                let table =
                    if direct { sketch.parameter(&[7, 3], &SIGNED) } else { sketch.value(false, &[7, 3], &SIGNED) };
                let y = sketch.add(Gather::default(), &[table, ids]);
                all.push(sketch.loss_of(y));
            }
        }
    }
    all.push(tied_table());
    all.push(padded_table(Some(2)).as_if(padded_table(None)));
    all
}

/// A table that rows are taken from and that multiplies them again, as tied embeddings do.
fn tied_table() -> Sketch {
    let mut sketch = Sketch::new("tied");
    let (ids, table) = (sketch.ids(true, &[4], -7..7), sketch.parameter(&[7, 3], &SIGNED));
    let rows = sketch.add(Gather::default(), &[table, ids]);
    let states = sketch.call(Func::Tanh, &[rows]);
    let y = sketch.add(Contract::new(false, true), &[states, table]);
    sketch.loss_of(y)
}

/// A table whose row 2 has no gradient, or a row 2 that is no part of the table.
fn padded_table(padding: Option<usize>) -> Sketch {
    let mut sketch = Sketch::new("with a padding row");
    let (ids, mut table) = (sketch.ids(true, &[5], -4..4), sketch.parameter(&[4, 3], &SIGNED));
    if padding.is_none() {
        let row = |is: bool, other: f32| if is { 1.0 - other } else { other };
        let mask = |other: f32| (0..4).flat_map(|k| [row(k == 2, other); 3]).collect::<Vec<f32>>();
        let [kept, taken] = [1.0, 0.0].map(|other| Data::F32(mask(other).into()));
        let [kept, taken] = [kept, taken].map(|data| sketch.add(Constant { dims: vec![4, 3], data }, &[]));
        let frozen = sketch.add(crate::ops::leaf::Input { name: "frozen".into(), ty: Type::shared([4, 3]) }, &[]);
        let values = sketch.values[&sketch.parameters()[0]].clone();
        sketch.values.insert("frozen".into(), values);
        let rest = sketch.call(Func::Mul, &[table, kept]);
        let row = sketch.call(Func::Mul, &[frozen, taken]);
        table = sketch.call(Func::Add, &[rest, row]);
    }
    let y = sketch.add(Gather { padding }, &[table, ids]);
    sketch.loss_of(y)
}

fn lstm() -> Vec<Sketch> {
    const HIDDEN: usize = 2;
    let mut all = Vec::new();
    for steps in [1, 3] {
        for batched in EITHER {
            for state in [None, Some([true; 2]), Some([false; 2]), Some([true, false])] {
                // A layer that no record has a part in is refused.
                if !batched && state.is_none_or(|state| state == [false; 2]) {
                    continue;
                }
                for cell in EITHER {
                    let name = format!("{steps} steps batched {batched}, states batched {state:?}, cells {cell}");
                    let mut sketch = Sketch::new(name);
                    let pre = sketch.value(batched, &[steps, 4 * HIDDEN], &SIGNED);
                    let weight = sketch.value(false, &[4 * HIDDEN, HIDDEN], &SIGNED);
                    let mut operands = vec![pre, weight];
                    if let Some([h, c]) = state {
                        operands.push(sketch.value(h, &[HIDDEN], &SIGNED));
                        // The first cell state has no derivative.
                        let c = Type { batched: c, ..Type::shared([HIDDEN]) };
                        operands.push(sketch.input("c0", c, &SIGNED));
                    }
                    let tape = sketch.add(Lstm { hidden: HIDDEN, initial: state.is_some() }, &operands);
                    // Cells and states are planes 4 and 5 of the tape.
                    let first = if cell { 4 } else { 5 };
                    let y = sketch.add(Slice { axis: 0, start: first, len: 6 - first }, &[tape]);
                    all.push(sketch.loss_of(y));
                }
            }
        }
    }
    all
}

fn dropout() -> Vec<Sketch> {
    let sketch = |batched: bool| {
        let mut sketch = Sketch::new(format!("batched {batched}"));
        let x = sketch.value(batched, &[2, 7], &SIGNED);
        let keys = sketch.ids(true, &[2], 0..1 << 20);
        let y = sketch.add(Dropout { ratio: 0.4, layer: 3 }, &[x, keys]);
        sketch.loss_of(y)
    };
    EITHER.map(sketch).into()
}

fn detach() -> Vec<Sketch> {
    let sketch = |batched: bool, detached: bool| {
        let mut sketch = Sketch::new(format!("batched {batched}"));
        let x = sketch.value(batched, &[3], &SIGNED);
        let ty = sketch.graph.ty(x).clone();
        let held = if detached {
            sketch.add(Detach {}, &[x])
        } else {
            // What the value is at first, and stays.
            let [factor, parameter] = [0, 1].map(|k| {
                let operand = sketch.graph.operands(x)[k];
                let name = match sketch.graph.op(operand) {
                    Op::Input(input) => &input.name,
                    Op::Parameter(parameter) => &parameter.name,
                    op => panic!("{op:?} is no leaf"),
                };
                sketch.values[name].clone()
            });
            let product = factor.iter().zip(parameter.iter().cycle()).map(|(a, b)| a * b).collect();
            sketch.values.insert("held".into(), product);
            sketch.add(crate::ops::leaf::Input { name: "held".into(), ty }, &[])
        };
        let y = sketch.call(Func::Mul, &[x, held]);
        sketch.loss_of(y)
    };
    EITHER.map(|batched| sketch(batched, true).as_if(sketch(batched, false))).into()
}

fn cross_entropy() -> Vec<Sketch> {
    let mut all = Vec::new();
    for batched in EITHER {
        for tokens in [&[][..], &[4], &[2, 2]] {
            for (log_probabilities, smoothing) in [(false, None), (true, None), (false, Some(0.0)), (false, Some(0.3))]
            {
                let name = format!(
                    "tokens {tokens:?} batched {batched}, log-probabilities {log_probabilities}, weights {smoothing:?}"
                );
                let mut sketch = Sketch::new(name);
                let scores = sketch.value(batched, &[tokens, &[5]].concat(), &SIGNED);
                // Label 0 does not count.
                let mut operands = vec![scores, sketch.ids(true, tokens, 0..5)];
                if smoothing.is_some() {
                    operands.push(sketch.input("weights", Type::shared([5]), &(0.5..2.0)));
                }
                let smoothing = smoothing.unwrap_or(0.0);
                let op = CrossEntropy { ignore_index: 0, log_probabilities, smoothing };
                let y = sketch.add(op, &operands);
                all.push(sketch.loss_of(y));
            }
        }
    }
    all
}

#[test]
fn records_differ() {
    let sketch = &contract()[0];
    assert_eq!(sketch.graph.ids().filter(|&id| matches!(sketch.graph.op(id), Op::Parameter(_))).count(), 2);
    let cotangent = &sketch.values["cotangent"];
    assert_ne!(cotangent[..6], cotangent[6..12]);
    assert_eq!(cotangent.len(), ROWS * 6);
    assert!(!sketch.values.contains_key(host_inputs::WEIGHT));
}
