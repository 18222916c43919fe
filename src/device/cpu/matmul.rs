//! Matrix products of strided views of slices: by the microkernel, or by the `gemm-f32` crate, which is called here alone.

use super::panels::{self, product};
use super::parallel;
use gemm_common::Parallelism;
use gemm_f32::gemm::f32::get_gemm_fn;

/// A matrix in a slice: element (`i`, `j`) is `data[i · row + j · col]`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Where the elements are.
    pub data: &'a [f32],
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Elements between rows.
    pub row: usize,
    /// Elements between columns.
    pub col: usize,
}

impl<'a> Matrix<'a> {
    /// The matrix with rows and columns exchanged.
    pub fn transposed(self) -> Matrix<'a> {
        Matrix { rows: self.cols, cols: self.rows, row: self.col, col: self.row, ..self }
    }

    /// `rows` rows from row `first` on.
    pub fn rows(self, first: usize, rows: usize) -> Matrix<'a> {
        assert!(first + rows <= self.rows, "rows {first}..{} of {}", first + rows, self.rows);
        Matrix { data: self.data.get(first * self.row..).unwrap_or(&[]), rows, ..self }
    }

    /// `cols` columns from column `first` on.
    pub fn cols(self, first: usize, cols: usize) -> Matrix<'a> {
        self.transposed().rows(first, cols).transposed()
    }

    /// Element (`i`, `j`).
    pub fn at(&self, i: usize, j: usize) -> f32 {
        self.data[i * self.row + j * self.col]
    }
}

/// A matrix that is written, laid out like a [`Matrix`].
#[derive(Debug)]
pub struct MatrixMut<'a> {
    /// Where the elements are.
    pub data: &'a mut [f32],
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Elements between rows.
    pub row: usize,
    /// Elements between columns.
    pub col: usize,
}

impl<'a> MatrixMut<'a> {
    /// A contiguous row-major matrix.
    pub fn contiguous(data: &'a mut [f32], rows: usize, cols: usize) -> MatrixMut<'a> {
        MatrixMut { data, rows, cols, row: cols, col: 1 }
    }

    /// The matrix with rows and columns exchanged.
    fn transposed(self) -> MatrixMut<'a> {
        MatrixMut { rows: self.cols, cols: self.rows, row: self.col, col: self.row, ..self }
    }
}

/// What a product does with what its destination holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Into {
    /// It is overwritten, and never read.
    Set,
    /// The product is added to it.
    Add,
}

/// Panics unless every element of the matrix lies in a slice of `len` elements.
fn check(what: &str, len: usize, [rows, cols]: [usize; 2], [row, col]: [usize; 2]) {
    let reach = (rows - 1).checked_mul(row).zip((cols - 1).checked_mul(col)).and_then(|(r, c)| r.checked_add(c));
    let inside = reach.is_some_and(|reach| reach < len) && [row, col].iter().all(|&s| isize::try_from(s).is_ok());
    assert!(inside, "{what}: [{rows}, {cols}] with strides {row} and {col} in {len} elements");
}

/// `out = scale · a b`, or `out += scale · a b`, on this thread alone.
///
/// # Panics
/// When the sizes do not fit together, or a matrix reaches beyond its slice.
pub fn matmul(out: MatrixMut, into: Into, scale: f32, a: Matrix, b: Matrix) {
    let (m, n, k) = (out.rows, out.cols, a.cols);
    assert_eq!((a.rows, b.rows, b.cols), (m, k, n), "sizes of a product");
    if m == 0 || n == 0 {
        return;
    }
    check("product", out.data.len(), [m, n], [out.row, out.col]);
    if k == 0 {
        if into == Into::Set {
            (0..m * n).for_each(|i| out.data[i / n * out.row + i % n * out.col] = 0.0);
        }
        return;
    }
    check("left operand", a.data.len(), [m, k], [a.row, a.col]);
    check("right operand", b.data.len(), [k, n], [b.row, b.col]);
    // Tiles are written line by line.
    let (out, a, b) = if out.row < out.col { (out.transposed(), b.transposed(), a.transposed()) } else { (out, a, b) };
    if panels::pays(out.rows, out.cols) {
        let (own, other) = (panels::work(a, b, false), panels::work(b.transposed(), a.transposed(), true));
        let (out, a, b) = match other < own && panels::pays(out.cols, out.rows) {
            true => (out.transposed(), b.transposed(), a.transposed()),
            false => (out, a, b),
        };
        let strides = [out.row, out.col];
        return parallel::with_scratch(|scratch| {
            product(a, b, scratch, |part, first| match (into == Into::Set && first, scale == 1.0) {
                (true, true) => part.set(out.data, strides),
                (true, false) => part.each(out.data, strides, |value, to| *to = scale * value),
                (false, _) => part.each(out.data, strides, |value, to| *to += scale * value),
            });
        });
    }
    // The crate's kernels want the columns of the product to be the longer step, and so may be given its transpose.
    let (out, a, b) = (out.transposed(), b.transposed(), a.transposed());
    // SAFETY: `check` has made sure that every element (i, j) of the three matrices lies inside its slice, and strides fit
    // an `isize`. `out.data` is borrowed mutably, so it overlaps neither operand. `read_dst` is set exactly where the
    // destination is added to; slices of f32 are always initialised.
    unsafe {
        get_gemm_fn()(
            out.rows,
            out.cols,
            k,
            out.data.as_mut_ptr(),
            out.col as isize,
            out.row as isize,
            into == Into::Add,
            a.data.as_ptr(),
            a.col as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.col as isize,
            b.row as isize,
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Terms that [`matmul_by_parts`] adds up at a time.
const PART: usize = 64;

/// `out = a b`, whose terms are added up in parts and these one after the other.
///
/// # Panics
/// As [`matmul`].
pub fn matmul_by_parts(out: MatrixMut, a: Matrix, b: Matrix) {
    let terms = a.cols;
    for first in (0..terms.max(1)).step_by(PART) {
        let count = PART.min(terms - first);
        let into = if first == 0 { Into::Set } else { Into::Add };
        let part = MatrixMut { data: &mut *out.data, ..out };
        matmul(part, into, 1.0, a.cols(first, count), b.rows(first, count));
    }
}

/// Roundings of [`matmul_by_parts`] with so many terms: of the multiplications and of a part's additions, then of the parts'.
pub fn roundings(terms: usize) -> usize {
    terms.min(PART) + terms.div_ceil(PART) - usize::from(terms <= PART)
}

/// `out = a b` for a left operand whose rows are records: where the machine has the microkernel, each row is the same to the last
/// bit whatever other rows there are. `out` has its rows one after the other.
///
/// # Panics
/// As [`matmul`].
pub fn by_records(out: MatrixMut, a: Matrix, b: Matrix) {
    if !panels::known() || a.cols == 0 || out.rows == 0 || out.cols == 0 {
        return matmul(out, Into::Set, 1.0, a, b);
    }
    assert_eq!((a.rows, b.rows, b.cols), (out.rows, a.cols, out.cols), "sizes of a product");
    check("product", out.data.len(), [out.rows, out.cols], [out.row, out.col]);
    parallel::with_scratch(|scratch| {
        product(a, b, scratch, |part, first| match first {
            true => part.set(out.data, [out.row, out.col]),
            false => part.each(out.data, [out.row, out.col], |value, to| *to += value),
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect()
    }

    #[test]
    fn strided_products_are_right_and_leave_gaps_alone() {
        for [m, n, k] in [[1, 1, 1], [3, 5, 7], [17, 33, 16], [64, 3, 130], [2, 70, 1]] {
            for (a_strides, b_strides, o_strides) in [
                ([k, 1], [n, 1], [n, 1]),
                ([1, m], [1, k], [1, m]),
                ([2 * k + 1, 2], [1, k + 3], [3 * n, 2]),
                ([0, 1], [1, 0], [n, 1]),
            ] {
                let (a, b) = (values(3 * m * k + 200), values(3 * n * k + 500));
                let a = Matrix { data: &a, rows: m, cols: k, row: a_strides[0], col: a_strides[1] };
                let b = Matrix { data: &b, rows: k, cols: n, row: b_strides[0], col: b_strides[1] };
                for into in [Into::Set, Into::Add] {
                    let before = if into == Into::Set { f32::NAN } else { 2.0 };
                    let mut out = vec![before; (m - 1) * o_strides[0] + (n - 1) * o_strides[1] + 1];
                    let mut expected: Vec<f64> = out.iter().map(|&x| x.into()).collect();
                    for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                        let sum: f64 = (0..k).map(|l| f64::from(a.at(i, l)) * f64::from(b.at(l, j))).sum();
                        let at = i * o_strides[0] + j * o_strides[1];
                        expected[at] = if into == Into::Set { 0.0 } else { 2.0 } - 0.5 * sum;
                    }
                    let to = MatrixMut { data: &mut out, rows: m, cols: n, row: o_strides[0], col: o_strides[1] };
                    matmul(to, into, -0.5, a, b);
                    for (got, want) in out.iter().zip(expected) {
                        assert!((f64::from(*got) - want).abs() < 1e-4 || got.is_nan() && want.is_nan(), "{got} {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_empty_sum_is_zero() {
        let empty = Matrix { data: &[], rows: 2, cols: 0, row: 0, col: 1 };
        let mut out = [f32::NAN; 4];
        matmul(MatrixMut::contiguous(&mut out, 2, 2), Into::Set, 1.0, empty, Matrix { rows: 0, cols: 2, ..empty });
        assert_eq!(out, [0.0; 4]);
    }

    #[test]
    #[should_panic(expected = "left operand")]
    fn operands_that_reach_too_far_panic() {
        let a = Matrix { data: &values(8), rows: 3, cols: 3, row: 3, col: 1 };
        let b = Matrix { data: &values(9), rows: 3, cols: 3, row: 3, col: 1 };
        matmul(MatrixMut::contiguous(&mut [0.0; 9], 3, 3), Into::Set, 1.0, a, b);
    }

    #[test]
    #[should_panic(expected = "product")]
    fn results_that_reach_too_far_panic() {
        let a = Matrix { data: &values(9), rows: 3, cols: 3, row: 3, col: 1 };
        let out = MatrixMut { data: &mut [0.0; 9], rows: 3, cols: 3, row: usize::MAX / 2, col: 1 };
        matmul(out, Into::Set, 1.0, a, a);
    }
}
