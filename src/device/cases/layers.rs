//! Cases of pooling, softmax, losses, embeddings and recurrences.

use super::Case;
use super::data::{Data, Values, output, weights, window};
use crate::lower::cells::{Activation, Cell, Direction, Kind};
use crate::lower::kernels::*;
use crate::lower::program::Extent;

pub fn cases() -> Vec<Case> {
    let mut all = pool();
    all.extend(softmax());
    all.extend(embeddings());
    all.extend(recurrences());
    all
}

fn pool() -> Vec<Case> {
    let mut all = Vec::new();
    let mut v = Values::new(500);
    let ones = [1, 1];
    // The last window reaches beyond the declared padding (`ceil_mode`).
    let ceil = Window { output: [1, 4, 4], ..window([7, 6], [3, 2], [2, 2], ones, [[1, 1], [0, 0]]) };
    let windows = [
        ("plain", 3, window([7, 6], [2, 2], ones, ones, [[0, 0]; 2])),
        ("one", 1, window(ones, ones, ones, ones, [[0, 0]; 2])),
        ("line", 3, window([17], [3], [3], [1], [[0], [1]])),
        ("padded", 3, window([7, 6], [3, 3], [2, 2], ones, [[1, 1]; 2])),
        ("dilated", 3, window([7, 6], [3, 3], ones, [2, 2], [[0, 0]; 2])),
        ("ceil", 3, ceil),
        ("gaps", 3, window([7, 6], [1, 2], [3, 4], ones, [[0, 0]; 2])),
        ("volume", 2, window([4, 5, 3], [2, 3, 2], [1, 2, 1], [2, 1, 1], [[1, 0, 1], [0, 1, 1]])),
        ("deep", 2, window([9, 1, 2], [3, 1, 1], [2, 1, 1], [1, 1, 1], [[1, 0, 0]; 2])),
    ];
    for (name, channels, window) in windows {
        for kind in [PoolKind::Max, PoolKind::AverageInside, PoolKind::AveragePadded] {
            for (batched, rows) in [(true, 3), (false, 5)] {
                let n = if batched { rows } else { 1 };
                let x_len = n * channels * window.elements();
                let y_len = n * channels * window.positions();
                let name = format!("{kind:?}_{name}_{n}");
                // Few distinct values, so that windows have several largest elements.
                let Data::I32(ties) = v.ids(x_len, 5) else { unreachable!() };
                let x = Data::F32(ties.into_iter().map(|i| i as f32 - 3.0).collect());
                let forward = Pool { batched, kind, channels, window };
                all.push(Case::new(&name, rows, forward, vec![x.clone()], vec![output(y_len)]));
                let dy = v.floats(y_len);
                let read = if kind == PoolKind::Max { vec![x, dy] } else { vec![dy] };
                all.push(Case::new(
                    &name,
                    rows,
                    PoolVjp { batched, kind, channels, window },
                    read,
                    vec![output(x_len)],
                ));
            }
        }
    }
    all
}

fn softmax() -> Vec<Case> {
    let mut all = Vec::new();
    let mut v = Values::new(600);
    for (batched, rows) in [(true, 3), (false, 2)] {
        for (outer, len, inner) in [(1, 1, 1), (1, 10, 1), (5, 67, 1), (2, 3, 7), (3, 129, 5), (67, 2, 1)] {
            for log in [false, true] {
                let shape = SoftmaxRows { batched, log, outer, len, inner };
                let n = outer * len * inner * if batched { rows } else { 1 };
                let name = format!("{}{rows}x{outer}x{len}x{inner}", if log { "log_" } else { "" });
                let x = Data::F32(v.range(n, -30.0, 30.0));
                all.push(Case::new(&name, rows, Softmax(shape), vec![x], vec![output(n)]));
                let y = Data::F32(if log { v.range(n, -5.0, 0.0) } else { v.range(n, 0.0, 1.0) });
                all.push(Case::new(&name, rows, SoftmaxVjp(shape), vec![y, v.floats(n)], vec![output(n)]));
            }
        }
    }
    let sizes = [(1, 1, 1), (5, 1, 10), (3, 7, 2), (2, 33, 131)];
    for ((rows, tokens, classes), log_probabilities) in sizes.into_iter().flat_map(|s| [(s, false), (s, true)]) {
        let shape = Tokens { tokens, classes, ignore: -100, log_probabilities };
        let logits = Data::F32(v.range(rows * tokens * classes, -20.0, 20.0));
        let Data::I32(mut labels) = v.ids(rows * tokens, classes) else { unreachable!() };
        for (i, label) in labels.iter_mut().enumerate() {
            match i % 7 {
                3 => *label = -100,
                5 => *label = classes as i32,
                6 => *label = i32::MIN,
                _ => {}
            }
        }
        if rows > 2 {
            labels[tokens..2 * tokens].fill(-100);
        }
        let name = format!("{rows}x{tokens}x{classes}_{log_probabilities}");
        let n = rows * tokens * classes;
        let (labels, dloss) = (Data::I32(labels), v.floats(rows));
        let read = vec![logits.clone(), labels.clone()];
        all.push(Case::new(&name, rows, CrossEntropy(shape), read, vec![output(rows)]));
        let read = vec![logits.clone(), labels.clone(), dloss.clone()];
        all.push(Case::new(&name, rows, CrossEntropyVjp(shape), read, vec![output(n)]));
        for smoothing in [0.0, 0.1, 1.0] {
            let shape = WeightedTokens { of: shape, smoothing };
            let name = format!("{name}_{smoothing}");
            let weights = Data::F32(v.range(classes, 0.0, 5.0));
            let read = vec![logits.clone(), labels.clone(), weights.clone()];
            all.push(Case::new(&name, rows, WeightedCrossEntropy(shape), read, vec![output(rows)]));
            let read = vec![logits.clone(), labels.clone(), weights, dloss.clone()];
            all.push(Case::new(&name, rows, WeightedCrossEntropyVjp(shape), read, vec![output(n)]));
        }
    }
    all
}

fn embeddings() -> Vec<Case> {
    let mut all = Vec::new();
    let mut v = Values::new(700);
    for (rows, count, width, table_rows) in
        [(1, 1, 1, 1), (5, 7, 3, 4), (3, 33, 65, 17), (2, 130, 5, 301), (67, 1, 8, 11)]
    {
        let name = format!("{rows}x{count}x{width}_of_{table_rows}");
        for (own_table, own_ids) in [(false, true), (false, false), (true, true), (true, false)] {
            let of = |own: bool| if own { rows } else { 1 };
            let (batched, len) = (own_table || own_ids, table_rows * width);
            let (table_record, ids_record) = (if own_table { len } else { 0 }, if own_ids { count } else { 0 });
            let kernel = Gather { batched, table_record, ids_record, count, width, table_rows };
            let read = vec![v.floats(of(own_table) * len), v.signed_ids(of(own_ids) * count, table_rows)];
            let name = format!("{name}_{own_table}_{own_ids}");
            all.push(Case::new(name, rows, kernel, read, vec![output(of(batched) * count * width)]));
        }
        let ids = v.signed_ids(rows * count, table_rows);
        let scatter = |records| Scatter {
            records,
            ids_record: count,
            record: count * width,
            count,
            width,
            table_rows,
            ordered: false,
        };
        let (each, table) = (rows * count * width, table_rows * width);
        let kernel = scatter(Records::Each(Extent::rows(1)));
        let read = vec![ids.clone(), v.floats(each)];
        all.push(Case::new(format!("each_{name}"), rows, kernel, read, vec![output(rows * table)]));
        let kernel = scatter(Records::All(Extent::rows(1)));
        let read = vec![ids.clone(), v.floats(each)];
        all.push(Case::new(format!("all_{name}"), rows, kernel, read, vec![output(table)]));
        let w = weights(rows);
        let read = vec![ids.clone(), v.poisoned(&w, count * width), Data::F32(w)];
        let ordered = Scatter { ordered: true, ..scatter(Records::Weighted(Sums::Floats)) };
        let order_of_ids = Data::I32(order_of(&ids, count, table_rows));
        let all_read = [&read[..], std::slice::from_ref(&order_of_ids)].concat();
        all.push(Case::new(
            format!("weighted_{name}"),
            rows,
            scatter(Records::Weighted(Sums::Floats)),
            read,
            vec![output(table)],
        ));
        all.push(Case::new(format!("ordered_{name}"), rows, ordered, all_read, vec![output(table)]));
        let kernel = Scatter { ids_record: 0, ..scatter(Records::All(Extent::rows(1))) };
        let read = vec![v.signed_ids(count, table_rows), v.floats(each)];
        all.push(Case::new(format!("shared_ids_{name}"), rows, kernel, read, vec![output(table)]));

        let order = Data::I32(vec![-1; rows * count]);
        all.push(Case::new(&name, rows, SortIds { count, table_rows }, vec![ids.clone()], vec![order]));
        let read = vec![ids.clone(), order_of_ids, v.floats(each)];
        all.push(Case::new(&name, rows, SegmentNorm { count, width, table_rows }, read, vec![output(rows)]));

        for steps in [1, 5, 37] {
            let b = View::Strided { record: table_rows * steps, group: 0, row: 1, col: table_rows };
            let a = View::Strided { record: width * steps, group: 0, row: 1, col: width };
            let kernel = SegmentCross { count, width, table_rows, steps, b, a };
            let read =
                vec![ids.clone(), v.floats(each), v.floats(rows * table_rows * steps), v.floats(rows * width * steps)];
            all.push(Case::new(format!("{name}_{steps}"), rows, kernel, read, vec![output(rows)]));
        }
    }
    let signed = Data::I32(vec![3, -1, 3, i32::MIN, i32::MAX, -1, 0, 3, 2, 2, 2, 2, 2, 2]);
    all.push(Case::new("signed", 2, SortIds { count: 7, table_rows: 4 }, vec![signed], vec![Data::I32(vec![-1; 14])]));
    all
}

/// The positions of each record in the order of their rows.
pub(super) fn order_of(ids: &Data, count: usize, table_rows: usize) -> Vec<i32> {
    let Data::I32(ids) = ids else { unreachable!() };
    let order = ids.chunks(count).flat_map(|record| {
        let mut order: Vec<i32> = (0..count as i32).collect();
        order.sort_by_key(|&t| record[t as usize].rem_euclid(table_rows as i32));
        order
    });
    order.collect()
}

fn recurrences() -> Vec<Case> {
    let mut all = Vec::new();
    let mut v = Values::new(800);
    let sizes = [(1, 1, 1), (3, 5, 7), (5, 3, 33), (35, 2, 4), (2, 13, 65)];
    for (size, direction) in sizes.into_iter().flat_map(|s| [Direction::Forward, Direction::Reverse].map(|d| (s, d))) {
        for initial_record in [None, Some(0), Some(size.2)] {
            recurrence(&mut all, &mut v, "", Kind::Lstm.into(), direction, size, initial_record);
        }
    }
    let activations = [
        [Activation::Relu; 3],
        [Activation::HardSigmoid { alpha: 0.3, beta: 0.4 }, Activation::Elu { alpha: 0.7 }, Activation::Softsign],
        [Activation::Softplus, Activation::ScaledTanh { alpha: 1.2, beta: 0.8 }, Activation::LeakyRelu { alpha: 0.1 }],
        [Activation::Affine { alpha: 0.5, beta: -0.2 }, Activation::Tanh, Activation::ThresholdedRelu { alpha: 0.2 }],
    ];
    for &kind in Kind::ALL {
        let plain = Cell::from(kind);
        for (size, initial_record) in [((3, 5, 7), None), ((2, 3, 65), Some(65)), ((33, 2, 4), Some(0))] {
            for direction in [Direction::Forward, Direction::Reverse] {
                recurrence(&mut all, &mut v, "", plain, direction, size, initial_record);
            }
        }
        for (i, activations) in activations.into_iter().enumerate() {
            let cell = Cell { activations, ..plain };
            recurrence(&mut all, &mut v, &format!("_{i}"), cell, Direction::Forward, (3, 4, 5), Some(5));
        }
        let cell = Cell { clip: Some(0.4), ..plain };
        recurrence(&mut all, &mut v, "_clip", cell, Direction::Forward, (3, 4, 5), Some(5));
    }
    all
}

/// The cases of a cell for so many rows, steps and hidden units.
fn recurrence(
    all: &mut Vec<Case>,
    v: &mut Values,
    which: &str,
    cell: Cell,
    direction: Direction,
    (rows, steps, hidden): (usize, usize, usize),
    initial_record: Option<usize>,
) {
    let (initial, record) = (initial_record.is_some(), initial_record.unwrap_or(0));
    let of = Recurrence { cell, direction, steps, hidden, initial, initial_record: record };
    let name = format!("{}{which}_{direction:?}_{rows}x{steps}x{hidden}_{initial_record:?}", cell.name());
    let state = if initial_record == Some(0) { hidden } else { rows * hidden };
    let (weight, tape) = (cell.gates() * hidden * hidden, rows * cell.planes() * steps * hidden);
    let mut read = vec![v.floats(rows * steps * cell.columns() * hidden), v.floats(weight)];
    read.extend((0..cell.states()).filter(|_| initial).map(|_| v.floats(state)));
    all.push(Case::new(&name, rows, of, read, vec![output(tape)]));
    for (inner, before) in [(false, false), (true, false), (false, true), (true, true)] {
        if (inner && cell.states() == 1) || (before && !initial) {
            continue;
        }
        let mut read = vec![Data::F32(v.range(tape, 0.1, 0.9)), v.floats(weight)];
        read.extend(cell.reread().iter().filter(|_| initial).map(|_| v.floats(state)));
        read.extend((0..if inner { cell.states() } else { 1 }).map(|_| v.floats(rows * steps * hidden)));
        let kernel = RecurrenceVjp { of, inner, before };
        let len = rows * kernel.rows() * cell.columns() * hidden;
        all.push(Case::new(format!("{name}_{inner}_{before}"), rows, kernel, read, vec![output(len)]));
    }
}
