//! Native twin of [`Gemm`].

use std::sync::Arc;

use rayon::prelude::*;

use super::convolve::{Patches, places};
use super::image::Slide;
use super::matmul::{Into, Matrix, MatrixMut, by_records, matmul};
use super::microkernel::{FEWEST, ROWS};
use super::operand::Operand;
use super::panels::Prepared;
use super::{Buffers, Native, parallel, patches};
use crate::lower::kernels::{Bias, ConvGeometry, Gemm, View};

/// Rows of one large product that a thread works out at a time at most.
const MOST: usize = 22 * ROWS;

/// Rows of one large product of `m` rows that a thread works out at a time: every block packs the right operand anew, so there
/// are no more of them than keep `threads` at work, as many for each. None is so small that its rows would round otherwise than in
/// another block.
fn block(m: usize, threads: usize) -> usize {
    let mut blocks = m.div_ceil(3 * ROWS).min(threads).max(1);
    if m.div_ceil(blocks) > MOST {
        blocks = m.div_ceil(MOST).next_multiple_of(threads);
    }
    let mut block = m.div_ceil(blocks).next_multiple_of(ROWS);
    while block < m && (1..FEWEST).contains(&(m % block)) {
        block += ROWS;
    }
    block
}

/// Room for the two operands.
type Scratch = [Vec<f32>; 2];

/// Elements of a right operand from which on it is not read again for every block of records.
const LARGE: usize = 1 << 17;
/// Records that pay for packing one that is smaller.
const RECORDS: usize = 16;

impl Native for Gemm {
    fn block(&self) -> Option<usize> {
        // Records that are rows of one product share its right operand.
        match self.rows.per_row {
            0 => Some(1),
            _ if self.inner.saturating_mul(self.cols) >= LARGE => None,
            rows => Some(RECORDS.div_ceil(rows)),
        }
    }

    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let (records, m, out) = (self.records.at(rows), self.rows.at(rows), written[0].f32());
        if m == 0 || self.cols == 0 || self.groups == 0 {
            return;
        }
        let bias = read.get(2).map(|bias| bias.f32());
        if let Some(product) = self.by_patches() {
            let operands = [read[0].f32(), read[1].f32()];
            let weights = product.prepare(operands[0]);
            return parallel::pieces(out, records, self.out_record, self.span(m), |scratch: &mut Scratch, n, out| {
                for g in 0..self.groups {
                    let out = &mut out[g * self.out_group..];
                    let strides = [self.out_row, self.out_col];
                    product.run((operands, &weights), [n, g], [m, self.inner], scratch, strides, out);
                    self.finish(bias, g, m, 0, m, out);
                }
            });
        }
        let a = Operand::new(self.a, read[0].f32(), self.groups, m, self.inner);
        let b = Operand::new(self.b, read[1].f32(), self.groups, self.inner, self.cols);
        if records == 1 && (self.cols - 1) * self.out_col < self.out_row {
            let block = block(m, rayon::current_num_threads());
            parallel::with_scratch(|[s, t]: &mut Scratch| {
                for g in 0..self.groups {
                    let (a, b) = (a.matrix(0, g, s), b.matrix(0, g, t));
                    let out = &mut out[g * self.out_group..];
                    let end = out.len().min(m * self.out_row);
                    out[..end].par_chunks_mut(block * self.out_row).enumerate().for_each(|(i, out)| {
                        let (first, count) = (i * block, block.min(m - i * block));
                        let (a, rows) = (a.rows(first, count), self.rows.per_row > 0);
                        let out_rows =
                            MatrixMut { data: out, rows: count, cols: self.cols, row: self.out_row, col: self.out_col };
                        if rows {
                            by_records(out_rows, a, b);
                        } else {
                            matmul(out_rows, Into::Set, 1.0, a, b);
                        }
                        self.finish(bias, g, m, first, count, out);
                    });
                }
            });
            return;
        }
        parallel::pieces(out, records, self.out_record, self.span(m), |[s, t]: &mut Scratch, n, out| {
            for g in 0..self.groups {
                let out = &mut out[g * self.out_group..];
                self.product(a.matrix(n, g, s), b.matrix(n, g, t), out);
                self.finish(bias, g, m, 0, m, out);
            }
        });
    }
}

impl Gemm {
    /// Elements from the first to the last of a record's result.
    fn span(&self, m: usize) -> usize {
        (self.groups - 1) * self.out_group + (m - 1) * self.out_row + (self.cols - 1) * self.out_col + 1
    }

    fn product(&self, a: Matrix, b: Matrix, out: &mut [f32]) {
        let out = MatrixMut { data: out, rows: a.rows, cols: self.cols, row: self.out_row, col: self.out_col };
        matmul(out, Into::Set, 1.0, a, b);
    }

    /// Adds the bias to elements of a row from a column on, both counted through all groups.
    fn add_bias(&self, bias: Option<&[f32]>, [row, col]: [usize; 2], sums: &mut [f32]) {
        match (self.bias, bias) {
            (Some(Bias::Rows), Some(bias)) => {
                let bias = bias[row];
                sums.iter_mut().for_each(|s| *s += bias);
            }
            (Some(Bias::Cols), Some(bias)) => {
                sums.iter_mut().zip(&bias[col..]).for_each(|(s, b)| *s += b);
            }
            _ => {}
        }
    }

    /// Adds the bias and applies the activation to `count` of `m` rows, from row `first` of group `g` on.
    fn finish(&self, bias: Option<&[f32]>, g: usize, m: usize, first: usize, count: usize, out: &mut [f32]) {
        if self.bias.is_none() && self.activation.is_none() {
            return;
        }
        const BLOCK: usize = 256;
        let (mut sums, mut results) = ([0.0; BLOCK], [0.0; BLOCK]);
        for i in 0..count {
            for start in (0..self.cols).step_by(BLOCK) {
                let (len, at) = (BLOCK.min(self.cols - start), [g * m + first + i, g * self.cols + start]);
                let out = &mut out[i * self.out_row + start * self.out_col..];
                if self.out_col == 1 && self.activation.is_none() {
                    self.add_bias(bias, at, &mut out[..len]);
                    continue;
                }
                let (sums, results) = (&mut sums[..len], &mut results[..len]);
                if self.out_col == 1 {
                    sums.copy_from_slice(&out[..len]);
                } else {
                    sums.iter_mut().enumerate().for_each(|(j, s)| *s = out[j * self.out_col]);
                }
                self.add_bias(bias, at, sums);
                let values = match self.activation {
                    Some(func) => {
                        func.apply(&[sums], results);
                        results
                    }
                    None => sums,
                };
                if self.out_col == 1 {
                    out[..len].copy_from_slice(values);
                } else {
                    values.iter().enumerate().for_each(|(j, v)| out[j * self.out_col] = *v);
                }
            }
        }
    }

    /// How the product is made without its patches, if it has some.
    fn by_patches(&self) -> Option<ByPatches> {
        let strided = |view: View| match view {
            View::Strided { record, group, row, col } => Some([record, group, row, col]),
            _ => None,
        };
        // So few rows are set line by line.
        let few = self.rows.fixed < FEWEST;
        let lines = self.out_col == 1 && self.out_row >= self.cols;
        match (self.a, self.b) {
            (View::WeightTransposed { conv }, View::CotangentPatches { conv: other, record }) if conv == other => {
                match Slide::back(&conv.window) {
                    Some(slide) if !few || lines => {
                        let places = places(&slide, conv.group_filters());
                        Some(ByPatches::Back { conv, slide, places, record })
                    }
                    _ if lines => Some(ByPatches::Scattered { conv, record }),
                    _ => None,
                }
            }
            (a, View::Patches { conv, record }) if !conv.window.is_pointwise() && (!few || lines) => {
                let (slide, a) = (Slide::of(&conv.window)?, strided(a)?);
                let places = places(&slide, conv.group_channels());
                (a[3] == 1).then_some(ByPatches::Forward { conv, slide, places, record, a })
            }
            (a, View::PatchesTransposed { conv, record }) if !conv.window.is_pointwise() && !few => {
                let (slide, a) = (Slide::of(&conv.window)?, strided(a)?);
                let places = places(&slide, conv.group_channels());
                Some(ByPatches::Weight { conv, slide, places, record, a })
            }
            _ => None,
        }
    }
}

/// A product of a convolution: its image has `record` elements between records, and the other operand these strides of record,
/// group, row and column.
enum ByPatches {
    /// The weight times the patches of the input.
    Forward { conv: ConvGeometry, slide: Slide, places: Arc<[usize]>, record: usize, a: [usize; 4] },
    /// The cotangent times the patches: the gradient of the weight.
    Weight { conv: ConvGeometry, slide: Slide, places: Arc<[usize]>, record: usize, a: [usize; 4] },
    /// The weight times patches of the cotangent: the gradient of the input.
    Back { conv: ConvGeometry, slide: Slide, places: Arc<[usize]>, record: usize },
    /// The same by what every patch of the input gets, scattered: with a stride, that is less work.
    Scattered { conv: ConvGeometry, record: usize },
}

impl ByPatches {
    /// The weight of each group as it is multiplied by many records, where it is.
    fn prepare<'a>(&self, a: &'a [f32]) -> Vec<Prepared<'a>> {
        let ByPatches::Scattered { conv, .. } = *self else { return Vec::new() };
        let (filters, patch) = (conv.group_filters(), conv.patch());
        let group = |g| Matrix { data: &a[g * filters * patch..], rows: filters, cols: patch, row: patch, col: 1 };
        (0..conv.groups).map(|g| Prepared::new(group(g), conv.positions())).collect()
    }

    /// Sets `out`, a matrix with these strides, to the product of record `n` and group `g`, with what was
    /// [prepared](ByPatches::prepare).
    fn run(
        &self,
        ([a, b], weights): ([&[f32]; 2], &[Prepared]),
        [n, g]: [usize; 2],
        [m, inner]: [usize; 2],
        [padded, panel]: &mut Scratch,
        strides: [usize; 2],
        out: &mut [f32],
    ) {
        match self {
            ByPatches::Forward { conv, slide, places, record, a: [a_record, a_group, row, _] } => {
                let patches = Patches::of(conv, *slide, places, &b[n * record..], g, padded);
                let a = &a[n * a_record + g * a_group..];
                match m {
                    ..FEWEST => patches.times_few(a, m, [*row, slide.taps()], panel, (out, strides[0])),
                    _ => patches.times(a, m, [*row, slide.taps()], panel, |part| part.set(out, strides)),
                }
            }
            ByPatches::Weight { conv, slide, places, record, a: [a_record, a_group, row, col] } => {
                let patches = Patches::of(conv, *slide, places, &b[n * record..], g, padded);
                let data = &a[n * a_record + g * a_group..];
                let dy = Matrix { data, rows: m, cols: inner, row: *row, col: *col };
                let [row, col] = strides;
                patches.times_transposed(dy, panel, |part| part.set(out, [col, row]));
            }
            ByPatches::Back { conv, slide, places, record } => {
                let filters = conv.group_filters();
                let w = &a[g * filters * conv.patch()..];
                let patches = Patches::planes(*slide, places, &b[n * record..], [g * filters, filters], padded);
                match m {
                    ..FEWEST => patches.times_few(w, m, [slide.taps(), conv.patch()], panel, (out, strides[0])),
                    _ => patches.times(w, m, [slide.taps(), conv.patch()], panel, |part| part.set(out, strides)),
                }
            }
            ByPatches::Scattered { conv, record } => {
                input_gradient(conv, &weights[g], &b[n * record..], g, panel, out, strides[0])
            }
        }
    }
}

/// Group `g` of a convolution's input gradient, planes `plane` elements apart: what every patch gets, `dyᵀ w`, scattered.
/// That is `stride²` times less work than the product of gathered cotangents.
fn input_gradient(
    conv: &ConvGeometry,
    w: &Prepared,
    dy: &[f32],
    g: usize,
    scratch: &mut Vec<f32>,
    out: &mut [f32],
    plane: usize,
) {
    let (filters, patch, positions) = (conv.group_filters(), conv.patch(), conv.positions());
    let dy = Matrix { data: &dy[g * filters * positions..], rows: filters, cols: positions, row: positions, col: 1 };
    let scratch = parallel::room(scratch, patch * positions);
    w.product(dy.transposed(), scratch);
    patches::scatter(conv, scratch, out, plane);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_keep_threads_at_work_and_leave_no_few_rows() {
        assert_eq!([64, 256, 512, 1024, 4096].map(|m| block(m, 2)), [36, 132, 264, 264, 264]);
        assert_eq!([64, 1024, 4096].map(|m| block(m, 16)), [36, 72, 264]);
        for threads in [1, 2, 3, 16] {
            for m in 1..3000 {
                let rest = m % block(m, threads);
                assert!(m < FEWEST || rest == 0 || rest >= FEWEST, "{m} rows on {threads} threads");
                assert!(block(m, threads) <= MOST + ROWS, "{m} rows on {threads} threads");
            }
        }
    }
}
