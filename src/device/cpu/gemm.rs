//! Native twin of [`Gemm`].

use rayon::prelude::*;

use super::matmul::{Into, Matrix, MatrixMut, matmul};
use super::operand::Operand;
use super::{Buffers, Native, parallel, patches};
use crate::lower::kernels::{Bias, ConvGeometry, Gemm, View};

/// Rows of one large product of `m` rows that a thread works out at a time: enough to pay for packing the right operand.
fn block(m: usize) -> usize {
    (m / 8).next_multiple_of(64).clamp(64, 512)
}

/// Room for the two operands.
type Scratch = [Vec<f32>; 2];

impl Native for Gemm {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let (records, m, out) = (self.records.at(rows), self.rows.at(rows), written[0].f32());
        if m == 0 || self.cols == 0 || self.groups == 0 {
            return;
        }
        let bias = read.get(2).map(|bias| bias.f32());
        if let Some((conv, record)) = self.input_gradient() {
            return parallel::pieces(out, records, self.out_record, self.span(m), |scratch: &mut Vec<f32>, n, out| {
                for g in 0..self.groups {
                    let out = &mut out[g * self.out_group..];
                    input_gradient(&conv, read[0].f32(), &read[1].f32()[n * record..], g, scratch, out, self.out_row);
                    self.finish(bias, g, m, 0, m, out);
                }
            });
        }
        let a = Operand::new(self.a, read[0].f32(), self.groups, m, self.inner);
        let b = Operand::new(self.b, read[1].f32(), self.groups, self.inner, self.cols);
        if records == 1 && (self.cols - 1) * self.out_col < self.out_row {
            let ([s, t], block) = (&mut Scratch::default(), block(m));
            for g in 0..self.groups {
                let (a, b) = (a.matrix(0, g, s), b.matrix(0, g, t));
                let out = &mut out[g * self.out_group..];
                let end = out.len().min(m * self.out_row);
                out[..end].par_chunks_mut(block * self.out_row).enumerate().for_each(|(i, out)| {
                    let (first, count) = (i * block, block.min(m - i * block));
                    self.product(a.rows(first, count), b, out);
                    self.finish(bias, g, m, first, count, out);
                });
            }
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

    /// Adds the bias and applies the activation to `count` of `m` rows, from row `first` of group `g` on.
    fn finish(&self, bias: Option<&[f32]>, g: usize, m: usize, first: usize, count: usize, out: &mut [f32]) {
        if self.bias.is_none() && self.activation.is_none() {
            return;
        }
        const BLOCK: usize = 256;
        let (mut sums, mut results) = ([0.0; BLOCK], [0.0; BLOCK]);
        for i in 0..count {
            for start in (0..self.cols).step_by(BLOCK) {
                let len = BLOCK.min(self.cols - start);
                let out = &mut out[i * self.out_row + start * self.out_col..];
                let (sums, results) = (&mut sums[..len], &mut results[..len]);
                if self.out_col == 1 {
                    sums.copy_from_slice(&out[..len]);
                } else {
                    sums.iter_mut().enumerate().for_each(|(j, s)| *s = out[j * self.out_col]);
                }
                match (self.bias, bias) {
                    (Some(Bias::Rows), Some(bias)) => {
                        let bias = bias[g * m + first + i];
                        sums.iter_mut().for_each(|s| *s += bias);
                    }
                    (Some(Bias::Cols), Some(bias)) => {
                        sums.iter_mut().zip(&bias[g * self.cols + start..]).for_each(|(s, b)| *s += b);
                    }
                    _ => {}
                }
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

    /// The convolution and the cotangent's record stride, if this is its input gradient, one input plane a row.
    fn input_gradient(&self) -> Option<(ConvGeometry, usize)> {
        match (self.a, self.b) {
            (View::WeightTransposed { conv }, View::CotangentPatches { conv: other, record })
                if conv == other && self.out_col == 1 && self.out_row >= self.cols =>
            {
                Some((conv, record))
            }
            _ => None,
        }
    }
}

/// Group `g` of a convolution's input gradient, planes `plane` elements apart: what every patch gets, `wᵀ dy`, scattered.
/// That is `stride²` times less work than the product of gathered cotangents.
fn input_gradient(
    conv: &ConvGeometry,
    w: &[f32],
    dy: &[f32],
    g: usize,
    scratch: &mut Vec<f32>,
    out: &mut [f32],
    plane: usize,
) {
    let (filters, patch, positions) = (conv.group_filters(), conv.patch(), conv.positions());
    let w = Matrix { data: &w[g * filters * patch..], rows: filters, cols: patch, row: patch, col: 1 };
    let dy = Matrix { data: &dy[g * filters * positions..], rows: filters, cols: positions, row: positions, col: 1 };
    scratch.resize(patch * positions, 0.0);
    matmul(MatrixMut::contiguous(scratch, patch, positions), Into::Set, 1.0, w.transposed(), dy);
    patches::scatter(conv, scratch, out, plane);
}
