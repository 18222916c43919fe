//! Products of matrices of `f32`, in `f64`: for norms and shares of gradients whose terms cancel.

use super::lanes::widest;
use super::matmul::Matrix;

/// Rows of a block that is worked out in registers.
const ROWS: usize = 4;
/// Columns of such a block.
const COLS: usize = 16;

/// Roundings of a sum of products in `f64`, in unit roundoffs of `f32`. A product of two `f32` is exact, and an addition rounds by
/// 2⁻²⁹ of such a unit; twice that is for what depends on the result.
pub fn roundings(terms: usize) -> f64 {
    (terms as f64 + 1.0) / f64::from(1 << 28)
}

/// The sum of squares, in lanes.
#[inline(always)]
pub fn squares<T: Copy + Into<f64>>(x: &[T]) -> f64 {
    let mut lanes = [0.0; 8];
    let add = |(lane, x): (&mut f64, &T)| {
        let x: f64 = (*x).into();
        *lane += x * x;
    };
    let (whole, rest) = x.as_chunks::<8>();
    for terms in whole {
        lanes.iter_mut().zip(terms).for_each(add);
    }
    lanes.iter_mut().zip(rest).for_each(add);
    lanes.iter().sum()
}

/// Both operands column by column, with zeros after the last rows.
#[derive(Default)]
pub struct Columns([Vec<f32>; 2]);

/// Sets `out`, row by row, to the sums over k of `a(i, k) · b(j, k)`.
///
/// # Panics
/// When the sizes do not fit together.
pub fn products(a: Matrix, b: Matrix, Columns([s, t]): &mut Columns, out: &mut [f64]) {
    assert_eq!(a.cols, b.cols, "terms of a product");
    assert_eq!(out.len(), a.rows * b.rows, "results of a product");
    let (left, right) = (by_columns(a, ROWS, s), by_columns(b, COLS, t));
    for i in (0..a.rows).step_by(ROWS) {
        for j in (0..b.rows).step_by(COLS) {
            let mut sums = [[0.0; COLS]; ROWS];
            block(&mut sums, (&left[i..], a.rows.next_multiple_of(ROWS)), (&right[j..], b.rows.next_multiple_of(COLS)));
            let count = COLS.min(b.rows - j);
            for (r, sums) in sums.iter().enumerate().take(a.rows - i) {
                out[(i + r) * b.rows + j..][..count].copy_from_slice(&sums[..count]);
            }
        }
    }
}

/// The columns of a matrix, one after the other, each as long as the next multiple of `unit`.
fn by_columns<'s>(a: Matrix, unit: usize, out: &'s mut Vec<f32>) -> &'s [f32] {
    let line = a.rows.next_multiple_of(unit);
    out.clear();
    out.resize(a.cols * line, 0.0);
    for (k, column) in out.chunks_exact_mut(line.max(1)).enumerate() {
        column.iter_mut().take(a.rows).enumerate().for_each(|(i, value)| *value = a.at(i, k));
    }
    out
}

widest! {
    /// Adds a block of products of columns, which begin as many elements apart as is said.
    block(sums: &mut [[f64; COLS]; ROWS], a: (&[f32], usize), b: (&[f32], usize)) {
        let mut own = *sums;
        for (a, b) in a.0.chunks(a.1).zip(b.0.chunks(b.1)) {
            let (Some(a), Some(b)) = (a.first_chunk::<ROWS>(), b.first_chunk::<COLS>()) else { break };
            let b = b.map(f64::from);
            for (sums, a) in own.iter_mut().zip(a.map(f64::from)) {
                sums.iter_mut().zip(&b).for_each(|(sum, b)| *sum += a * b);
            }
        }
        *sums = own;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_terms_that_cancel_leave_the_small_ones() {
        for [rows, cols, terms] in [[1, 1, 1], [3, 17, 5], [4, 16, 64], [9, 33, 130], [1, 40, 7]] {
            let term = |i: usize| {
                let small = (i * 37 % 101) as f32 / 7.0 - 5.0;
                if i.is_multiple_of(3) { 1e12 + small } else { small }
            };
            let a: Vec<f32> = (0..rows * terms).map(term).collect();
            let b: Vec<f32> = (0..cols * terms).map(|i| term(i + 5)).collect();
            for by_rows in [true, false] {
                let matrix = |data, rows| match by_rows {
                    true => Matrix { data, rows, cols: terms, row: terms, col: 1 },
                    false => Matrix { data, rows, cols: terms, row: 1, col: rows },
                };
                let (a, b) = (matrix(&a, rows), matrix(&b, cols));
                let mut out = vec![f64::NAN; rows * cols];
                products(a, b, &mut Columns::default(), &mut out);
                for (at, found) in out.iter().enumerate() {
                    let terms = (0..terms).map(|k| f64::from(a.at(at / cols, k)) * f64::from(b.at(at % cols, k)));
                    assert_eq!(*found, terms.fold(0.0, |sum, term| sum + term), "{rows} {cols}");
                }
            }
        }
    }
}
