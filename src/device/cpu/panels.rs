//! Products by the microkernel: the right operand packed into panels, the left one read where it is, or packed where its rows
//! are not in one piece.

use bytemuck::Pod;

use super::matmul::{Into, Matrix, MatrixMut, matmul};
use super::microkernel::{self, COLS, FEWEST, HALF, ROWS, Rows, SQUARE, Tile, tile};
use super::parallel::{room, with_scratch};

/// Rows of a right operand that are packed at a time: a panel of as many lines stays in the innermost caches.
const TERMS: usize = 512;
/// Columns that are packed at a time, so that all panels of [`TERMS`] lines stay in a core's own cache.
const COLUMNS: usize = 256;
/// Rows of a left operand that stay in cache.
const FEW: usize = 64;

/// A tile of a product, or of a sum of products.
pub struct Part<'a, T = f32> {
    pub tile: &'a [T; ROWS * COLS],
    /// Its first row and column.
    pub at: [usize; 2],
    /// How many of its rows and columns are in the product.
    pub size: [usize; 2],
}

impl Part<'_> {
    /// Sets each element of a matrix with these strides.
    pub fn set(&self, out: &mut [f32], [row, col]: [usize; 2]) {
        let ([i, j], [rows, cols]) = (self.at, self.size);
        if row != 1 || col == 1 {
            return self.each(out, [row, col], |value, to| *to = value);
        }
        let whole = cols / SQUARE * SQUARE;
        for c in (0..whole).step_by(SQUARE) {
            microkernel::store_columns(&self.tile[c..], rows, &mut out[i + (j + c) * col..], col);
        }
        for c in whole..cols {
            let to = &mut out[i + (j + c) * col..][..rows];
            to.iter_mut().enumerate().for_each(|(r, to)| *to = self.tile[r * COLS + c]);
        }
    }
}

impl<T: Pod> Part<'_, T> {
    /// Calls `f(value, result)` for each element and its place in a matrix with these strides.
    pub fn each(&self, out: &mut [T], [row, col]: [usize; 2], mut f: impl FnMut(T, &mut T)) {
        let ([i, j], [rows, cols]) = (self.at, self.size);
        if col == 1 {
            for (r, line) in self.tile.chunks_exact(COLS).take(rows).enumerate() {
                let to = &mut out[(i + r) * row + j..][..cols];
                to.iter_mut().zip(line).for_each(|(to, &value)| f(value, to));
            }
            return;
        }
        let whole = if row == 1 { cols / SQUARE * SQUARE } else { 0 };
        for c in (0..whole).step_by(SQUARE) {
            let to = &mut out[i + (j + c) * col..];
            match rows {
                ROWS => self.columns::<ROWS>(c, to, col, &mut f),
                SQUARE => self.columns::<SQUARE>(c, to, col, &mut f),
                _ => (0..rows).step_by(FEWEST).for_each(|r| {
                    let own = FEWEST.min(rows - r);
                    self.turned(r, c, |k, column| {
                        let to = &mut to[r + k * col..][..own];
                        to.iter_mut().zip(column).for_each(|(to, &value)| f(value, to));
                    });
                }),
            }
        }
        for c in whole..cols {
            let to = &mut out[i * row + (j + c) * col..];
            for r in 0..rows {
                f(self.tile[r * COLS + c], &mut to[r * row]);
            }
        }
    }

    /// [`Part::each`] of all `R` rows, which are side by side in `to`, and of [`SQUARE`] columns from column `first` on.
    fn columns<const R: usize>(&self, first: usize, to: &mut [T], col: usize, f: &mut impl FnMut(T, &mut T)) {
        self.turned(0, first, |k, column| {
            to[k * col..][..SQUARE].iter_mut().zip(column).for_each(|(to, &value)| f(value, to));
        });
        if R > SQUARE {
            // Of rows that end with the last.
            let (start, known) = (R - SQUARE, 2 * SQUARE - R);
            self.turned(start, first, |k, column| {
                let to = &mut to[SQUARE + k * col..][..SQUARE - known];
                to.iter_mut().zip(&column[known..]).for_each(|(to, &value)| f(value, to));
            });
        }
    }

    /// Calls `f(k, column)` with the elements of column `first + k` in [`SQUARE`] rows from row `row` on, or with fewer where the tile ends.
    fn turned(&self, row: usize, first: usize, mut f: impl FnMut(usize, &[T])) {
        let mut columns = [[0.0; SQUARE]; SQUARE];
        let (from, skipped) = if row + SQUARE <= ROWS { (row, 0) } else { (ROWS - SQUARE, row + SQUARE - ROWS) };
        // Elements are moved bit by bit, whatever they are.
        microkernel::columns(bytemuck::cast_slice(&self.tile[from * COLS + first..]), COLS, &mut columns);
        for (k, column) in columns.iter().enumerate() {
            let column: &[T] = bytemuck::cast_slice(column);
            f(k, &column[skipped..]);
        }
    }
}

/// Whether this machine has the microkernel.
pub fn known() -> bool {
    #[cfg(target_arch = "x86_64")]
    let known = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    let known = false;
    known
}

/// Whether products of this size are made here faster than by the `gemm-f32` crate: it has kernels of its own for vectors, and
/// for other machines.
pub fn pays(rows: usize, cols: usize) -> bool {
    known() && rows >= FEWEST && cols >= HALF / 2
}

/// What `a · b` takes here for each of its terms, in sixteenths of a processor's cycle, about: the tiles with what is empty of them, what
/// is gathered of `a`, what is packed of `b`, and columns in the place of lines where the result is `turned`. An element is the same to the
/// last bit either way.
pub fn work(a: Matrix, b: Matrix, turned: bool) -> usize {
    let padded: usize = widths(b.cols).map(|(_, _, width)| width).sum();
    let gathered = if a.col == 1 { 0 } else { 12 * a.rows };
    let packed = if b.col == 1 { 4 } else { 12 } * b.cols;
    let stored = if turned { 3 * a.rows * b.cols / a.cols.max(1) } else { 0 };
    a.rows * padded + gathered + packed + stored
}

/// A right operand whose columns are packed into panels of `COLS`, of which the last may be half as wide.
#[derive(Clone, Copy)]
pub struct Panels<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
}

impl<'a> Panels<'a> {
    /// Packs a matrix.
    pub fn pack(b: Matrix, scratch: &'a mut Vec<f32>) -> Panels<'a> {
        let data = room(scratch, b.rows * widths(b.cols).map(|(_, _, width)| width).sum::<usize>());
        for (first, count, width) in widths(b.cols) {
            let panel = &mut data[b.rows * first..][..b.rows * width];
            if b.col == 1 {
                for (k, line) in panel.chunks_exact_mut(width).enumerate() {
                    let from = &b.data[k * b.row + first..];
                    match (from.first_chunk::<COLS>(), line.first_chunk_mut::<COLS>()) {
                        (Some(from), Some(line)) if count == COLS => *line = *from,
                        _ => line[..count].copy_from_slice(&from[..count]),
                    }
                }
            } else {
                transpose(b.transposed(), first, count, width, panel);
            }
        }
        Panels { data, rows: b.rows, cols: b.cols }
    }

    /// Calls `store` with the tiles of `a · b`; `scratch` is for rows of `a`.
    pub fn times(self, a: Matrix, scratch: &mut Vec<f32>, mut store: impl FnMut(Part)) {
        assert_eq!(a.cols, self.rows, "sizes of a product");
        if a.col == 1 && a.rows <= FEW {
            // All rows stay in cache while each panel is there.
            for place in widths(self.cols) {
                (0..a.rows).step_by(ROWS).for_each(|i| self.tile(Left::rows(a, i), place, &mut store));
            }
            return;
        }
        for i in (0..a.rows).step_by(ROWS) {
            let left = if a.col == 1 { Left::rows(a, i) } else { Left::gathered(a, i, scratch) };
            widths(self.cols).for_each(|place| self.tile(left, place, &mut store));
        }
    }

    fn tile(self, left: Left, (first, count, width): (usize, usize, usize), store: &mut impl FnMut(Part)) {
        let panel = &self.data[self.rows * first..][..self.rows * width];
        let mut out: Tile = [0.0; ROWS * COLS];
        tile(&left.rows, panel, width == HALF, &mut out);
        store(Part { tile: &out, at: [left.first, first], size: [left.count, count] });
    }
}

/// Writes rows `first..first + count` of `b` as columns of a panel, whose lines are `width` elements apart.
pub fn transpose(b: Matrix, first: usize, count: usize, width: usize, panel: &mut [f32]) {
    // Rows in one piece go by squares that fit the registers.
    let squares = if b.col == 1 { [count / SQUARE * SQUARE, b.cols / SQUARE * SQUARE] } else { [0; 2] };
    let mut columns = [[0.0; SQUARE]; SQUARE];
    for start in (0..squares[1]).step_by(SQUARE) {
        let lines = &mut panel[start * width..];
        for j in (0..squares[0]).step_by(SQUARE) {
            microkernel::columns(&b.data[(first + j) * b.row + start..], b.row, &mut columns);
            for (line, column) in lines.chunks_mut(width).zip(&columns) {
                line[j..j + SQUARE].copy_from_slice(column);
            }
        }
    }
    one_by_one(b, [first, count], [squares[0], 0], squares[1], width, panel);
    one_by_one(b, [first, count], [0, squares[1]], b.cols - squares[1], width, panel);
}

/// [`transpose`] of the rows from row `from[0]` on, and of `cols` of their elements from element `from[1]` on.
fn one_by_one(b: Matrix, [first, count]: [usize; 2], from: [usize; 2], cols: usize, width: usize, panel: &mut [f32]) {
    const BLOCK: usize = 16;
    let end = from[1] + cols;
    for start in (from[1]..end).step_by(BLOCK) {
        let len = BLOCK.min(end - start);
        for j in from[0]..count {
            let from = &b.data[(first + j) * b.row + start * b.col..];
            for k in 0..len {
                panel[(start + k) * width + j] = from[k * b.col];
            }
        }
    }
}

/// Rows of a left operand: as many as a tile has, or what is left.
#[derive(Clone, Copy)]
struct Left<'a> {
    first: usize,
    count: usize,
    rows: Rows<'a>,
}

impl<'a> Left<'a> {
    /// The rows from row `first` on where they are, each in one piece.
    fn rows(a: Matrix<'a>, first: usize) -> Left<'a> {
        let count = ROWS.min(a.rows - first);
        let offsets = std::array::from_fn(|r| r.min(count - 1) * a.row);
        let rows = Rows { data: &a.data[first * a.row..], count, offsets, segments: 1, step: 0, len: a.cols, inc: 1 };
        Left { first, count, rows }
    }

    /// The rows side by side, element by element.
    fn gathered(a: Matrix, first: usize, scratch: &'a mut Vec<f32>) -> Left<'a> {
        let Left { count, rows: Rows { data, offsets, .. }, .. } = Left::rows(a, first);
        let lines = room(scratch, ROWS * a.cols);
        for (k, line) in lines.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
            let from = &data[k * a.col..];
            match from.first_chunk::<ROWS>() {
                Some(from) if a.row == 1 && count == ROWS => *line = *from,
                _ => line.iter_mut().zip(offsets).for_each(|(x, offset)| *x = from[offset]),
            }
        }
        let offsets = std::array::from_fn(|r| r);
        Left { first, count, rows: Rows { data: lines, count, offsets, segments: 1, step: 0, len: a.cols, inc: ROWS } }
    }
}

/// First column, number of columns and width of each panel.
fn widths(cols: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..cols).step_by(COLS).map(move |first| {
        let count = COLS.min(cols - first);
        (first, count, if count <= HALF { HALF } else { COLS })
    })
}

/// Room for the panels and for rows of the left operand.
pub type Scratch = [Vec<f32>; 2];

/// Calls `store(part, first)` with tiles of `a · b`; where `first` is false, they are to be added to what came before at their
/// place.
pub fn product(a: Matrix, b: Matrix, [panels, rows]: &mut Scratch, mut store: impl FnMut(Part, bool)) {
    for column in (0..b.cols).step_by(COLUMNS) {
        let b = b.cols(column, COLUMNS.min(b.cols - column));
        for term in (0..b.rows).step_by(TERMS) {
            let terms = TERMS.min(b.rows - term);
            let panels = Panels::pack(b.rows(term, terms), panels);
            panels.times(a.cols(term, terms), rows, |part| {
                let [i, j] = part.at;
                store(Part { at: [i, column + j], ..part }, term == 0);
            });
        }
    }
}

/// A right operand of many products, packed once.
pub struct Prepared<'a> {
    b: Matrix<'a>,
    /// Its panels, where products of so many rows are made with them.
    packed: Option<Vec<f32>>,
}

impl<'a> Prepared<'a> {
    /// Prepares a matrix for left operands of up to `rows` rows.
    pub fn new(b: Matrix<'a>, rows: usize) -> Prepared<'a> {
        Prepared::packed(b, pays(rows, b.cols))
    }

    /// Prepares a matrix for left operands whose rows are records: each row of a product is the same whatever others there are.
    pub fn of_records(b: Matrix<'a>) -> Prepared<'a> {
        Prepared::packed(b, known())
    }

    fn packed(b: Matrix<'a>, pays: bool) -> Prepared<'a> {
        let packed = pays.then(|| {
            let mut data = Vec::new();
            Panels::pack(b, &mut data);
            data
        });
        Prepared { b, packed }
    }

    /// Sets `out`, the rows of the product one after the other, to `a · b`.
    pub fn product(&self, a: Matrix, out: &mut [f32]) {
        let Matrix { rows, cols, .. } = self.b;
        let Some(data) = &self.packed else {
            return matmul(MatrixMut::contiguous(out, a.rows, cols), Into::Set, 1.0, a, self.b);
        };
        let panels = Panels { data, rows, cols };
        with_scratch(|scratch: &mut Vec<f32>| {
            panels.times(a, scratch, |part| part.set(out, [cols, 1]));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 37 + seed) % 101) as f32 / 50.0 - 1.0).collect()
    }

    #[test]
    fn products_of_any_size_and_layout_are_right() {
        for [m, n, k] in [[1, 1, 1], [8, 32, 5], [9, 33, 17], [70, 49, 3], [13, 300, 2], [5, 17, 1100], [65, 16, 513]] {
            for turned in 0..4 {
                let (a, b) = (values(m * k, 11), values(k * n, 5));
                let strides = |rows, cols, turned| if turned { (1, rows) } else { (cols, 1) };
                let ((a_row, a_col), (b_row, b_col)) = (strides(m, k, turned & 1 == 1), strides(k, n, turned & 2 == 2));
                let a = Matrix { data: &a, rows: m, cols: k, row: a_row, col: a_col };
                let b = Matrix { data: &b, rows: k, cols: n, row: b_row, col: b_col };
                let exact = |i, j| (0..k).map(|l| f64::from(a.at(i, l)) * f64::from(b.at(l, j))).sum::<f64>();
                let mut outs = [vec![f32::NAN; m * n], vec![f32::NAN; m * n]];
                product(a, b, &mut Scratch::default(), |part, first| {
                    part.each(&mut outs[0], [n, 1], |value, to| *to = if first { value } else { *to + value });
                });
                Prepared::new(b, m).product(a, &mut outs[1]);
                for (at, out) in outs.iter().flat_map(|out| out.iter().enumerate()) {
                    let expected = exact(at / n, at % n);
                    assert!((f64::from(*out) - expected).abs() < 1e-3, "{m} {n} {k} {turned}: {out} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_those_beside_it() {
        let (m, n, k) = (21, 40, 700);
        let (a, b) = (values(m * k, 11), values(k * n, 5));
        let a = Matrix { data: &a, rows: m, cols: k, row: k, col: 1 };
        let b = Matrix { data: &b, rows: k, cols: n, row: n, col: 1 };
        let of = |first: usize, rows: usize| {
            let mut out = vec![0.0; rows * n];
            product(a.rows(first, rows), b, &mut Scratch::default(), |part, first| {
                part.each(&mut out, [n, 1], |value, to| *to = if first { value } else { *to + value });
            });
            out
        };
        assert_eq!(of(0, m)[5 * n..16 * n], of(5, 11));
    }
}
