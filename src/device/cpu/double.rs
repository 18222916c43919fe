//! Products of matrices of `f32`, in `f64`: for norms and shares of gradients whose terms cancel.

use super::matmul::Matrix;
use super::panels::transpose;

/// Rows of a block that is worked out in registers.
const ROWS: usize = 4;
/// Terms of products that are added at a time: the columns of so many stay in a core's own cache.
const TERMS: usize = 256;

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
pub fn products(a: Matrix, b: Matrix, columns: &mut Columns, out: &mut [f64]) {
    assert_eq!(a.cols, b.cols, "terms of a product");
    assert_eq!(out.len(), a.rows * b.rows, "results of a product");
    out.fill(0.0);
    for first in (0..a.cols).step_by(TERMS) {
        let count = TERMS.min(a.cols - first);
        add(a.cols(first, count), b.cols(first, count), columns, out);
    }
}

/// Adds the products of some terms, in the widest registers. That of two `f32` is exact, so that to multiply and add at once rounds no
/// other than to do one after the other.
fn add(a: Matrix, b: Matrix, columns: &mut Columns, out: &mut [f64]) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f")]
        fn with_avx512(a: Matrix, b: Matrix, columns: &mut Columns, out: &mut [f64]) {
            by_blocks::<16, true>(a, b, columns, out);
        }
        #[target_feature(enable = "avx2,fma")]
        fn with_avx2(a: Matrix, b: Matrix, columns: &mut Columns, out: &mut [f64]) {
            by_blocks::<8, true>(a, b, columns, out);
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has just said that it has AVX-512F.
            return unsafe { with_avx512(a, b, columns, out) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has just said that it has AVX2 and FMA.
            return unsafe { with_avx2(a, b, columns, out) };
        }
    }
    by_blocks::<8, false>(a, b, columns, out);
}

/// [`add`] in blocks of so many columns.
#[inline(always)]
fn by_blocks<const COLS: usize, const FUSED: bool>(
    a: Matrix,
    b: Matrix,
    Columns([s, t]): &mut Columns,
    out: &mut [f64],
) {
    let (left, right) = (by_columns(a, ROWS, s), by_columns(b, COLS, t));
    let [a_line, b_line] = [a.rows.next_multiple_of(ROWS), b.rows.next_multiple_of(COLS)];
    for i in (0..a.rows).step_by(ROWS) {
        for j in (0..b.rows).step_by(COLS) {
            let count = COLS.min(b.rows - j);
            let place = |r: usize| (i + r) * b.rows + j;
            let mut sums = [[0.0; COLS]; ROWS];
            for (r, sums) in sums.iter_mut().enumerate().take(a.rows - i) {
                sums[..count].copy_from_slice(&out[place(r)..][..count]);
            }
            for (a, b) in left[i..].chunks(a_line).zip(right[j..].chunks(b_line)) {
                let (Some(a), Some(b)) = (a.first_chunk::<ROWS>(), b.first_chunk::<COLS>()) else { break };
                // By index, LLVM makes no vectors of it.
                let b = b.map(f64::from);
                for (sums, a) in sums.iter_mut().zip(a.map(f64::from)) {
                    let fused =
                        |(sum, b): (&mut f64, &f64)| *sum = if FUSED { a.mul_add(*b, *sum) } else { *sum + a * b };
                    sums.iter_mut().zip(&b).for_each(fused);
                }
            }
            for (r, sums) in sums.iter().enumerate().take(a.rows - i) {
                out[place(r)..][..count].copy_from_slice(&sums[..count]);
            }
        }
    }
}

/// The columns of a matrix, one after the other, each as long as the next multiple of `unit`.
fn by_columns<'s>(a: Matrix, unit: usize, out: &'s mut Vec<f32>) -> &'s [f32] {
    let line = a.rows.next_multiple_of(unit);
    out.clear();
    out.resize(a.cols * line, 0.0);
    if a.row == 1 {
        for (k, column) in out.chunks_exact_mut(line.max(1)).enumerate() {
            column[..a.rows].copy_from_slice(&a.data[k * a.col..][..a.rows]);
        }
    } else {
        transpose(a, 0, a.rows, line, out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_terms_that_cancel_leave_the_small_ones() {
        for [rows, cols, terms] in [[1, 1, 1], [3, 17, 5], [4, 16, 64], [9, 33, 130], [1, 40, 7], [5, 20, 613]] {
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
