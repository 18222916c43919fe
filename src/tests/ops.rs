//! Small graphs with each op in their middle.

use super::sketch::{ROWS, SIGNED, Sketch};
use crate::device::cases::custom::{CUBE, SQUARES, Squares};
use crate::device::cases::window;
use crate::graph::{DType, NodeId, Type};
use crate::import::custom::called;
use crate::lower::cells::{Activation, Cell, Direction, Kind};
use crate::lower::host_inputs;
use crate::lower::kernels::{ConvGeometry, PoolKind};
use crate::lower::scalar::{Double, Expr, Func, Step, Value, double};
use crate::ops::contract::Contract;
use crate::ops::conv::{Conv, ConvInputGradient};
use crate::ops::detach::Detach;
use crate::ops::dropout::Dropout;
use crate::ops::embedding::{Gather, Scatter};
use crate::ops::leaf::{Constant, Data, Fill};
use crate::ops::loss::CrossEntropy;
use crate::ops::movement::{Broadcast, Concat, Pad, Rearrange, Reshape, Slice, Transpose};
use crate::ops::pool::Pool;
use crate::ops::random::Uniform;
use crate::ops::recurrence::Recurrence;
use crate::ops::reduce::Sum;
use crate::ops::softmax::Softmax;
use crate::ops::{Op, elementwise::Elementwise};

/// Makes the graphs of an op.
type MakeSketches = fn() -> Vec<Sketch>;

/// Graphs with an op that has a derivative, by its name in the op table.
pub const SKETCHES: &[(&str, MakeSketches)] = &[
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
    ("Scatter", scatter),
    ("Recurrence", recurrence),
    ("Dropout", dropout),
    ("Uniform", uniform),
    ("Detach", detach),
    ("Custom", custom),
    ("CrossEntropy", cross_entropy),
];

/// Ops without a derivative, which the graphs of the others come to have.
pub const UNDERIVABLE: &[&str] = &[
    "SumBatch",
    "Outer",
    "PoolVjp",
    "SoftmaxVjp",
    "RecurrenceVjp",
    "CrossEntropyVjp",
    "SquareNorm",
    "OuterNorm",
    "GhostNorm",
    "TileNorm",
    "SegmentNorm",
    "SegmentCross",
    "LengthBound",
    "ClipFactor",
    "Narrow",
    "Views",
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

fn custom() -> Vec<Sketch> {
    let squares = on("squares", called(&Squares, &SQUARES, &[]), &[&[3], &[2, 3]]);
    let cube = on("cube", called(&Squares, &CUBE, &[0.7]), &[&[2, 3]]);
    [squares, cube].concat()
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

/// Every function of floats to a float, by the table.
fn elementwise() -> Vec<Sketch> {
    let mut all = Vec::new();
    let floats = |func: &&Func| func.result() == DType::F32 && func.operands().contains(&DType::F32);
    for &func in Func::ALL.iter().filter(floats) {
        let at = |x: f64| {
            let point: Vec<Double> = func.operands().iter().map(|&dtype| Double::read(dtype, x)).collect();
            double::apply(func, &point).of::<f64>()
        };
        // The first on which it is defined.
        let range = [SIGNED, 0.5..2.0, 1.25..2.0, 0.1..0.9]
            .into_iter()
            .find(|range| [range.start, 0.0f64.max(range.start), range.end].iter().all(|&x| at(x).is_finite()))
            .unwrap_or(0.1..0.9);
        let shapes: &[[&[usize]; 3]] = &[[&[2, 3], &[2, 3], &[2, 3]], [&[2, 1], &[5], &[2, 5]], [&[], &[3], &[1]]];
        for shape in &shapes[..if func.arity() == 1 { 1 } else { 3 }] {
            for batched in batchings(func.arity()) {
                let mut sketch = Sketch::new(format!("{} {shape:?} batched {batched:?}", func.name()));
                let operand = |(k, dtype): (usize, &DType)| match dtype {
                    DType::F32 => sketch.value(batched[k], shape[k], &range),
                    _ => sketch.integers(*dtype, batched[k], shape[k], 0..2),
                };
                let operands: Vec<NodeId> = func.operands().iter().enumerate().map(operand).collect();
                let y = sketch.call(func, &operands);
                all.push(sketch.loss_of(y));
            }
        }
    }
    // A chain, differentiated as one.
    let steps = [
        Step::Operand(0, DType::F32),
        Step::Call(Func::Tanh, [0; 3]),
        Step::Operand(1, DType::F32),
        Step::Call(Func::Mul, [1, 2, 0]),
        Step::Call(Func::Less, [0, 2, 0]),
        Step::Const(Value::F32(-1.25)),
        Step::Call(Func::Select, [4, 3, 5]),
        Step::Call(Func::Mul, [6, 0, 0]),
    ];
    let expr = Expr::new(steps.to_vec()).expect("a typed chain");
    all.extend(on("chain", Elementwise { expr }, &[&[2, 3], &[3]]));
    all.extend(on("identity", Elementwise { expr: Expr::operand(DType::F32) }, &[&[3]]));
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

/// Convolutions over one, two and three axes.
fn geometries() -> Vec<(&'static str, ConvGeometry)> {
    let plain = window([4, 5], [3, 2], [1, 1], [1, 1], [[0, 0]; 2]);
    let strided = window([4, 5], [3, 2], [2, 3], [1, 1], [[1, 0]; 2]);
    let dilated = window([4, 5], [2, 2], [1, 1], [2, 3], [[0, 1]; 2]);
    let line = window([7], [3], [2], [1], [[1], [0]]);
    let volume = window([3, 2, 4], [2, 2, 3], [2, 1, 1], [1, 1, 1], [[1, 0, 1], [0, 1, 0]]);
    let sparse = window([5, 3, 3], [2, 1, 2], [1, 2, 2], [3, 1, 1], [[0, 0, 1], [1, 0, 0]]);
    let conv = |name, [channels, filters, groups]: [usize; 3], window| {
        (name, ConvGeometry { channels, filters, groups, window })
    };
    vec![
        conv("plain", [2, 3, 1], plain),
        conv("strided", [2, 3, 1], strided),
        conv("dilated", [2, 3, 1], dilated),
        conv("grouped", [4, 6, 2], plain),
        conv("line", [2, 3, 1], line),
        conv("volume", [1, 2, 1], volume),
        conv("sparse volume", [2, 2, 2], sparse),
    ]
}

fn image(g: &ConvGeometry) -> Vec<usize> {
    g.window.dims(g.channels, g.window.input)
}

fn map(g: &ConvGeometry) -> Vec<usize> {
    g.window.dims(g.filters, g.window.output)
}

fn filters(g: &ConvGeometry) -> Vec<usize> {
    [vec![g.filters], g.window.dims(g.channels / g.groups, g.window.kernel)].concat()
}

/// An op on batched images and a shared weight, which is in the middle of the graph or a parameter.
fn convolutions(op: impl Fn(ConvGeometry) -> Op, from: impl Fn(&ConvGeometry) -> Vec<usize>) -> Vec<Sketch> {
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

pub fn conv() -> Vec<Sketch> {
    convolutions(|geometry| Conv::new(geometry).into(), image)
}

pub fn conv_input_gradient() -> Vec<Sketch> {
    convolutions(|geometry| ConvInputGradient { geometry }.into(), map)
}

pub fn pool() -> Vec<Sketch> {
    let windows = [
        ("plain", window([4, 5], [3, 2], [1, 3], [1, 1], [[0, 0]; 2])),
        ("overlapping", window([4, 5], [3, 2], [1, 1], [1, 1], [[0, 0]; 2])),
        ("padded", window([4, 5], [3, 2], [2, 2], [1, 1], [[1, 1], [1, 0]])),
        ("dilated", window([4, 5], [2, 2], [1, 1], [2, 2], [[0, 0]; 2])),
        ("line", window([7], [3], [2], [1], [[1], [1]])),
        ("volume", window([3, 2, 4], [2, 2, 3], [1, 1, 2], [1, 1, 1], [[1, 0, 1], [0, 1, 0]])),
    ];
    let (mut all, channels) = (Vec::new(), 2);
    for (name, window) in windows {
        for kind in [PoolKind::Max, PoolKind::AverageInside, PoolKind::AveragePadded] {
            let dims = window.dims(channels, window.input);
            all.extend(on(&format!("{name} {kind:?}"), Pool { kind, channels, window }, &[&dims]));
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
    for batched in EITHER {
        let mut sketch = Sketch::new(format!("each record's own table, ids batched {batched}"));
        let (ids, table) = (sketch.ids(batched, &[2, 3], -7..7), sketch.value(true, &[7, 3], &SIGNED));
        let y = sketch.add(Gather::default(), &[table, ids]);
        all.push(sketch.loss_of(y));
    }
    all.push(tied_table());
    all.push(padded_table(Some(2)).meaning(padded_table(None)));
    all
}

fn scatter() -> Vec<Sketch> {
    let mut all = Vec::new();
    for batched in batchings(2) {
        for dims in [&[][..], &[4], &[2, 3]] {
            let mut sketch = Sketch::new(format!("ids {dims:?} and rows batched {batched:?}"));
            let ids = sketch.ids(batched[0], dims, 0..7);
            let rows = sketch.value(batched[1], &[dims, &[3]].concat(), &SIGNED);
            let y = sketch.add(Scatter { table: vec![7, 3] }, &[ids, rows]);
            all.push(sketch.loss_of(y));
        }
    }
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

pub fn recurrence() -> Vec<Sketch> {
    const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Reverse];
    let mut all = Vec::new();
    for &kind in Kind::ALL {
        for steps in [1, 3] {
            for batched in EITHER {
                for state in [None, Some([true; 2]), Some([false; 2]), Some([true, false])] {
                    // A layer that no record has a part in is refused.
                    if !batched && state.is_none_or(|state| state == [false; 2]) {
                        continue;
                    }
                    for direction in DIRECTIONS {
                        all.extend(recurrent(kind.into(), direction, steps, batched, state, true));
                        if kind == Kind::Lstm {
                            all.extend(recurrent(kind.into(), direction, steps, batched, state, false));
                        }
                    }
                }
            }
        }
    }
    all.extend(activations());
    all
}

/// Cells with other activations than their own, all of which occur.
fn activations() -> Vec<Sketch> {
    use Activation::*;
    let (affine, scaled) = (Affine { alpha: 0.5, beta: -0.2 }, ScaledTanh { alpha: 1.2, beta: 0.8 });
    let (hard, elu) = (HardSigmoid { alpha: 0.3, beta: 0.4 }, Elu { alpha: 0.7 });
    let (leaky, threshold) = (LeakyRelu { alpha: 0.1 }, ThresholdedRelu { alpha: 0.2 });
    let mut cells = Vec::new();
    for activation in [Relu, Tanh, Sigmoid, affine, leaky, threshold, scaled, hard, elu, Softsign, Softplus] {
        cells.push(Cell { activations: [activation; 3], ..Kind::Rnn.into() });
    }
    // Of sums that no step of the differences takes past a bend.
    let hard = HardSigmoid { alpha: 0.2, beta: 0.5 };
    for &kind in Kind::ALL {
        cells.push(Cell { activations: [hard, elu, Softsign], ..kind.into() });
        cells.push(Cell { activations: [Softplus, scaled, leaky], ..kind.into() });
        cells.push(Cell { clip: Some(0.3), ..kind.into() });
    }
    let sketch = |cell| recurrent(cell, Direction::Forward, 3, true, Some([true; 2]), true);
    cells.into_iter().filter_map(sketch).collect()
}

/// A recurrence whose states but for `h` are batched or shared as `state` says, and after whose steps all states are read
/// or `h` alone; nothing if it has no such states.
fn recurrent(
    cell: Cell,
    direction: Direction,
    steps: usize,
    batched: bool,
    state: Option<[bool; 2]>,
    inner: bool,
) -> Option<Sketch> {
    const HIDDEN: usize = 2;
    let states = cell.states();
    if states == 1 && state.is_some_and(|[h, other]| h != other) {
        return None;
    }
    let name = format!(
        "{steps} {direction:?} {} {} batched {batched}, states batched {state:?}, all {inner}",
        cell.name(),
        cell.attributes()
    );
    let mut sketch = Sketch::new(name);
    let pre = sketch.value(batched, &[steps, cell.columns() * HIDDEN], &SIGNED);
    let weight = sketch.value(false, &[cell.gates() * HIDDEN, HIDDEN], &SIGNED);
    let mut operands = vec![pre, weight];
    for &batched in state.iter().flatten().take(states) {
        operands.push(sketch.value(batched, &[HIDDEN], &SIGNED));
    }
    let op = Recurrence { cell, direction, hidden: HIDDEN, initial: state.is_some() };
    let tape = sketch.add(op, &operands);
    let mut planes: Vec<usize> = (0..states).map(|k| op.plane(k)).collect();
    if !inner {
        planes.drain(..states - 1);
    }
    let planes: Vec<NodeId> =
        planes.into_iter().map(|start| sketch.add(Slice { axis: 0, start, len: 1 }, &[tape])).collect();
    let y = if let [only] = planes[..] { only } else { sketch.add(Concat { axis: 0 }, &planes) };
    Some(sketch.loss_of(y))
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

fn uniform() -> Vec<Sketch> {
    let sketch = |batched: bool| {
        let mut sketch = Sketch::new(format!("batched {batched}"));
        let x = sketch.value(batched, &[2, 7], &SIGNED);
        let keys = sketch.ids(true, &[2], 0..1 << 20);
        let noise = sketch.add(Uniform { dims: vec![2, 7], layer: 5 }, &[keys]);
        let y = sketch.add(Elementwise::call(Func::Mul), &[x, noise]);
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
    EITHER.map(|batched| sketch(batched, true).meaning(sketch(batched, false))).into()
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
