//! What the contracts say, worked out element by element in double precision.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Case, Data};
use crate::lower::hyper;
use crate::lower::kernels::*;
use crate::lower::program::BufferId;
use crate::lower::scalar::{Expr, Func, Step};

type Floats = Vec<f64>;

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

fn kernel(kernel: &Kernel, rows: usize, x: &[Floats], mut y: Vec<Floats>) -> Vec<Floats> {
    let n_of = |batched: bool| if batched { rows } else { 1 };
    match kernel {
        Kernel::Elementwise(k) => elementwise(k, n_of(k.batched), x, &mut y[0]),
        Kernel::Reduce(k) => reduce(k, rows, x, &mut y[0]),
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
        Kernel::OuterSum(k) => outer_sum(k, rows, x, &mut y[0]),
        Kernel::OuterNorm(k) => {
            for n in 0..rows {
                let square =
                    |v: &View, x: &[f64], g, len| (0..len).map(|i| read(v, x, n, g, i, 0).powi(2)).sum::<f64>();
                y[0][n] = (0..k.groups).map(|g| square(&k.a, &x[0], g, k.rows) * square(&k.b, &x[1], g, k.cols)).sum();
            }
        }
        Kernel::TileNorm(k) => tile_norm(k, rows, x, &mut y[0]),
        Kernel::GhostNorm(k) => ghost_norm(k, rows, x, &mut y[0]),
        Kernel::Pool(k) => {
            for (w, window) in windows(&k.geometry, n_of(k.batched)).into_iter().enumerate() {
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
            for (w, window) in windows(&k.geometry, n_of(k.batched)).into_iter().enumerate() {
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
            for n in 0..rows {
                let losses: Floats =
                    labels(k, n, &x[1]).map(|(t, label)| -log_softmax(k, n, t, &x[0])[label][0]).collect();
                y[0][n] = if losses.is_empty() { 0.0 } else { losses.iter().sum::<f64>() / losses.len() as f64 };
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
        Kernel::Gather(k) => {
            for i in 0..n_of(k.batched) * k.count {
                let from = x[1][i] as usize * k.width;
                y[0][i * k.width..][..k.width].copy_from_slice(&x[0][from..from + k.width]);
            }
        }
        Kernel::Scatter(k) => {
            let (records, each) = match k.records {
                Records::Each(e) => (e.at(rows), true),
                Records::All(e) => (e.at(rows), false),
                Records::Weighted => (rows, false),
            };
            y[0].fill(0.0);
            for i in indices(&[records, k.count, k.width]) {
                let w = if k.records == Records::Weighted { x[2][i[0]] } else { 1.0 };
                let row = x[0][i[0] * k.ids_record + i[1]] as usize + if each { i[0] * k.table_rows } else { 0 };
                if w != 0.0 {
                    y[0][row * k.width + i[2]] += w * x[1][i[0] * k.record + i[1] * k.width + i[2]];
                }
            }
        }
        Kernel::SortIds(k) => {
            for n in 0..rows {
                let ids = &x[0][n * k.count..][..k.count];
                for t in 0..k.count {
                    let rank = (0..k.count).filter(|&u| (ids[u], u) < (ids[t], t)).count();
                    y[0][n * k.count + rank] = t as f64;
                }
            }
        }
        Kernel::SegmentNorm(k) => {
            for n in 0..rows {
                let ids = &x[0][n * k.count..][..k.count];
                let row = |t: usize, j: usize| x[2][(n * k.count + t) * k.width + j];
                let inner =
                    |t, u| if ids[t] == ids[u] { (0..k.width).map(|j| row(t, j) * row(u, j)).sum() } else { 0.0 };
                y[0][n] = indices(&[k.count, k.count]).map(|i| inner(i[0], i[1])).sum();
            }
        }
        Kernel::SegmentCross(k) => {
            for n in 0..rows {
                let term = |t: usize, u: usize, j: usize| {
                    let id = x[0][n * k.count + t] as usize;
                    read(&k.b, &x[2], n, 0, id, u)
                        * x[1][(n * k.count + t) * k.width + j]
                        * read(&k.a, &x[3], n, 0, j, u)
                };
                y[0][n] = 2.0 * indices(&[k.count, k.steps, k.width]).map(|i| term(i[0], i[1], i[2])).sum::<f64>();
            }
        }
        Kernel::Lstm(k) => lstm(&k.0, rows, x, &mut y[0]),
        Kernel::LstmVjp(k) => lstm_vjp(k, rows, x, &mut y[0]),
        Kernel::Dropout(k) => {
            for i in indices(&[rows, k.len]) {
                let key = [0, 1].map(|j| x[1][2 * i[0] + j] as i32 as u32);
                let u = f64::from(threefry(key, [i[1] as u32, k.layer])[0] >> 8) / f64::from(1 << 24);
                let keep = if u >= f64::from(k.ratio) { 1.0 } else { 0.0 };
                y[0][i[0] * k.len + i[1]] = x[0][i[0] * k.len + i[1]] * keep / (1.0 - f64::from(k.ratio));
            }
        }
        Kernel::ClipFactor(k) => {
            let crate::privacy::ClipRule::Flat { c } = k.rule;
            for n in 0..rows {
                let (square, weight) = (x[0][n], x[1][n]);
                y[1][n] = square.sqrt();
                let counts = weight != 0.0 && square.is_finite() && square >= 0.0;
                y[0][n] = if counts { (c / square.sqrt()).min(1.0) * weight } else { 0.0 };
            }
        }
        Kernel::Privatize(k) => {
            (0..k.len).for_each(|i| y[0][i] = (x[0][i] + x[1][i]) * x[2][hyper::INVERSE_BATCH]);
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

/// Element (`row`, `col`) of matrix `g` of record `n`.
fn read(view: &View, x: &[f64], n: usize, g: usize, row: usize, col: usize) -> f64 {
    match *view {
        View::Strided { record, group, row: r, col: c } => x[n * record + g * group + row * r + col * c],
        View::PatchesTransposed { conv, record } => read(&View::Patches { conv, record }, x, n, g, col, row),
        View::Patches { conv, record } => {
            let [kh, kw] = conv.kernel;
            let (c, k, o) = (row / (kh * kw), [row / kw % kh, row % kw], [col / conv.output[1], col % conv.output[1]]);
            let at = [0, 1].map(|i| (o[i] * conv.stride[i] + k[i] * conv.dilation[i]).wrapping_sub(conv.pad[i]));
            if at[0] >= conv.input[0] || at[1] >= conv.input[1] {
                return 0.0;
            }
            let channel = g * conv.group_channels() + c;
            x[n * record + (channel * conv.input[0] + at[0]) * conv.input[1] + at[1]]
        }
        View::CotangentPatches { conv, record } => {
            let [kh, kw] = conv.kernel;
            let (o, k, at) = (row / (kh * kw), [row / kw % kh, row % kw], [col / conv.input[1], col % conv.input[1]]);
            let filter = g * conv.group_filters() + o;
            let reach = [0, 1].map(|i| (at[i] + conv.pad[i]).wrapping_sub(k[i] * conv.dilation[i]));
            let out = [0, 1].map(|i| reach[i] / conv.stride[i]);
            if (0..2).any(|i| reach[i] % conv.stride[i] != 0 || out[i] >= conv.output[i]) {
                return 0.0;
            }
            x[n * record + (filter * conv.output[0] + out[0]) * conv.output[1] + out[1]]
        }
        View::WeightTransposed { conv } => {
            let area = conv.kernel[0] * conv.kernel[1];
            let filter = g * conv.group_filters() + col / area;
            x[(filter * conv.group_channels() + row) * area + col % area]
        }
    }
}

/// Matrix `g` of record `n`, row by row.
fn matrix(view: &View, x: &[f64], n: usize, g: usize, rows: usize, cols: usize) -> Vec<Floats> {
    (0..rows).map(|row| (0..cols).map(|col| read(view, x, n, g, row, col)).collect()).collect()
}

/// Inner products of each of the `a` with each of the `b`, row-major.
fn products<'a>(a: &'a [Floats], b: &'a [Floats]) -> impl Iterator<Item = f64> + 'a {
    a.iter().flat_map(move |a| b.iter().map(move |b| a.iter().zip(b).map(|(a, b)| a * b).sum()))
}

fn columns(matrix: &[Floats], len: usize) -> Vec<Floats> {
    (0..len).map(|col| matrix.iter().map(|row| row[col]).collect()).collect()
}

fn gemm(k: &Gemm, rows: usize, x: &[Floats], y: &mut [f64]) {
    let m = k.rows.at(rows);
    for i in indices(&[k.records.at(rows), k.groups]) {
        let (n, g) = (i[0], i[1]);
        let a = matrix(&k.a, &x[0], n, g, m, k.inner);
        let b = columns(&matrix(&k.b, &x[1], n, g, k.inner, k.cols), k.cols);
        for (e, sum) in products(&a, &b).enumerate() {
            let (row, col) = (e / k.cols, e % k.cols);
            let bias = match k.bias {
                Some(Bias::Rows) => x[2][g * m + row],
                Some(Bias::Cols) => x[2][g * k.cols + col],
                None => 0.0,
            };
            let value = k.activation.map_or(sum + bias, |f| scalar(f, [sum + bias, 0.0, 0.0]));
            y[n * k.out_record + g * k.out_group + row * k.out_row + col * k.out_col] = value;
        }
    }
}

fn outer_sum(k: &OuterSum, rows: usize, x: &[Floats], y: &mut [f64]) {
    let size = k.rows * k.cols;
    y.fill(0.0);
    for n in (0..rows).filter(|&n| x[2][n] != 0.0) {
        for g in 0..k.groups {
            let a = matrix(&k.a, &x[0], n, g, k.rows, k.steps);
            let b = matrix(&k.b, &x[1], n, g, k.cols, k.steps);
            let sum = &mut y[(n / k.chunk * k.groups + g) * size..][..size];
            sum.iter_mut().zip(products(&a, &b)).for_each(|(y, v)| *y += x[2][n] * v);
        }
    }
}

fn tile_norm(k: &TileNorm, rows: usize, x: &[Floats], y: &mut [f64]) {
    let tiles = [k.rows.div_ceil(TileNorm::TILE), k.cols.div_ceil(TileNorm::TILE)];
    y.fill(0.0);
    for i in indices(&[rows, k.groups]) {
        let (n, g) = (i[0], i[1]);
        let a = matrix(&k.a, &x[0], n, g, k.rows, k.steps);
        let b = matrix(&k.b, &x[1], n, g, k.cols, k.steps);
        for (e, v) in products(&a, &b).enumerate() {
            let tile = [e / k.cols / TileNorm::TILE, e % k.cols / TileNorm::TILE];
            y[n * k.tiles() + (g * tiles[0] + tile[0]) * tiles[1] + tile[1]] += v * v;
        }
    }
}

fn ghost_norm(k: &GhostNorm, rows: usize, x: &[Floats], y: &mut [f64]) {
    let across = k.steps.map(|s| s.div_ceil(GhostNorm::TILE));
    y.fill(0.0);
    for i in indices(&[rows, k.groups]) {
        let (n, g) = (i[0], i[1]);
        let [a, b, c, d] = [0, 1, 2, 3].map(|v| {
            let (len, steps) = ([k.rows, k.cols][v % 2], k.steps[v / 2]);
            columns(&matrix(&k.views[v], &x[v], n, g, len, steps), steps)
        });
        for (e, (p, q)) in products(&a, &c).zip(products(&b, &d)).enumerate() {
            let tile = [e / k.steps[1] / GhostNorm::TILE, e % k.steps[1] / GhostNorm::TILE];
            let times = match (k.symmetric, tile[0].cmp(&tile[1])) {
                (false, _) | (_, Ordering::Equal) => 1.0,
                (_, Ordering::Less) => 2.0,
                (_, Ordering::Greater) => 0.0,
            };
            y[n * k.tiles() + (g * across[0] + tile[0]) * across[1] + tile[1]] += times * f64::from(k.scale) * p * q;
        }
    }
}

fn reduce(k: &Reduce, rows: usize, x: &[Floats], y: &mut [f64]) {
    let records = match k.records {
        Records::Each(e) | Records::All(e) => e.at(rows),
        Records::Weighted => rows,
    };
    let offset = |walks: &[Walk], i: &[usize]| walks.iter().zip(i).map(|(w, i)| w.stride * i).sum::<usize>();
    let sizes = |walks: &[Walk]| walks.iter().map(|w| w.size).collect::<Vec<_>>();
    y.fill(0.0);
    for n in 0..records {
        let w = if k.records == Records::Weighted { x[1][n] } else { 1.0 };
        if w == 0.0 {
            continue;
        }
        let to = if matches!(k.records, Records::Each(_)) { n * k.len() } else { 0 };
        for (e, kept) in indices(&sizes(&k.kept)).enumerate() {
            for reduced in indices(&sizes(&k.reduced)) {
                let v = x[0][n * k.record + offset(&k.kept, &kept) + offset(&k.reduced, &reduced)];
                y[to + e] += w * if k.square { v * v } else { v };
            }
        }
    }
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
    let mut values: Floats = Vec::new();
    for step in &expr.steps {
        values.push(match *step {
            Step::Operand(k) => operands[k],
            Step::Const(c) => c.into(),
            Step::Call(func, args) => scalar(func, args.map(|a| values.get(a).copied().unwrap_or(0.0))),
        });
    }
    *values.last().expect("an expression has steps")
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn scalar(func: Func, [a, b, c]: [f64; 3]) -> f64 {
    match func {
        Func::Add => a + b,
        Func::Sub => a - b,
        Func::Mul => a * b,
        Func::Div => a / b,
        Func::Neg => -a,
        Func::Exp => a.exp(),
        Func::Log => a.ln(),
        Func::Sqrt => a.sqrt(),
        Func::Relu => a.max(0.0),
        Func::Tanh => a.tanh(),
        Func::Sigmoid => sigmoid(a),
        Func::ReluVjp => b * f64::from(u8::from(a > 0.0)),
        Func::TanhVjp => b * (1.0 - a * a),
        Func::SigmoidVjp => b * a * (1.0 - a),
        Func::BceWithLogits => -(b * sigmoid(a).ln() + (1.0 - b) * sigmoid(-a).ln()),
        Func::BceWithLogitsVjp => c * (sigmoid(a) - b),
    }
}

/// The elements of a pooling window inside the input, and how many are inside the padded one.
struct Window {
    inside: Vec<usize>,
    padded: usize,
}

fn windows(g: &PoolGeometry, records: usize) -> Vec<Window> {
    let window = |i: Vec<usize>| {
        let mut window = Window { inside: Vec::new(), padded: 0 };
        for k in indices(&g.kernel) {
            let at = [0, 1].map(|d| (i[1 + d] * g.stride[d] + k[d] * g.dilation[d]) as i64 - g.pad[d] as i64);
            window.padded += usize::from((0..2).all(|d| at[d] < (g.input[d] + g.pad_end[d]) as i64));
            if (0..2).all(|d| at[d] >= 0 && at[d] < g.input[d] as i64) {
                window.inside.push((i[0] * g.input[0] + at[0] as usize) * g.input[1] + at[1] as usize);
            }
        }
        window
    };
    indices(&[records * g.channels, g.output[0], g.output[1]]).map(window).collect()
}

/// The indices of each row that a softmax normalises.
fn lines(k: &SoftmaxRows, rows: usize) -> Vec<Vec<usize>> {
    let outer = k.outer * if k.batched { rows } else { 1 };
    indices(&[outer, k.inner]).map(|i| (0..k.len).map(|l| (i[0] * k.len + l) * k.inner + i[1]).collect()).collect()
}

/// The tokens of record `n` that count, with their labels.
fn labels(k: &Tokens, n: usize, labels: &[f64]) -> impl Iterator<Item = (usize, usize)> {
    let record = labels[n * k.tokens..][..k.tokens].iter().enumerate();
    record
        .filter(|(_, l)| **l != f64::from(k.ignore) && (0.0..k.classes as f64).contains(*l))
        .map(|(t, &l)| (t, l as usize))
}

/// The logits of token `t` as log-probabilities, and the softmax that the VJP takes for them.
fn log_softmax(k: &Tokens, n: usize, t: usize, logits: &[f64]) -> Vec<[f64; 2]> {
    let row = &logits[(n * k.tokens + t) * k.classes..][..k.classes];
    let sum: f64 = row.iter().map(|x| x.exp()).sum();
    row.iter().map(|x| if k.log_probabilities { [*x, 0.0] } else { [x - sum.ln(), x.exp() / sum] }).collect()
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

fn lstm(k: &LstmSizes, rows: usize, x: &[Floats], tape: &mut [f64]) {
    let (steps, hidden) = (k.steps, k.hidden);
    for n in 0..rows {
        let state = |i: usize, j: usize| if k.initial { x[i][n * k.initial_record + j] } else { 0.0 };
        let mut h: Floats = (0..hidden).map(|j| state(2, j)).collect();
        let mut c: Floats = (0..hidden).map(|j| state(3, j)).collect();
        for t in 0..steps {
            let z = |gate: usize| {
                let recurrent: f64 = (0..hidden).map(|j| x[1][gate * hidden + j] * h[j]).sum();
                x[0][(n * steps + t) * 4 * hidden + gate] + recurrent
            };
            let mut next = vec![0.0; hidden];
            for j in 0..hidden {
                let [i, o, f] = [0, 1, 2].map(|gate| sigmoid(z(gate * hidden + j)));
                let g = z(3 * hidden + j).tanh();
                c[j] = f * c[j] + i * g;
                next[j] = o * c[j].tanh();
                for (plane, v) in [i, o, f, g, c[j], next[j]].into_iter().enumerate() {
                    tape[((n * 6 + plane) * steps + t) * hidden + j] = v;
                }
            }
            h = next;
        }
    }
}

fn lstm_vjp(k: &LstmVjp, rows: usize, x: &[Floats], dpre: &mut [f64]) {
    let LstmSizes { steps, hidden, initial, initial_record } = k.sizes;
    let (c0, dh, dc) = (2, 2 + usize::from(initial), 3 + usize::from(initial));
    for n in 0..rows {
        let tape = |plane: usize, t: usize, j: usize| x[0][((n * 6 + plane) * steps + t) * hidden + j];
        let (mut dz, mut carried) = (vec![0.0; 4 * hidden], vec![0.0; hidden]);
        for t in (0..steps).rev() {
            let mut now = vec![0.0; 4 * hidden];
            for j in 0..hidden {
                let [i, o, f, g, c] = [0, 1, 2, 3, 4].map(|plane| tape(plane, t, j));
                let before = match t {
                    0 if initial => x[c0][n * initial_record + j],
                    0 => 0.0,
                    t => tape(4, t - 1, j),
                };
                let at = (n * steps + t) * hidden + j;
                let dh = x[dh][at] + (0..4 * hidden).map(|gate| x[1][gate * hidden + j] * dz[gate]).sum::<f64>();
                let dc = if k.cell { x[dc][at] } else { 0.0 } + carried[j] + dh * o * (1.0 - c.tanh().powi(2));
                now[j] = dc * g * i * (1.0 - i);
                now[hidden + j] = dh * c.tanh() * o * (1.0 - o);
                now[2 * hidden + j] = dc * before * f * (1.0 - f);
                now[3 * hidden + j] = dc * i * (1.0 - g * g);
                carried[j] = dc * f;
            }
            dpre[(n * steps + t) * 4 * hidden..][..4 * hidden].copy_from_slice(&now);
            dz = now;
        }
    }
}

#[test]
fn threefry_gives_the_known_answers() {
    assert_eq!(threefry([0; 2], [0; 2]), [0x6b20_0159, 0x99ba_4efe]);
    assert_eq!(threefry([u32::MAX; 2], [u32::MAX; 2]), [0x1cb9_96fc, 0xbb00_2be7]);
    assert_eq!(threefry([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3]), [0xc492_3a9c, 0x483d_f7a0]);
}
