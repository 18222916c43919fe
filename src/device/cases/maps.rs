//! Cases of the kernels that map, copy and add elements, and of the update.

use super::Case;
use super::data::{Data, Values, output, untouched, weights};
use crate::graph::{DType, strides};
use crate::lower::kernels::*;
use crate::lower::program::Extent;
use crate::lower::scalar::{Double, Expr, Func, Step, Value, double};
use crate::privacy::clipping::ClipFunction;

pub fn cases() -> Vec<Case> {
    let mut all = elementwise();
    all.extend(reduce());
    all.extend(moves());
    all.extend(halves());
    all.extend(update());
    all
}

fn broadcast(dims: &[usize], batched: bool) -> Broadcast {
    Broadcast { record: if batched { dims.iter().product() } else { 0 }, strides: strides(dims) }
}

/// The operands of a function at all combinations of values where something changes: of ordinary, of large and of infinite
/// floats, integers that overflow, and both booleans.
fn edges(func: Func) -> Vec<(&'static str, Vec<Data>)> {
    const FLOATS: [(&str, &[f32]); 4] = [
        ("ordinary", &[0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 3.75, -2.5, 1e-3, -20.25]),
        ("large", &[88.8, -88.8, 104.5, 1e30, -1e30, 3e38, 2_147_483_648.0, -2_147_483_904.0, 2_147_483_520.0]),
        ("infinite", &[f32::INFINITY, f32::NEG_INFINITY, 0.0, 1.0, -2.5]),
        ("nan", &[f32::NAN, f32::INFINITY, 1.0]),
    ];
    const INTEGERS: &[i32] = &[0, 1, -1, 2, -3, 7, -8, 1_000_003, i32::MAX, i32::MIN];
    let floats = if func.operands().contains(&DType::F32) { &FLOATS[..] } else { &FLOATS[..1] };
    let of_kind = |&(name, floats): &(&'static str, &[f32])| {
        let sizes: Vec<usize> = func
            .operands()
            .iter()
            .map(|dtype| match dtype {
                DType::F32 => floats.len(),
                DType::I32 => INTEGERS.len(),
                DType::Bool => 2,
            })
            .collect();
        let all: usize = sizes.iter().product();
        let order = strides(&sizes);
        let operand = |(k, dtype): (usize, &DType)| {
            let at = (0..all).map(|i| i / order[k] % sizes[k]);
            match dtype {
                DType::F32 => Data::F32(at.map(|i| floats[i]).collect()),
                DType::I32 => Data::I32(at.map(|i| INTEGERS[i]).collect()),
                DType::Bool => Data::Bool(at.map(|i| i as i32).collect()),
            }
        };
        (name, func.operands().iter().enumerate().map(operand).collect())
    };
    floats.iter().map(of_kind).collect()
}

/// Whether a function is finite on some of its operands. Where it turns around is left out for large ones: no shader can
/// tell how far they have turned.
fn defined(func: Func, read: &[Data]) -> bool {
    let turns = matches!(func, Func::Sin | Func::Cos | Func::Tan);
    let at = |i: usize| -> Vec<Double> { read.iter().map(|data| scalar(data, i)).collect() };
    let large = |x: &Double| matches!(x, Double::F64(x) if x.is_finite() && x.abs() > 1e4);
    (0..read[0].elements()).any(|i| double::apply(func, &at(i)).in_single_range().is_finite())
        && !(turns && (0..read[0].elements()).any(|i| at(i).iter().any(large)))
}

fn scalar(data: &Data, i: usize) -> Double {
    match data {
        Data::F32(floats) => Double::F64(floats[i].into()),
        Data::I32(integers) => Double::I32(integers[i]),
        Data::Bool(booleans) => Double::Bool(booleans[i] != 0),
    }
}

/// The operands of a function, all brought into its domain in the first way that makes it finite on the first of them.
fn within(func: Func, read: Vec<Data>) -> Vec<Data> {
    const WAYS: [fn(f32) -> f32; 4] = [|x| x, f32::abs, |x| 1.0 + x.abs(), |x| x / (1.0 + x.abs())];
    let brought = |way: fn(f32) -> f32| -> Vec<Data> {
        let of = |data: &Data| match data {
            Data::F32(floats) => Data::F32(floats.iter().map(|&x| way(x)).collect()),
            other => other.clone(),
        };
        read.iter().map(of).collect()
    };
    let finite = |read: &Vec<Data>| {
        let first: Vec<Double> = read.iter().map(|data| scalar(data, 0)).collect();
        double::apply(func, &first).in_single_range().is_finite()
    };
    WAYS.iter().map(|&way| brought(way)).find(finite).unwrap_or(read)
}

fn elementwise() -> Vec<Case> {
    let mut all = Vec::new();
    for (i, &func) in Func::ALL.iter().enumerate() {
        for (rows, len) in [(1, 1), (3, 7), (2, 1031)] {
            let mut v = Values::new(i as u64);
            let operands = vec![broadcast(&[len], true); func.arity()];
            let read = func.operands().iter().map(|&dtype| v.scalars(dtype, rows * len)).collect();
            let read = within(func, read);
            let kernel = Elementwise { batched: true, dims: vec![len], operands, expr: Expr::call(func) };
            let written = untouched(func.result(), rows * len);
            all.push(Case::new(format!("{}_{rows}x{len}", func.name()), rows, kernel, read, vec![written]));
        }
        for (name, read) in edges(func).into_iter().filter(|(_, read)| defined(func, read)) {
            let len = read[0].elements();
            let operands = vec![broadcast(&[len], false); read.len()];
            let kernel = Elementwise { batched: false, dims: vec![len], operands, expr: Expr::call(func) };
            let written = untouched(func.result(), len);
            all.push(Case::new(format!("{}_{name}", func.name()), 1, kernel, read, vec![written]));
        }
    }
    let mut v = Values::new(100);
    // A residual chain with a scalar, a bias along the middle axis, a transposed operand and a shared full one.
    let chain = Expr::new(vec![
        Step::Operand(0, DType::F32),
        Step::Operand(1, DType::F32),
        Step::Call(Func::Mul, [0, 1, 0]),
        Step::Operand(2, DType::F32),
        Step::Call(Func::Add, [2, 3, 0]),
        Step::Const(Value::F32(0.5)),
        Step::Call(Func::Mul, [4, 5, 0]),
        Step::Operand(3, DType::F32),
        Step::Operand(4, DType::F32),
        Step::Call(Func::Sub, [7, 8, 0]),
        Step::Call(Func::Tanh, [6, 6, 6]),
        Step::Call(Func::Add, [9, 10, 0]),
    ])
    .unwrap();
    for (rows, [a, b, c]) in [(1, [1, 1, 1]), (2, [2, 3, 5]), (3, [7, 33, 11]), (2, [1, 257, 9])] {
        let dims = vec![a, b, c];
        let len = a * b * c;
        let operands = vec![
            broadcast(&dims, true),
            Broadcast { record: 0, strides: vec![0, 0, 0] },
            Broadcast { record: 0, strides: vec![0, 1, 0] },
            Broadcast { record: len, strides: vec![1, a, a * b] },
            broadcast(&dims, false),
        ];
        let read = [rows * len, 1, b, rows * len, len].map(|n| v.floats(n)).to_vec();
        let kernel = Elementwise { batched: true, dims, operands, expr: chain.clone() };
        all.push(Case::new(format!("chain_{rows}x{a}x{b}x{c}"), rows, kernel, read, vec![output(rows * len)]));
    }
    for (name, expr) in [("scale", Expr::scale(-1.5)), ("identity", Expr::operand(DType::F32))] {
        let kernel = Elementwise { batched: false, dims: vec![13], operands: vec![broadcast(&[13], false)], expr };
        all.push(Case::new(format!("{name}_shared"), 4, kernel, vec![v.floats(13)], vec![output(13)]));
    }
    let scalars = Broadcast { record: 1, strides: vec![0] };
    let kernel = Elementwise {
        batched: true,
        dims: vec![37],
        operands: vec![scalars, broadcast(&[37], true)],
        expr: Expr::call(Func::Mul),
    };
    all.push(Case::new("scalar_per_record", 5, kernel, vec![v.floats(5), v.floats(185)], vec![output(185)]));
    let one = Elementwise {
        batched: true,
        dims: vec![],
        operands: vec![broadcast(&[], true); 2],
        expr: Expr::call(Func::Add),
    };
    all.push(Case::new("no_dims", 67, one, vec![v.floats(67), v.floats(67)], vec![output(67)]));
    let constant =
        Elementwise { batched: true, dims: vec![3], operands: vec![], expr: Expr::constant(Value::F32(2.5)) };
    all.push(Case::new("constant", 3, constant, vec![], vec![output(9)]));
    all
}

fn walk(size: usize, stride: usize) -> Walk {
    Walk { size, stride }
}

fn reduce() -> Vec<Case> {
    let mut all = Vec::new();
    let mut v = Values::new(200);
    // Axes of `[2, 3, 5]`-like records kept and reduced in every order, then long ones.
    let mut shapes: Vec<(&str, usize, Vec<Walk>, Vec<Walk>)> = Vec::new();
    for [a, b, c] in [[2, 3, 5], [1, 1, 1], [3, 67, 4], [5, 4, 131]] {
        let len = a * b * c;
        let (wa, wb, wc) = (walk(a, b * c), walk(b, c), walk(c, 1));
        let more = [
            ("all", vec![], vec![walk(len, 1)]),
            ("none", vec![walk(len, 1)], vec![]),
            ("last", vec![walk(a * b, c)], vec![wc]),
            ("first", vec![walk(b * c, 1)], vec![wa]),
            ("middle", vec![wa, wc], vec![wb]),
            ("ends", vec![wb], vec![wa, wc]),
            ("swapped", vec![wc, wa], vec![wb]),
        ];
        shapes.extend(more.map(|(name, k, r)| (name, len, k, r)));
    }
    shapes.push(("long", 5003, vec![], vec![walk(5003, 1)]));
    shapes.push(("wide", 5003, vec![walk(5003, 1)], vec![]));
    shapes.push(("strided", 1200, vec![walk(7, 3)], vec![walk(50, 24)]));
    for (name, record, kept, reduced) in shapes {
        for (i, rows) in [1, 5, 67].into_iter().enumerate() {
            if rows * record > 80_000 {
                continue;
            }
            let kinds = [
                ("each", Records::Each(Extent::rows(1))),
                ("all", Records::All(Extent::rows(1))),
                ("weighted", Records::Weighted(Sums::Floats)),
            ];
            for (j, (kind, records)) in kinds.into_iter().enumerate() {
                let square = (i + j) % 2 == 0;
                let kernel = Reduce { records, record, kept: kept.clone(), reduced: reduced.clone(), square };
                let (len, terms) = (kernel.elements(), kernel.terms());
                let (read, out) = match records {
                    Records::Each(_) => (vec![v.floats(rows * record)], rows * len),
                    Records::All(_) => (vec![v.floats(rows * record)], len),
                    Records::Weighted(_) => {
                        let w = weights(rows);
                        (vec![v.poisoned(&w, record), Data::F32(w)], len)
                    }
                };
                let name = format!("{kind}_{name}_{rows}x{len}x{terms}{}", if square { "_squares" } else { "" });
                all.push(Case::new(name, rows, kernel, read, vec![output(out)]));
            }
        }
    }
    let fixed = [("each", Records::Each(Extent::fixed(3)), 12), ("all", Records::All(Extent::fixed(3)), 4)];
    for (kind, records, out) in fixed {
        let kernel = Reduce { records, record: 20, kept: vec![walk(4, 5)], reduced: vec![walk(5, 1)], square: false };
        all.push(Case::new(format!("{kind}_not_rows"), 5, kernel, vec![v.floats(60)], vec![output(out)]));
    }
    all
}

fn moves() -> Vec<Case> {
    let mut all = Vec::new();
    let mut v = Values::new(300);
    for len in [1, 1025] {
        all.push(Case::new(len.to_string(), 3, Accumulate { len }, vec![v.floats(len)], vec![v.floats(len)]));
    }
    for (len, n) in [(Extent::fixed(5), 5), (Extent { per_row: 1, fixed: 4 }, 9), (Extent::rows(601), 3005)] {
        all.push(Case::new(format!("{n}"), 5, Fill { len, value: 0.25 }, vec![], vec![output(n)]));
    }
    // Every element is moved as a word, so NaN payloads and integers survive.
    let words = |n: usize| Data::I32((0..n as i32).map(|i| i.wrapping_mul(0x0123_4567) ^ 0x7fc0_0000).collect());
    let blank = |n: usize| untouched(DType::I32, n);
    let axis = |size, from, to| CopyAxis { size, from, to };
    let copies = [
        ("whole", 7, 7, 0, 0, vec![axis(7, 1, 1)]),
        ("transpose", 35, 35, 0, 0, vec![axis(7, 1, 5), axis(5, 7, 1)]),
        ("slice", 20, 6, 3, 0, vec![axis(2, 10, 3), axis(3, 2, 1)]),
        ("concat", 6, 20, 0, 4, vec![axis(2, 3, 10), axis(3, 1, 1)]),
        ("broadcast", 3, 12, 0, 0, vec![axis(4, 0, 3), axis(3, 1, 1)]),
        ("spread", 2, 12, 0, 0, vec![axis(2, 1, 6), axis(6, 0, 1)]),
        ("from_shared", 0, 5, 1, 0, vec![axis(5, 1, 1)]),
        ("scalar", 1, 1, 0, 0, vec![]),
        ("six_axes", 64, 64, 0, 0, (0..6).map(|i| axis(2, 1 << i, 32 >> i)).collect()),
        ("wide", 1200, 1200, 0, 0, vec![axis(30, 1, 40), axis(40, 30, 1)]),
    ];
    for (name, from_record, to_record, from_offset, to_offset, axes) in copies {
        for (batched, rows) in [(true, 1), (true, 5), (false, 3)] {
            let n = if batched { rows } else { 1 };
            let kernel = Copy { batched, from_record, to_record, from_offset, to_offset, axes: axes.clone() };
            let (from, to) = (words((from_record * n).max(6)), blank(to_record * n));
            all.push(Case::new(format!("{name}_{n}_of_{rows}"), rows, kernel, vec![from], vec![to]));
        }
    }
    let interleave =
        Copy { batched: true, from_record: 3, to_record: 1, from_offset: 0, to_offset: 0, axes: vec![axis(3, 1, 5)] };
    all.push(Case::new("interleaved_records", 5, interleave, vec![words(15)], vec![blank(15)]));
    for (batched, rows, from_len, len) in [(true, 5, 11, 7), (true, 1, 3, 301), (false, 4, 9, 9)] {
        let n = if batched { rows } else { 1 };
        let kernel = Rearrange { batched, from_len, len };
        let read = vec![v.floats(n * from_len), v.ids(len, from_len)];
        all.push(Case::new(format!("{n}x{len}_from_{from_len}"), rows, kernel, read, vec![output(n * len)]));
    }
    all
}

/// Numbers of every size that 16 bits have, below and above, and the words that they are kept in.
fn halves() -> Vec<Case> {
    let mut v = Values::new(350);
    let mut all = Vec::new();
    for (half, exponent) in [(Half::F16, 0), (Half::F16, 10), (Half::Bf16, 0), (Half::Bf16, -3)] {
        for (rows, len) in [(1, 1), (5, 37), (3, 1026)] {
            let packing = Packing { half, exponent, len };
            let words = packing.words() * rows;
            let sizes = v.range(rows * len, -30.0, 18.0);
            let numbers = v.range(rows * len, -1.0, 1.0).into_iter().zip(sizes).map(|(x, size)| x * size.exp2());
            let numbers = numbers.map(|x| (x * 4096.0).round() / 4096.0 + x / 64.0).collect();
            let written = untouched(DType::I32, words);
            let name = format!("{half}_{exponent}_{rows}x{len}");
            all.push(Case::new(&name, rows, Narrow(packing), vec![Data::F32(numbers)], vec![written]));
            let word = |(low, high): (f32, f32)| {
                // Neither infinite nor NaN, which the edges below are.
                let finite = |x: f32| (x * 31_000.0) as i32 & 0x7bff | if x < 0.0 { 0x8000 } else { 0 };
                finite(low) | finite(high) << 16
            };
            let (low, high) = (v.range(words, -1.0, 1.0), v.range(words, -1.0, 1.0));
            let read = Data::I32(low.into_iter().zip(high).map(word).collect());
            all.push(Case::new(name, rows, Widen(packing), vec![read], vec![output(rows * len)]));
        }
        let edges = vec![
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            65_504.0,
            65_519.996,
            -65_520.0,
            3e38,
            -0.0,
            6e-8,
            2.9802322e-8,
            2.9802326e-8,
            -6.1e-5,
            1.0 + 2.0_f32.powi(-11),
            1.0 + 3.0 * 2.0_f32.powi(-11),
            1.0 + 2.0_f32.powi(-8),
            1.0 + 3.0 * 2.0_f32.powi(-8),
        ];
        let packing = Packing { half, exponent: 0, len: edges.len() };
        let written = untouched(DType::I32, packing.words());
        let name = format!("{half}_{exponent}_edges");
        all.push(Case::new(&name, 1, Narrow(packing), vec![Data::F32(edges)], vec![written]));
        let words = [0x7c00_7e00, 0x7f80_fc00, 0x7fc0_ff80, 0x0001_8001, 0x3c00_7bff].map(|word: u32| word as i32);
        let packing = Packing { half, exponent: 0, len: 10 };
        all.push(Case::new(name, 1, Widen(packing), vec![Data::I32(words.into())], vec![output(10)]));
    }
    all
}

fn update() -> Vec<Case> {
    let mut all = Vec::new();
    let mut v = Values::new(400);
    for (rows, len, ratio, layer) in [(1, 1, 0.5, 0), (5, 37, 0.1, 3), (3, 1025, 0.75, 1), (2, 9, 0.0, 7)] {
        let keys = Data::I32((0..2 * rows as i32).map(|i| i.wrapping_mul(0x1234_5677) - 77).collect());
        let read = vec![v.floats(rows * len), keys];
        let kernel = Dropout { len, ratio, layer };
        all.push(Case::new(format!("{rows}x{len}_{ratio}"), rows, kernel, read, vec![output(rows * len)]));
    }
    for (rows, len, layer) in [(1, 1, 0), (5, 37, 3), (3, 1025, 1)] {
        let keys = Data::I32((0..2 * rows as i32).map(|i| i.wrapping_mul(0x1234_5677) - 77).collect());
        all.push(Case::new(
            format!("{rows}x{len}"),
            rows,
            Uniform { len, layer },
            vec![keys],
            vec![output(rows * len)],
        ));
    }
    all.extend(clip_factors());
    all.extend(folds());
    all.extend(nonfinite());
    let hyper = || Data::F32(vec![1.0 / 300.0, 0.05, 0.271, 0.0297]);
    for len in [1, 1027] {
        let read = vec![v.floats(len), v.floats(len), hyper()];
        all.push(Case::new(format!("{len}"), 3, AddNoise { len }, read, vec![output(len)]));
        for (momentum, nesterov, weight_decay) in
            [(0.0, false, 0.0), (0.0, false, 0.1), (0.9, false, 0.01), (0.9, true, 0.0)]
        {
            let kernel = Sgd { len, momentum, nesterov, weight_decay };
            let written: Vec<Data> = (0..Kernel::from(kernel.clone()).writes()).map(|_| v.floats(len)).collect();
            let name = format!("{len}_momentum_{momentum}_{nesterov}_decay_{weight_decay}");
            all.push(Case::new(name, 3, kernel, vec![v.floats(len), hyper()], written));
        }
        for (weight_decay, decoupled) in [(0.0, false), (0.1, false), (0.1, true)] {
            let kernel = Adam { len, betas: [0.9, 0.999], eps: 1e-3, weight_decay, decoupled };
            let written = vec![v.floats(len), v.floats(len), Data::F32(v.range(len, 0.0, 1.0))];
            let name = format!("{len}_decay_{weight_decay}_{decoupled}");
            all.push(Case::new(name, 3, kernel, vec![v.floats(len), hyper()], written));
        }
    }
    all
}

fn clip_factors() -> Vec<Case> {
    let mut all = Vec::new();
    let mut v = Values::new(401);
    let functions = [("threshold", ClipFunction::Threshold), ("auto", ClipFunction::Automatic { gamma: 0.01 })];
    for (name, function) in functions {
        for (rows, group, groups) in [(1, 0, 1), (5, 0, 1), (67, 2, 3)] {
            let bounds = [&vec![9.0; group], &[0.75][..], &vec![9.0; groups - group - 1]].concat();
            for (errors, grid) in [(0, false), (2, false), (3, false), (0, true), (3, true)] {
                let mut numbers = |most: f32| Data::F32(v.range(rows, 0.0, most));
                let [sq, square_error, norm_error, row_error] = [2.0, 0.5, 0.25, 1e-3].map(&mut numbers);
                let read =
                    vec![sq, square_error, norm_error, row_error, Data::F32(weights(rows)), Data::F32(bounds.clone())];
                let additions = 1000 * rows;
                let kernel = ClipFactor { records: Extent::rows(1), function, group, groups, errors, additions, grid };
                let written = vec![output(rows), output(rows * groups)];
                let name = format!("{name}_{rows}_{group}_of_{groups}_{errors}{}", if grid { "_grid" } else { "" });
                all.push(Case::new(name, rows, kernel, read, written));
            }
        }
        let squares = vec![
            f32::NAN,
            f32::INFINITY,
            -1e-3,
            0.0,
            f32::NEG_INFINITY,
            4.0,
            f32::NAN,
            1e-42,
            f32::MAX,
            -f32::NAN,
            -0.0,
        ];
        let weights = vec![1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.0, 1.0, 1.0, 1.0, 1.0];
        for bound in [1e-12, 1.0, 1e30] {
            for (errors, number) in [(0, 0.5), (2, 0.0), (2, 0.5), (3, 0.5), (3, f32::NAN), (3, f32::INFINITY)] {
                let records = Extent::rows(1);
                let kernel = ClipFactor { records, function, group: 0, groups: 1, errors, additions: 0, grid: false };
                for numbers in [[number, 0.25, 0.25], [0.25, number, 0.25], [0.25, 0.25, number]] {
                    let [square_error, norm_error, row_error] = numbers.map(|number| Data::F32(vec![number; 11]));
                    let sq = Data::F32(squares.clone());
                    let read = vec![
                        sq,
                        square_error,
                        norm_error,
                        row_error,
                        Data::F32(weights.clone()),
                        Data::F32(vec![bound]),
                    ];
                    let name = format!("{name}_not_finite_{bound:e}_{errors}_{number}");
                    all.push(Case::new(name, 11, kernel.clone(), read, vec![output(11), output(11)]).only(0));
                }
            }
        }
        let records = Extent::fixed(1);
        let kernel = ClipFactor { records, function, group: 0, groups: 1, errors: 0, additions: 0, grid: false };
        let read = [4.0, 0.0, 0.0, 0.0, 1.0, 1.0].map(|number| Data::F32(vec![number])).to_vec();
        all.push(Case::new(format!("{name}_one_of_7_rows"), 7, kernel, read, vec![output(1), output(1)]));
    }
    all
}

fn folds() -> Vec<Case> {
    let mut v = Values::new(402);
    let mut all = Vec::new();
    for (len, factor) in [(1, 0.5), (1027, 0.3), (65, 0.0)] {
        let written = vec![v.floats(len), v.floats(len)];
        all.push(Case::new(
            format!("{len}_{factor}"),
            3,
            Fold { len, grid: false },
            vec![Data::F32(vec![factor])],
            written,
        ));
    }
    let sum = Data::F32(vec![f32::NAN, f32::INFINITY, 1.0]);
    let written = vec![v.floats(3), sum];
    all.push(Case::new("not_finite", 3, Fold { len: 3, grid: false }, vec![Data::F32(vec![0.0])], written));
    all
}

/// Numbers that are not finite first, last, alone and nowhere, and the largest and smallest that are.
fn nonfinite() -> Vec<Case> {
    let mut v = Values::new(403);
    let mut all = Vec::new();
    let signaling = f32::from_bits(0x7f80_0001);
    for (len, buffers) in [(1, 1), (1027, 2), (65, 3)] {
        let ends = [(0, f32::NAN), (len - 1, f32::INFINITY), (len / 2, -f32::NAN), (len / 3, f32::NEG_INFINITY)];
        let finite = [(0, f32::MAX), (len - 1, f32::MIN), (len / 2, 1e-42), (len / 2, -0.0)];
        for (at, number) in [&ends[..], &finite, &[(len - 1, signaling)]].concat() {
            for k in 0..buffers {
                let mut read: Vec<Vec<f32>> = (0..buffers).map(|_| v.range(len, -4.0, 4.0)).collect();
                read[k][at] = number;
                let read = read.into_iter().map(Data::F32).collect();
                let flags = Data::I32(vec![5, 4, 0, 7]);
                let name = format!("{len}_{buffers}_{k}_at_{at}_{number:e}");
                all.push(Case::new(name, 3, Nonfinite { len, buffers, at: 1 + k }, read, vec![flags]));
            }
        }
    }
    all
}
