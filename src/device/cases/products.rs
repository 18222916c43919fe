//! Cases of the matrix products and the norms of per-sample gradients.

use super::Case;
use super::data::{Data, Values, output, weights, window};
use crate::lower::kernels::*;
use crate::lower::program::Extent;
use crate::lower::scalar::Func;

pub fn cases() -> Vec<Case> {
    let mut all = gemm();
    all.extend(convolutions());
    all.extend(outer_sums());
    all.extend(norms());
    all
}

/// Row-major `[rows, cols]` matrices, `groups` a record.
fn matrix(batched: bool, groups: usize, rows: usize, cols: usize) -> View {
    let len = rows * cols;
    View::Strided { record: if batched { groups * len } else { 0 }, group: len, row: cols, col: 1 }
}

/// `[cols, rows]` matrices read transposed, `groups` a record.
fn transposed(batched: bool, groups: usize, rows: usize, cols: usize) -> View {
    let len = rows * cols;
    View::Strided { record: if batched { groups * len } else { 0 }, group: len, row: 1, col: rows }
}

fn gemm() -> Vec<Case> {
    let mut all = Vec::new();
    let mut v = Values::new(900);
    let sizes = [
        [1, 1, 1],
        [5, 7, 3],
        [17, 16, 33],
        [33, 64, 15],
        [65, 33, 66],
        [65, 132, 68],
        [3, 300, 10],
        [131, 5, 1],
        [1, 40, 130],
    ];
    for [rows, inner, cols] in sizes {
        let name = format!("{rows}x{inner}x{cols}");
        // A linear layer over the rows of the batch, one and two positions a row.
        for per_row in [1, 2] {
            for (bias, activation) in
                [(None, None), (Some(Bias::Cols), Some(Func::Tanh)), (Some(Bias::Rows), Some(Func::Relu))]
            {
                let m = rows * per_row;
                let kernel = Gemm {
                    records: Extent::fixed(1),
                    groups: 1,
                    rows: Extent::rows(per_row),
                    cols,
                    inner,
                    a: matrix(false, 1, m, inner),
                    b: transposed(false, 1, inner, cols),
                    bias,
                    activation,
                    out_record: 0,
                    out_group: 0,
                    out_row: cols,
                    out_col: 1,
                };
                let mut read = vec![v.floats(m * inner), v.floats(cols * inner)];
                match bias {
                    Some(Bias::Rows) => read.push(v.floats(m)),
                    Some(Bias::Cols) => read.push(v.floats(cols)),
                    None => {}
                }
                all.push(Case::new(
                    format!("rows_{per_row}_{name}_{bias:?}"),
                    rows,
                    kernel,
                    read,
                    vec![output(m * cols)],
                ));
            }
        }
        // Products of each record's own matrices, transposed in all ways, one of them shared.
        for (ways, (a_shared, b_shared)) in [(false, false), (true, false), (false, true)].into_iter().enumerate() {
            let (records, groups) = (3, 2);
            let view = |shared: bool, t: bool, r, c| {
                if t { transposed(!shared, groups, r, c) } else { matrix(!shared, groups, r, c) }
            };
            let kernel = Gemm {
                records: Extent::rows(1),
                groups,
                rows: Extent::fixed(rows),
                cols,
                inner,
                a: view(a_shared, ways == 1, rows, inner),
                b: view(b_shared, ways != 1, inner, cols),
                bias: (ways == 1).then_some(Bias::Rows),
                activation: (ways == 2).then_some(Func::Sigmoid),
                out_record: groups * rows * cols,
                out_group: rows * cols,
                out_row: if ways == 1 { 1 } else { cols },
                out_col: if ways == 1 { rows } else { 1 },
            };
            let len = |shared: bool, n: usize| n * groups * if shared { 1 } else { records };
            let mut read = vec![v.floats(len(a_shared, rows * inner)), v.floats(len(b_shared, inner * cols))];
            if ways == 1 {
                read.push(v.floats(groups * rows));
            }
            let out = output(records * groups * rows * cols);
            all.push(Case::new(format!("each_{ways}_{name}"), records, kernel, read, vec![out]));
        }
    }
    // Heads between positions, `[T, H, d]`, and a result with gaps between its columns.
    let (rows, t, h, d) = (2, 5, 3, 7);
    let head = |row, col| View::Strided { record: t * h * d, group: d, row, col };
    let kernel = Gemm {
        records: Extent::rows(1),
        groups: h,
        rows: Extent::fixed(t),
        cols: t,
        inner: d,
        a: head(h * d, 1),
        b: head(1, h * d),
        bias: Some(Bias::Cols),
        activation: None,
        out_record: h * t * t,
        out_group: 1,
        out_row: h * t,
        out_col: h,
    };
    let read = vec![v.floats(rows * t * h * d), v.floats(rows * t * h * d), v.floats(h * t)];
    all.push(Case::new("heads", rows, kernel.clone(), read, vec![output(rows * h * t * t)]));
    let shared = Gemm { records: Extent::fixed(1), bias: None, ..kernel };
    let read = vec![v.floats(t * h * d), v.floats(t * h * d)];
    all.push(Case::new("heads_shared", 4, shared, read, vec![output(h * t * t)]));
    all
}

/// A convolution whose output covers what padding after the input of `pad_end` leaves room for.
fn conv<const RANK: usize>(
    [channels, filters, groups]: [usize; 3],
    input: [usize; RANK],
    kernel: [usize; RANK],
    stride: [usize; RANK],
    dilation: [usize; RANK],
    pads: [[usize; RANK]; 2],
) -> ConvGeometry {
    ConvGeometry { channels, filters, groups, window: window(input, kernel, stride, dilation, pads) }
}

fn geometries() -> Vec<(&'static str, ConvGeometry)> {
    vec![
        ("one", conv([1, 1, 1], [1, 1], [1, 1], [1, 1], [1, 1], [[0, 0]; 2])),
        ("plain", conv([3, 4, 1], [7, 5], [3, 2], [1, 1], [1, 1], [[0, 0]; 2])),
        ("padded", conv([3, 5, 1], [6, 7], [3, 3], [1, 1], [1, 1], [[1, 1]; 2])),
        ("strided_groups", conv([4, 6, 2], [9, 8], [3, 3], [2, 2], [1, 1], [[1, 1]; 2])),
        ("depthwise", conv([3, 3, 3], [8, 8], [3, 3], [1, 1], [2, 2], [[2, 2]; 2])),
        ("line", conv([5, 7, 1], [17], [4], [3], [2], [[3], [1]])),
        ("pointwise", conv([2, 33, 1], [5, 5], [1, 1], [2, 2], [1, 1], [[0, 0]; 2])),
        ("gaps", conv([2, 3, 1], [10, 11], [2, 2], [3, 4], [1, 1], [[0, 1], [0, 0]])),
        ("far", conv([2, 3, 1], [3, 3], [3, 3], [1, 1], [3, 3], [[5, 4], [4, 5]])),
        ("mnist_1", conv([1, 16, 1], [28, 28], [8, 8], [2, 2], [1, 1], [[3, 3]; 2])),
        ("mnist_2", conv([16, 32, 1], [13, 13], [4, 4], [2, 2], [1, 1], [[0, 0]; 2])),
        ("volume", conv([3, 5, 1], [4, 5, 3], [3, 2, 3], [1, 1, 1], [1, 1, 1], [[1, 0, 1]; 2])),
        ("volume_groups", conv([4, 6, 2], [5, 7, 6], [2, 3, 2], [2, 3, 1], [2, 1, 3], [[1, 2, 0], [2, 0, 3]])),
        ("deep", conv([2, 3, 1], [9, 1, 2], [3, 1, 1], [4, 1, 1], [2, 1, 1], [[3, 0, 0], [2, 0, 0]])),
    ]
}

fn convolutions() -> Vec<Case> {
    let mut all = Vec::new();
    let mut v = Values::new(1000);
    for (name, conv) in geometries() {
        for rows in [1, 3] {
            let (gc, gf, patch, positions) =
                (conv.group_channels(), conv.group_filters(), conv.patch(), conv.positions());
            let area = conv.window.elements();
            let (x_len, y_len, w_len) = (conv.channels * area, conv.filters * positions, conv.filters * patch);
            let weight = matrix(false, conv.groups, gf, patch);
            let cotangent = matrix(true, conv.groups, gf, positions);
            let forward = Gemm {
                records: Extent::rows(1),
                groups: conv.groups,
                rows: Extent::fixed(gf),
                cols: positions,
                inner: patch,
                a: weight,
                b: View::Patches { conv, record: x_len },
                bias: Some(Bias::Rows),
                activation: Some(Func::Relu),
                out_record: y_len,
                out_group: gf * positions,
                out_row: positions,
                out_col: 1,
            };
            let read = vec![v.floats(w_len), v.floats(rows * x_len), v.floats(conv.filters)];
            all.push(Case::new(format!("conv_{name}_{rows}"), rows, forward.clone(), read, vec![output(rows * y_len)]));
            // The same with positions for rows, as a shared input gives it.
            let channels_last = Gemm {
                records: Extent::fixed(1),
                rows: Extent::fixed(positions),
                cols: gf,
                a: View::PatchesTransposed { conv, record: 0 },
                b: transposed(false, conv.groups, patch, gf),
                bias: Some(Bias::Cols),
                activation: None,
                out_record: 0,
                out_group: gf,
                out_row: conv.filters,
                out_col: 1,
                ..forward.clone()
            };
            let read = vec![v.floats(x_len), v.floats(w_len), v.floats(conv.filters)];
            all.push(Case::new(format!("conv_last_{name}_{rows}"), rows, channels_last, read, vec![output(y_len)]));
            let input_gradient = Gemm {
                rows: Extent::fixed(gc),
                cols: area,
                inner: gf * conv.window.taps(),
                a: View::WeightTransposed { conv },
                b: View::CotangentPatches { conv, record: y_len },
                bias: None,
                activation: None,
                out_record: x_len,
                out_group: gc * area,
                out_row: area,
                ..forward.clone()
            };
            let read = vec![v.floats(w_len), v.floats(rows * y_len)];
            let name_1 = format!("conv_input_{name}_{rows}");
            all.push(Case::new(name_1, rows, input_gradient.clone(), read, vec![output(rows * x_len)]));
            let transposed_conv = Gemm { bias: Some(Bias::Rows), activation: Some(Func::Tanh), ..input_gradient };
            let read = vec![v.floats(w_len), v.floats(rows * y_len), v.floats(conv.channels)];
            let name_2 = format!("conv_transpose_{name}_{rows}");
            all.push(Case::new(name_2, rows, transposed_conv, read, vec![output(rows * x_len)]));
            let per_sample = Gemm {
                rows: Extent::fixed(gf),
                cols: patch,
                inner: positions,
                a: cotangent,
                b: View::PatchesTransposed { conv, record: x_len },
                bias: None,
                activation: None,
                out_record: w_len,
                out_group: gf * patch,
                out_row: patch,
                ..forward
            };
            let read = vec![v.floats(rows * y_len), v.floats(rows * x_len)];
            all.push(Case::new(
                format!("conv_weight_{name}_{rows}"),
                rows,
                per_sample,
                read,
                vec![output(rows * w_len)],
            ));
        }
    }
    all
}

/// The views of `(name, groups, rows, cols, steps, a, b, a's record, b's record)` that weight gradients are made of.
fn weight_gradients() -> Vec<Outer> {
    let mut all = Vec::new();
    let sizes =
        [(1, 1, 1, 1), (1, 5, 7, 3), (2, 33, 17, 9), (1, 64, 31, 1), (1, 3, 131, 65), (3, 1, 2, 33), (1, 65, 32, 40)];
    for (groups, rows, cols, steps) in sizes {
        let name = format!("{groups}x{rows}x{cols}x{steps}");
        // Positions before items, as a linear layer has them; then after, as a convolution has them.
        all.push(Outer {
            name: format!("linear_{name}"),
            groups,
            sizes: [rows, cols, steps],
            views: [transposed(true, groups, rows, steps), transposed(true, groups, cols, steps)],
            records: [groups * rows * steps, groups * cols * steps],
        });
        all.push(Outer {
            name: format!("channels_{name}"),
            groups,
            sizes: [rows, cols, steps],
            views: [matrix(true, groups, rows, steps), matrix(true, groups, cols, steps)],
            records: [groups * rows * steps, groups * cols * steps],
        });
    }
    for (name, conv) in geometries() {
        let (gf, x_len, y_len) =
            (conv.group_filters(), conv.channels * conv.window.elements(), conv.filters * conv.positions());
        let cotangent = matrix(true, conv.groups, gf, conv.positions());
        let patches = View::Patches { conv, record: x_len };
        all.push(Outer {
            name: format!("conv_{name}"),
            groups: conv.groups,
            sizes: [gf, conv.patch(), conv.positions()],
            views: [cotangent, patches],
            records: [y_len, x_len],
        });
        if name != "mnist_1" {
            all.push(Outer {
                name: format!("conv_transpose_{name}"),
                groups: conv.groups,
                sizes: [conv.patch(), gf, conv.positions()],
                views: [patches, cotangent],
                records: [x_len, y_len],
            });
        }
    }
    all
}

struct Outer {
    name: String,
    groups: usize,
    sizes: [usize; 3],
    views: [View; 2],
    records: [usize; 2],
}

fn outer_sums() -> Vec<Case> {
    let mut all = Vec::new();
    let mut v = Values::new(1100);
    for Outer { name, groups, sizes: [rows, cols, steps], views: [a, b], records } in weight_gradients() {
        let large = rows * cols * steps > 50_000;
        for batch in [1, 5, 6, 67, 70, 140] {
            if batch > 10 && rows * cols * steps > 2000 || batch > 1 && batch != 5 && large {
                continue;
            }
            let w = if batch == 1 { vec![0.5] } else { weights(batch) };
            let kernel =
                OuterSum { groups, rows, cols, steps, a, b, packed: [None; 2], sums: Sums::Floats, clipped: false };
            let read = vec![v.poisoned(&w, records[0]), v.poisoned(&w, records[1]), Data::F32(w)];
            let out = output(groups * rows * cols);
            all.push(Case::new(format!("{name}_{batch}"), batch, kernel, read, vec![out]));
        }
    }
    all.extend(packed(&all));
    let kernel = OuterSum {
        groups: 1,
        rows: 3,
        cols: 4,
        steps: 2,
        a: transposed(true, 1, 3, 2),
        b: transposed(true, 1, 4, 2),
        sums: Sums::Floats,
        packed: [None; 2],
        clipped: false,
    };
    // Of more positions than are added up at a time, and still no long products; and a long one whose floats are clipped.
    for (rows, cols, steps, clipped) in [(150, 151, 67, false), (37, 3, 131, true), (1, 65, 7, true)] {
        let (a, b) = (transposed(true, 1, rows, steps), transposed(true, 1, cols, steps));
        let kernel = OuterSum { rows, cols, steps, a, b, clipped, ..kernel.clone() };
        let w = weights(2);
        let read = vec![v.poisoned(&w, rows * steps), v.poisoned(&w, cols * steps), Data::F32(w)];
        all.push(Case::new(format!("{rows}x{cols}x{steps}"), 2, kernel, read, vec![output(rows * cols)]));
    }
    let w = vec![0.0; 3];
    let read = vec![v.poisoned(&w, 6), v.poisoned(&w, 8), Data::F32(w)];
    all.push(Case::new("no_rows", 3, kernel.clone(), read, vec![output(12)]));
    let ones = vec![1.0; 9];
    let read = vec![v.floats(54), v.floats(72), Data::F32(ones)];
    all.push(Case::new("all_ones", 9, kernel.clone(), read, vec![output(12)]));
    let shared = OuterSum { a: transposed(false, 1, 3, 2), ..kernel };
    let read = vec![v.floats(6), v.floats(40), Data::F32(weights(5))];
    all.push(Case::new("shared", 5, shared, read, vec![output(12)]));
    all
}

/// The same sums of operands that are kept in 16 bits, one or both of them.
fn packed(plain: &[Case]) -> Vec<Case> {
    let mut all = Vec::new();
    let kinds = [(Half::F16, 0, [true, true]), (Half::Bf16, 0, [true, false]), (Half::F16, 10, [false, true])];
    for (case, (half, exponent, which)) in plain.iter().zip(kinds.into_iter().cycle()) {
        let Kernel::OuterSum(kernel) = case.kernel() else { continue };
        let mut kernel = kernel.clone();
        let mut read: Vec<Data> = case.inputs[..3]
            .iter()
            .map(|(id, words)| Data::from_words(case.program.buffer(*id).dtype, words.clone()))
            .collect();
        for k in (0..2).filter(|&k| which[k]) {
            let Data::F32(floats) = &read[k] else { continue };
            let (View::Strided { record, .. }
            | View::Patches { record, .. }
            | View::PatchesTransposed { record, .. }
            | View::CotangentPatches { record, .. }) = [kernel.a, kernel.b][k]
            else {
                continue;
            };
            if record == 0 || floats.len() != record * case.rows {
                continue;
            }
            let packing = Packing { half, exponent, len: record };
            let numbers: Vec<f64> = floats.iter().map(|&x| x.into()).collect();
            let mut words = vec![0.0; case.rows * packing.words()];
            super::reference::halves::narrow(&packing, case.rows, &numbers, &mut words);
            kernel.packed[k] = Some(packing);
            read[k] = Data::I32(words.into_iter().map(|word| word as i32).collect());
        }
        let name = format!("{}_in_{half}", case.name.trim_start_matches("outer_sum/"));
        all.push(Case::new(name, case.rows, kernel.clone(), read, vec![output(kernel.size())]));
    }
    all
}

fn norms() -> Vec<Case> {
    let mut all = Vec::new();
    let mut v = Values::new(1200);
    for Outer { name, groups, sizes: [rows, cols, steps], views: [a, b], records } in weight_gradients() {
        for batch in [1, 3] {
            let mut pair = || [v.floats(batch * records[0]), v.floats(batch * records[1])];
            let name = format!("{name}_{batch}");
            let kernel = OuterNorm { groups, rows, cols, steps, a, b };
            all.push(Case::new(&name, batch, kernel, pair().to_vec(), vec![output(batch)]));
            let kernel = TileNorm { groups, rows, cols, steps, a, b };
            let out = output(batch * kernel.tiles());
            all.push(Case::new(&name, batch, kernel, pair().to_vec(), vec![out]));
            for scale in [1.0, 2.0] {
                let views = [a, b, a, b];
                let symmetric = GhostNorm { groups, rows, cols, steps: [steps; 2], views, symmetric: true, scale };
                let out = output(batch * symmetric.tiles());
                let [x, y] = pair();
                let read = vec![x.clone(), y.clone(), x, y];
                all.push(Case::new(
                    format!("{name}_symmetric_{scale}"),
                    batch,
                    symmetric.clone(),
                    read,
                    vec![out.clone()],
                ));
                let read = [pair(), pair()].concat();
                let cross = GhostNorm { symmetric: false, ..symmetric };
                all.push(Case::new(format!("{name}_cross_{scale}"), batch, cross, read, vec![out]));
            }
        }
    }
    // In parts.
    let (rows, cols, steps) = (150, 151, 67);
    let (a, b) = (transposed(true, 1, rows, steps), transposed(true, 1, cols, steps));
    let kernel = TileNorm { groups: 1, rows, cols, steps, a, b };
    assert!(!kernel.precise());
    let (read, out) = ([rows, cols].map(|n| v.floats(n * steps)).to_vec(), output(kernel.tiles()));
    all.push(Case::new("parts", 1, kernel, read, vec![out]));
    // A cross term of layers with different numbers of positions.
    for [t, u] in [[1, 5], [33, 2], [40, 70]] {
        let (rows, cols, batch) = (6, 5, 3);
        let views = [
            matrix(true, 1, rows, t),
            matrix(true, 1, cols, t),
            transposed(true, 1, rows, u),
            transposed(true, 1, cols, u),
        ];
        let kernel = GhostNorm { groups: 1, rows, cols, steps: [t, u], views, symmetric: false, scale: 2.0 };
        let read = [rows * t, cols * t, rows * u, cols * u].map(|n| v.floats(batch * n)).to_vec();
        let out = output(batch * kernel.tiles());
        all.push(Case::new(format!("{t}_by_{u}"), batch, kernel, read, vec![out]));
    }
    all
}
