//! Matrix products and the norms of per-sample gradients.

use std::cmp::Ordering;

use super::{Floats, activated, indices, rounded, wrap};
use crate::lower::kernels::*;

/// Element (`row`, `col`) of matrix `g` of record `n`.
pub fn read(view: &View, x: &[f64], n: usize, g: usize, row: usize, col: usize) -> f64 {
    match *view {
        View::Strided { record, group, row: r, col: c } => x[n * record + g * group + row * r + col * c],
        View::PatchesTransposed { conv, record } => read(&View::Patches { conv, record }, x, n, g, col, row),
        View::Patches { conv, record } => {
            let w = &conv.window;
            let (c, k, o) = (row / w.taps(), split(row, w.kernel), split(col, w.output));
            let at = [0, 1, 2].map(|i| (o[i] * w.stride[i] + k[i] * w.dilation[i]).wrapping_sub(w.pad[i]));
            if (0..3).any(|i| at[i] >= w.input[i]) {
                return 0.0;
            }
            x[n * record + joined(g * conv.group_channels() + c, at, w.input)]
        }
        View::CotangentPatches { conv, record } => {
            let w = &conv.window;
            let (o, k, at) = (row / w.taps(), split(row, w.kernel), split(col, w.input));
            let reach = [0, 1, 2].map(|i| (at[i] + w.pad[i]).wrapping_sub(k[i] * w.dilation[i]));
            let out = [0, 1, 2].map(|i| reach[i] / w.stride[i]);
            if (0..3).any(|i| reach[i] % w.stride[i] != 0 || out[i] >= w.output[i]) {
                return 0.0;
            }
            x[n * record + joined(g * conv.group_filters() + o, out, w.output)]
        }
        View::WeightTransposed { conv } => {
            let area = conv.window.taps();
            let filter = g * conv.group_filters() + col / area;
            x[(filter * conv.group_channels() + row) * area + col % area]
        }
    }
}

/// The coordinates of element `i` of a block of these sizes, or of one of several blocks.
fn split(i: usize, sizes: [usize; 3]) -> [usize; 3] {
    [i / (sizes[1] * sizes[2]) % sizes[0], i / sizes[2] % sizes[1], i % sizes[2]]
}

/// The inverse of [`split`], in block `block`.
fn joined(block: usize, at: [usize; 3], sizes: [usize; 3]) -> usize {
    (0..3).fold(block, |i, axis| i * sizes[axis] + at[axis])
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

pub fn gemm(k: &Gemm, rows: usize, x: &[Floats], y: &mut [f64]) {
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
            let value = k.activation.map_or(sum + bias, |f| activated(f, sum + bias));
            y[n * k.out_record + g * k.out_group + row * k.out_row + col * k.out_col] = value;
        }
    }
}

pub fn outer_sum(k: &OuterSum, rows: usize, x: &[Floats], y: &mut [f64]) {
    let size = k.rows * k.cols;
    y.fill(0.0);
    for n in (0..rows).filter(|&n| x[2][n] != 0.0) {
        for g in 0..k.groups {
            let a = matrix(&k.a, &x[0], n, g, k.rows, k.steps);
            let b = matrix(&k.b, &x[1], n, g, k.cols, k.steps);
            let sum = &mut y[g * size..][..size];
            let value = |v| if k.sums.integers() { rounded(x[2][n], v) } else { x[2][n] * v };
            sum.iter_mut().zip(products(&a, &b)).for_each(|(y, v)| *y += value(v));
        }
    }
    if k.sums.integers() {
        wrap(y);
    }
}

pub fn tile_norm(k: &TileNorm, rows: usize, x: &[Floats], y: &mut [f64]) {
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

pub fn ghost_norm(k: &GhostNorm, rows: usize, x: &[Floats], y: &mut [f64]) {
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
