//! What the contracts say, worked out element by element in double precision.

pub(super) mod halves;
mod layers;
mod products;

use std::collections::BTreeMap;

use layers::{labels, lines, log_softmax, recurrence, recurrence_vjp, weighted_shares, windows};
use products::{gemm, ghost_norm, outer_sum, read, tile_norm};

use super::{Case, Data};
use crate::lower::hyper;
use crate::lower::kernels::*;
use crate::lower::program::BufferId;
use crate::lower::scalar::{Double, Expr, Func, Step, double};
use crate::privacy::clipping::ClipFunction;

/// The contents of a buffer; integers are exact.
pub type Floats = Vec<f64>;

/// The contents of every buffer of a case after its dispatch.
pub fn reference(case: &Case) -> BTreeMap<BufferId, Floats> {
    let mut x: Vec<Floats> = case
        .inputs
        .iter()
        .map(|(id, words)| Data::from_words(case.program.buffer(*id).dtype, words.clone()).f64())
        .collect();
    let writes = case.kernel().writes();
    let y = x.split_off(x.len() - writes);
    let y = kernel(case.kernel(), case.rows, &x, y);
    let all = x.into_iter().chain(y);
    case.inputs.iter().map(|(id, _)| *id).zip(all).collect()
}

/// What the written buffers hold after a kernel, from what the read ones hold and what the written ones held before.
pub fn kernel(kernel: &Kernel, rows: usize, x: &[Floats], mut y: Vec<Floats>) -> Vec<Floats> {
    let n_of = |batched: bool| if batched { rows } else { 1 };
    match kernel {
        Kernel::Elementwise(k) => elementwise(k, n_of(k.batched), x, &mut y[0]),
        Kernel::Reduce(k) => reduce(k, rows, x, &mut y[0]),
        Kernel::Custom(k) => super::custom::reference(k, rows, x, &mut y[0]),
        Kernel::Accumulate(k) => (0..k.len).for_each(|i| y[0][i] += x[0][i]),
        Kernel::Copy(k) => {
            let sizes: Vec<usize> = k.axes.iter().map(|a| a.size).collect();
            for n in 0..n_of(k.batched) {
                for i in indices(&sizes) {
                    let at = |s: fn(&CopyAxis) -> usize| k.axes.iter().zip(&i).map(|(a, i)| s(a) * i).sum::<usize>();
                    y[0][n * k.to_record + k.to_offset + at(|a| a.to)] =
                        x[0][n * k.from_record + k.from_offset + at(|a| a.from)];
                }
            }
        }
        Kernel::Rearrange(k) => {
            for n in 0..n_of(k.batched) {
                (0..k.len).for_each(|i| y[0][n * k.len + i] = x[0][n * k.from_len + x[1][i] as usize]);
            }
        }
        Kernel::Fill(k) => y[0][..k.len.at(rows)].fill(k.value.into()),
        Kernel::Gemm(k) => gemm(k, rows, x, &mut y[0]),
        Kernel::OuterSum(k) => {
            let mut read = x.to_vec();
            for (read, packing) in read.iter_mut().zip(k.packed) {
                let Some(packing) = packing else { continue };
                let mut floats = vec![0.0; rows * packing.len];
                halves::widen(&packing, rows, read, &mut floats);
                *read = floats;
            }
            outer_sum(k, rows, &read, &mut y[0]);
        }
        Kernel::OuterNorm(k) => {
            for (n, y) in y[0].iter_mut().enumerate() {
                let square = |v: &View, x: &[f64], g, len| {
                    let terms = indices(&[len, k.steps]).map(|i| read(v, x, n, g, i[0], i[1]).powi(2));
                    terms.sum::<f64>() + (len * k.steps) as f64 * f64::from(OuterNorm::UNDERFLOW)
                };
                *y = (0..k.groups).map(|g| square(&k.a, &x[0], g, k.rows) * square(&k.b, &x[1], g, k.cols)).sum();
            }
        }
        Kernel::TileNorm(k) => tile_norm(k, rows, x, &mut y[0]),
        Kernel::GhostNorm(k) => ghost_norm(k, rows, x, &mut y[0]),
        Kernel::Pool(k) => {
            for (w, window) in windows(k.channels, &k.window, n_of(k.batched)).into_iter().enumerate() {
                let values = window.inside.iter().map(|&i| x[0][i]);
                y[0][w] = match k.kind {
                    PoolKind::Max => values.fold(f64::NEG_INFINITY, f64::max),
                    PoolKind::AverageInside => values.sum::<f64>() / window.inside.len() as f64,
                    PoolKind::AveragePadded => values.sum::<f64>() / window.padded as f64,
                };
            }
        }
        Kernel::PoolVjp(k) => {
            y[0].fill(0.0);
            for (w, window) in windows(k.channels, &k.window, n_of(k.batched)).into_iter().enumerate() {
                let dy = x[x.len() - 1][w];
                match k.kind {
                    PoolKind::Max => {
                        let largest = window.inside.iter().map(|&i| x[0][i]).fold(f64::NEG_INFINITY, f64::max);
                        let first = window.inside.iter().find(|&&i| x[0][i] == largest);
                        first.into_iter().for_each(|&i| y[0][i] += dy);
                    }
                    PoolKind::AverageInside => {
                        window.inside.iter().for_each(|&i| y[0][i] += dy / window.inside.len() as f64)
                    }
                    PoolKind::AveragePadded => window.inside.iter().for_each(|&i| y[0][i] += dy / window.padded as f64),
                }
            }
        }
        Kernel::Softmax(k) => {
            for row in lines(&k.0, rows) {
                let sum: f64 = row.iter().map(|&i| x[0][i].exp()).sum();
                row.iter().for_each(|&i| y[0][i] = if k.0.log { x[0][i] - sum.ln() } else { x[0][i].exp() / sum });
            }
        }
        Kernel::SoftmaxVjp(k) => {
            for row in lines(&k.0, rows) {
                let dot: f64 = row.iter().map(|&i| if k.0.log { x[1][i] } else { x[0][i] * x[1][i] }).sum();
                for &i in &row {
                    y[0][i] = if k.0.log { x[1][i] - x[0][i].exp() * dot } else { x[0][i] * (x[1][i] - dot) };
                }
            }
        }
        Kernel::CrossEntropy(CrossEntropy(k)) => {
            for (n, y) in y[0].iter_mut().enumerate() {
                let losses: Floats =
                    labels(k, n, &x[1]).map(|(t, label)| -log_softmax(k, n, t, &x[0])[label][0]).collect();
                *y = if losses.is_empty() { 0.0 } else { losses.iter().sum::<f64>() / losses.len() as f64 };
            }
        }
        Kernel::CrossEntropyVjp(CrossEntropyVjp(k)) => {
            y[0].fill(0.0);
            for n in 0..rows {
                let count = labels(k, n, &x[1]).count() as f64;
                for (t, label) in labels(k, n, &x[1]) {
                    for (class, [_, softmax]) in log_softmax(k, n, t, &x[0]).into_iter().enumerate() {
                        let target = f64::from(u8::from(class == label));
                        y[0][(n * k.tokens + t) * k.classes + class] = x[2][n] * (softmax - target) / count;
                    }
                }
            }
        }
        Kernel::WeightedCrossEntropy(WeightedCrossEntropy(k)) => {
            for (n, y) in y[0].iter_mut().enumerate() {
                let of_token = |(t, label)| -> f64 {
                    let shares = weighted_shares(k, &x[2], label).into_iter();
                    shares
                        .zip(log_softmax(&k.of, n, t, &x[0]))
                        .map(|(q, [log, _])| if q == 0.0 { 0.0 } else { -q * log })
                        .sum()
                };
                let losses: Floats = labels(&k.of, n, &x[1]).map(of_token).collect();
                *y = if losses.is_empty() { 0.0 } else { losses.iter().sum::<f64>() / losses.len() as f64 };
            }
        }
        Kernel::WeightedCrossEntropyVjp(WeightedCrossEntropyVjp(k)) => {
            y[0].fill(0.0);
            for n in 0..rows {
                let count = labels(&k.of, n, &x[1]).count() as f64;
                for (t, label) in labels(&k.of, n, &x[1]) {
                    let shares = weighted_shares(k, &x[2], label);
                    let total: f64 = shares.iter().sum();
                    for (class, [_, softmax]) in log_softmax(&k.of, n, t, &x[0]).into_iter().enumerate() {
                        let at = (n * k.of.tokens + t) * k.of.classes + class;
                        y[0][at] = x[3][n] * (softmax * total - shares[class]) / count;
                    }
                }
            }
        }
        Kernel::Gather(k) => {
            for i in indices(&[n_of(k.batched), k.count]) {
                let row = row_of(x[1][i[0] * k.ids_record + i[1]], k.table_rows) as usize;
                let from = i[0] * k.table_record + row * k.width;
                y[0][(i[0] * k.count + i[1]) * k.width..][..k.width].copy_from_slice(&x[0][from..from + k.width]);
            }
        }
        Kernel::Scatter(k) => {
            let (records, each) = match k.records {
                Records::Each(e) => (e.at(rows), true),
                Records::All(e) => (e.at(rows), false),
                Records::Weighted(_) => (rows, false),
            };
            y[0].fill(0.0);
            if k.records.sums().integers() {
                for n in 0..records {
                    let mut own = vec![0.0; k.table_rows * k.width];
                    for i in indices(&[k.count, k.width]) {
                        let row = row_of(x[0][n * k.ids_record + i[0]], k.table_rows) as usize;
                        let value = x[1][n * k.record + i[0] * k.width + i[1]];
                        if x[2][n] != 0.0 && k.ordered {
                            own[row * k.width + i[1]] += x[2][n] * value;
                        } else if x[2][n] != 0.0 {
                            y[0][row * k.width + i[1]] += rounded(x[2][n], value);
                        }
                    }
                    y[0].iter_mut().zip(own).for_each(|(y, own)| *y += rounded(1.0, own));
                }
                wrap(&mut y[0]);
                return y;
            }
            for i in indices(&[records, k.count, k.width]) {
                let w = if k.records.weighted() { x[2][i[0]] } else { 1.0 };
                let row = row_of(x[0][i[0] * k.ids_record + i[1]], k.table_rows) as usize;
                let row = row + if each { i[0] * k.table_rows } else { 0 };
                if w != 0.0 {
                    y[0][row * k.width + i[2]] += w * x[1][i[0] * k.record + i[1] * k.width + i[2]];
                }
            }
        }
        Kernel::SortIds(k) => {
            for n in 0..rows {
                let ids: Vec<u32> = x[0][n * k.count..][..k.count].iter().map(|&id| row_of(id, k.table_rows)).collect();
                for t in 0..k.count {
                    let rank = (0..k.count).filter(|&u| (ids[u], u) < (ids[t], t)).count();
                    y[0][n * k.count + rank] = t as f64;
                }
            }
        }
        Kernel::SegmentNorm(k) => {
            for n in 0..rows {
                let ids: Vec<u32> = x[0][n * k.count..][..k.count].iter().map(|&id| row_of(id, k.table_rows)).collect();
                let row = |t: usize, j: usize| x[2][(n * k.count + t) * k.width + j];
                let inner =
                    |t, u| if ids[t] == ids[u] { (0..k.width).map(|j| row(t, j) * row(u, j)).sum() } else { 0.0 };
                y[0][n] = indices(&[k.count, k.count]).map(|i| inner(i[0], i[1])).sum();
            }
        }
        Kernel::SegmentCross(k) => {
            for n in 0..rows {
                let term = |t: usize, u: usize, j: usize| {
                    let id = row_of(x[0][n * k.count + t], k.table_rows) as usize;
                    read(&k.b, &x[2], n, 0, id, u)
                        * x[1][(n * k.count + t) * k.width + j]
                        * read(&k.a, &x[3], n, 0, j, u)
                };
                y[0][n] = 2.0 * indices(&[k.count, k.steps, k.width]).map(|i| term(i[0], i[1], i[2])).sum::<f64>();
            }
        }
        Kernel::Recurrence(k) => recurrence(k, rows, x, &mut y[0]),
        Kernel::RecurrenceVjp(k) => recurrence_vjp(k, rows, x, &mut y[0]),
        Kernel::Dropout(k) => {
            for i in indices(&[rows, k.len]) {
                let key = [0, 1].map(|j| x[1][2 * i[0] + j] as i32 as u32);
                let u = f64::from(threefry(key, [i[1] as u32, k.layer])[0] >> 8) / f64::from(1 << 24);
                let keep = if u >= f64::from(k.ratio) { 1.0 } else { 0.0 };
                y[0][i[0] * k.len + i[1]] = x[0][i[0] * k.len + i[1]] * keep / (1.0 - f64::from(k.ratio));
            }
        }
        Kernel::Uniform(k) => {
            for i in indices(&[rows, k.len]) {
                let key = [0, 1].map(|j| x[0][2 * i[0] + j] as i32 as u32);
                let word = threefry(key, [i[1] as u32, k.layer])[0];
                y[0][i[0] * k.len + i[1]] = (f64::from(word >> 9) + 0.5) / f64::from(1 << 23);
            }
        }
        Kernel::Narrow(Narrow(k)) => halves::narrow(k, rows, &x[0], &mut y[0]),
        Kernel::Widen(Widen(k)) => halves::widen(k, rows, &x[0], &mut y[0]),
        Kernel::ClipFactor(k) => {
            let bound = x[5][k.group];
            for n in 0..k.records.at(rows) {
                let (square, weight, rounding) = (x[0][n], x[4][n], k.errors >= 2);
                let (square_error, norm_error) = if rounding { (x[1][n], x[2][n]) } else { (0.0, 0.0) };
                let row_error = if k.errors >= 3 { x[3][n] } else { 0.0 };
                let shown = if rounding && square < 0.0 { 0.0 } else { square.sqrt().abs() };
                y[1][n * k.groups + k.group] = shown;
                let norm = (square + square_error).max(0.0).sqrt() + norm_error.sqrt() + rows as f64 * row_error.sqrt();
                let norm = norm * f64::from(k.excess());
                let factor = match k.function {
                    ClipFunction::Threshold => (bound / norm).min(1.0),
                    ClipFunction::Automatic { gamma } => (bound / (norm + gamma)).min(f64::from(ClipFunction::LARGEST)),
                };
                let finite = [square, square_error, norm_error, row_error].iter().all(|number| number.is_finite());
                let counts = weight != 0.0 && finite && (rounding || square >= 0.0);
                let factor = (factor * f64::from(k.scale(bound as f32))).min(f64::from(ClipFunction::LARGEST));
                y[0][n] = if counts { factor * weight } else { 0.0 };
            }
        }
        Kernel::Fold(k) => {
            let factor = x[0][0];
            let sum = std::mem::replace(&mut y[1], vec![0.0; k.len]);
            if k.grid {
                for i in (0..k.len).filter(|_| factor != 0.0) {
                    let value = joined(&y[0], i) + rounded(factor, sum[i]) as i64;
                    set_joined(&mut y[0], i, value);
                }
            } else if factor != 0.0 {
                y[0].iter_mut().zip(sum).for_each(|(unit, sum)| *unit += factor * sum);
            }
        }
        Kernel::Carry(k) => {
            for i in 0..k.len {
                let value = joined(&y[0], i) + x[0][i] as i64;
                set_joined(&mut y[0], i, value);
            }
        }
        Kernel::Release(k) => {
            for i in 0..k.len {
                y[1][i] = (joined(&y[0], i) + joined(&x[0], i)) as f64 * x[2][k.group] * x[1][hyper::INVERSE_BATCH];
                set_joined(&mut y[0], i, 0);
            }
        }
        Kernel::AddNoise(k) => {
            (0..k.len).for_each(|i| y[0][i] = (x[0][i] + x[1][i]) * x[2][hyper::INVERSE_BATCH]);
        }
        Kernel::Nonfinite(k) => {
            let bit = |(i, x): (usize, &Floats)| i64::from(x[..k.len].iter().any(|x| !x.is_finite())) << i;
            y[0][k.at] = (y[0][k.at] as i64 | x.iter().enumerate().map(bit).sum::<i64>()) as f64;
        }
        Kernel::Sgd(k) => {
            let (lr, momentum) = (x[1][hyper::LEARNING_RATE], f64::from(k.momentum));
            for i in 0..k.len {
                let g = x[0][i] + f64::from(k.weight_decay) * y[0][i];
                let velocity = if k.momentum == 0.0 { g } else { momentum * y[1][i] + g };
                y[0][i] -= lr * if k.nesterov { g + momentum * velocity } else { velocity };
                y.iter_mut().skip(1).for_each(|y| y[i] = velocity);
            }
        }
        Kernel::Adam(k) => {
            let [b1, b2] = k.betas.map(f64::from);
            let [lr, c1, c2] =
                [hyper::LEARNING_RATE, hyper::BIAS_CORRECTION_1, hyper::BIAS_CORRECTION_2].map(|h| x[1][h]);
            let decay = f64::from(k.weight_decay);
            for i in 0..k.len {
                let g = x[0][i] + if k.decoupled { 0.0 } else { decay * y[0][i] };
                y[0][i] -= if k.decoupled { lr * decay * y[0][i] } else { 0.0 };
                y[1][i] = b1 * y[1][i] + (1.0 - b1) * g;
                y[2][i] = b2 * y[2][i] + (1.0 - b2) * g * g;
                y[0][i] -= lr / c1 * y[1][i] / ((y[2][i] / c2).sqrt() + f64::from(k.eps));
            }
        }
    }
    y
}

/// All indices of an array, row-major.
fn indices(sizes: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<> {
    let sizes = sizes.to_vec();
    (0..sizes.iter().product()).map(move |mut at: usize| {
        let mut index = vec![0; sizes.len()];
        for (i, size) in index.iter_mut().zip(&sizes).rev() {
            (*i, at) = (at % size, at / size);
        }
        index
    })
}

fn reduce(k: &Reduce, rows: usize, x: &[Floats], y: &mut [f64]) {
    let records = match k.records {
        Records::Each(e) | Records::All(e) => e.at(rows),
        Records::Weighted(_) => rows,
    };
    let offset = |walks: &[Walk], i: &[usize]| walks.iter().zip(i).map(|(w, i)| w.stride * i).sum::<usize>();
    let sizes = |walks: &[Walk]| walks.iter().map(|w| w.size).collect::<Vec<_>>();
    y.fill(0.0);
    for n in 0..records {
        let w = if k.records.weighted() { x[1][n] } else { 1.0 };
        if w == 0.0 {
            continue;
        }
        let to = if matches!(k.records, Records::Each(_)) { n * k.elements() } else { 0 };
        for (e, kept) in indices(&sizes(&k.kept)).enumerate() {
            for reduced in indices(&sizes(&k.reduced)) {
                let v = x[0][n * k.record + offset(&k.kept, &kept) + offset(&k.reduced, &reduced)];
                y[to + e] += match k.records.sums() {
                    Sums::Floats => w * if k.square { v * v } else { v },
                    _ => rounded(w, v),
                };
            }
        }
    }
    if k.records.sums().integers() {
        wrap(y);
    }
}

/// The integer next to the `f32` product of two numbers, ties to even.
pub fn rounded(weight: f64, value: f64) -> f64 {
    f64::from((weight * value) as f32).round_ties_even()
}

/// Integers modulo 2³².
pub fn wrap(sums: &mut [f64]) {
    sums.iter_mut().for_each(|sum| *sum = f64::from(*sum as i64 as i32));
}

/// An integer of two words, the low one first.
fn joined(words: &[f64], i: usize) -> i64 {
    (words[2 * i + 1] as i64) << 32 | i64::from(words[2 * i] as i32 as u32)
}

fn set_joined(words: &mut [f64], i: usize, value: i64) {
    words[2 * i] = f64::from(value as i32);
    words[2 * i + 1] = f64::from((value >> 32) as i32);
}

fn elementwise(k: &Elementwise, records: usize, x: &[Floats], y: &mut [f64]) {
    let len: usize = k.dims.iter().product();
    for n in 0..records {
        for (e, i) in indices(&k.dims).enumerate() {
            let operands: Floats = k
                .operands
                .iter()
                .zip(x)
                .map(|(b, x)| x[n * b.record + b.strides.iter().zip(&i).map(|(s, i)| s * i).sum::<usize>()])
                .collect();
            y[n * len + e] = evaluate(&k.expr, &operands);
        }
    }
}

fn evaluate(expr: &Expr, operands: &[f64]) -> f64 {
    let mut values: Vec<Double> = Vec::new();
    for (i, step) in expr.steps().iter().enumerate() {
        let value = match *step {
            Step::Operand(k, dtype) => Double::read(dtype, operands[k]),
            Step::Const(c) => c.into(),
            Step::Call(func, args) => {
                let args: Vec<Double> = args[..func.arity()].iter().map(|&a| values[a]).collect();
                definition(func, &args).unwrap_or_else(|| double::apply(func, &args))
            }
        };
        assert_eq!(value.dtype(), expr.step_type(i));
        values.push(value);
    }
    values.last().expect("an expression has steps").in_single_range()
}

/// A function of one float.
fn activated(func: Func, x: f64) -> f64 {
    evaluate(&Expr::call(func), &[x])
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Functions whose definition is written in another way than their line of the table.
fn definition(func: Func, args: &[Double]) -> Option<Double> {
    if args.iter().any(|x| !matches!(x, Double::F64(x) if x.is_finite())) {
        return None;
    }
    let x = |k: usize| args[k].of::<f64>();
    Some(Double::F64(match func {
        Func::Sigmoid => sigmoid(x(0)),
        Func::ReluVjp => x(1) * f64::from(u8::from(x(0) > 0.0)),
        Func::BceWithLogits if x(0).abs() < 30.0 => -(x(1) * sigmoid(x(0)).ln() + (1.0 - x(1)) * sigmoid(-x(0)).ln()),
        Func::BceWithLogitsVjp => x(2) * (sigmoid(x(0)) - x(1)),
        Func::AbsVjp => x(1) * x(0).partial_cmp(&0.0).map_or(f64::NAN, |sign| sign as i8 as f64),
        Func::Huber if x(0).abs() < x(1) => 0.5 * x(0) * x(0),
        Func::Huber => x(1) * (x(0).abs() - 0.5 * x(1)),
        Func::HuberVjp if x(0).abs() < x(1) => x(2) * x(0),
        Func::HuberVjp if x(1) > 0.0 => x(2) * x(1) * x(0).signum(),
        _ => return None,
    }))
}

/// Threefry-2x32-20 (Salmon et al., SC 2011, §3.2 and table 2).
fn threefry(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    let keys = [key[0], key[1], 0x1bd1_1bda ^ key[0] ^ key[1]];
    let mut x = [counter[0].wrapping_add(keys[0]), counter[1].wrapping_add(keys[1])];
    for round in 0..20 {
        x[0] = x[0].wrapping_add(x[1]);
        x[1] = x[1].rotate_left([13, 15, 26, 6, 17, 29, 16, 24][round % 8]) ^ x[0];
        if round % 4 == 3 {
            let s = round / 4 + 1;
            x[0] = x[0].wrapping_add(keys[s % 3]);
            x[1] = x[1].wrapping_add(keys[(s + 1) % 3]).wrapping_add(s as u32);
        }
    }
    x
}

#[test]
fn threefry_gives_the_known_answers() {
    assert_eq!(threefry([0; 2], [0; 2]), [0x6b20_0159, 0x99ba_4efe]);
    assert_eq!(threefry([u32::MAX; 2], [u32::MAX; 2]), [0x1cb9_96fc, 0xbb00_2be7]);
    assert_eq!(threefry([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3]), [0xc492_3a9c, 0x483d_f7a0]);
}

/// The row of a table that an id names.
fn row_of(id: f64, rows: usize) -> u32 {
    (if id < 0.0 { id as i64 + rows as i64 } else { id as i64 }) as u32
}
