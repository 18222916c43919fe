//! What a sum over records adds a record's share to: floats, or integers of grid units.

use bytemuck::Pod;

use super::lanes::{self, widest};
use super::matmul::{Into, Matrix, MatrixMut, matmul};
use super::parallel::{room, with_scratch};

/// Whether a row holds no record, by its weight. A record that is left out, because a number of it is not finite, has the weight -0:
/// it takes as long as any other, and adds zeros.
pub fn holds_none(weight: f32) -> bool {
    weight.to_bits() == 0
}

/// Makes what a record adds nothing, if its `weight` is zero, whatever it is.
pub fn leave_out(own: &mut [f32], weight: f32) {
    if weight == 0.0 {
        own.fill(0.0);
    }
}

/// Elements below which it does not pay to look for wide registers.
const SHORT: usize = 64;

/// An element of a sum over records.
pub trait Sum: Pod + Default + Send + Sync {
    /// Adds `weight · terms` to `sums`, element by element.
    fn add_scaled(sums: &mut [Self], terms: &[f32], weight: f32);

    /// Adds four of them.
    fn add_weighted(sums: &mut [Self], terms: [&[f32]; 4], weights: [f32; 4]) {
        for (terms, weight) in terms.into_iter().zip(weights) {
            Self::add_scaled(sums, terms, weight);
        }
    }

    /// Adds the sums over k of `a(i, k) · b(j, k)` to `sums`, row i, column j: of integers, each product is rounded.
    fn add_products(sums: &mut [Self], a: Matrix, b: Matrix);

    /// The sum of two sums.
    fn plus(self, other: Self) -> Self;

    /// Adds other sums, element by element.
    fn add(sums: &mut [Self], others: &[Self]) {
        sums.iter_mut().zip(others).for_each(|(sum, other)| *sum = sum.plus(*other));
    }
}

impl Sum for f32 {
    #[inline]
    fn add_scaled(sums: &mut [f32], terms: &[f32], weight: f32) {
        if sums.len() < SHORT {
            return sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += weight * term);
        }
        lanes::add_scaled(sums, terms, weight);
    }

    fn add_weighted(sums: &mut [f32], terms: [&[f32]; 4], weights: [f32; 4]) {
        lanes::add_weighted(sums, terms, weights);
    }

    fn add_products(sums: &mut [f32], a: Matrix, b: Matrix) {
        matmul(MatrixMut::contiguous(sums, a.rows, b.rows), Into::Add, 1.0, a, b.transposed());
    }

    fn plus(self, other: f32) -> f32 {
        self + other
    }
}

/// Integers modulo 2³² of products below 2²² in magnitude.
pub type Grid = i32;

/// Integers modulo 2³² of products below 2⁶².
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct WideGrid(pub i32);

/// 1.5 · 2²³: an `f32` below 2²² in magnitude that is added to it is rounded to an integer, ties to even.
const ROUNDER: f32 = 12_582_912.0;

/// The integer next to `v`, ties to even, plus the bits of [`ROUNDER`].
#[inline(always)]
fn raised(v: f32) -> i32 {
    (v + ROUNDER).to_bits() as i32
}

/// The integer next to `v`, ties to even, where `v` is below 2²² in magnitude.
#[inline(always)]
pub fn rounded(v: f32) -> i32 {
    raised(v).wrapping_sub(ROUNDER.to_bits() as i32)
}

/// The integer next to `v`, ties to even, modulo 2³², where `v` is below 2⁶² in magnitude.
#[inline(always)]
fn rounded_wide(v: f32) -> i32 {
    // 1.5 · 2⁵² plus an integer below 2⁵¹ in magnitude has that in its last bits.
    const ROUNDER: f64 = 6_755_399_441_055_744.0;
    const MODULUS: f64 = 4_294_967_296.0;
    let v = f64::from(v);
    // `v` has 24 bits, so that no number here but the last is rounded.
    let rest = v - ((v / MODULUS + ROUNDER) - ROUNDER) * MODULUS;
    (rest + ROUNDER).to_bits() as i32
}

impl Sum for Grid {
    #[inline]
    fn add_scaled(sums: &mut [i32], terms: &[f32], weight: f32) {
        if sums.len() < SHORT {
            return sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum = sum.wrapping_add(rounded(weight * term)));
        }
        add_rounded(sums, terms, weight);
    }

    fn add_weighted(sums: &mut [i32], terms: [&[f32]; 4], weights: [f32; 4]) {
        add_four_rounded(sums, terms, weights);
    }

    fn add_products(sums: &mut [i32], a: Matrix, b: Matrix) {
        with_scratch(|[s, t]: &mut [Vec<f32>; 2]| add_rounded_products(sums, by_columns(a, s), by_columns(b, t)));
    }

    fn plus(self, other: i32) -> i32 {
        self.wrapping_add(other)
    }
}

impl Sum for WideGrid {
    fn add_scaled(sums: &mut [WideGrid], terms: &[f32], weight: f32) {
        add_rounded_wide(sums, terms, weight);
    }

    fn add_products(sums: &mut [WideGrid], a: Matrix, b: Matrix) {
        with_scratch(|[s, t]: &mut [Vec<f32>; 2]| {
            let cols = b.rows;
            each_product(by_columns(a, s), by_columns(b, t), |i, a, line| {
                WideGrid::add_scaled(&mut sums[i * cols..][..cols], line, a);
            });
        });
    }

    fn plus(self, other: WideGrid) -> WideGrid {
        WideGrid(self.0.wrapping_add(other.0))
    }
}

widest! {
    /// Adds the rounded products of `weight` and `terms` to `sums`.
    add_rounded(sums: &mut [i32], terms: &[f32], weight: f32) {
        sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum = sum.wrapping_add(rounded(weight * term)));
    }
}

widest! {
    /// The same of wide ones.
    add_rounded_wide(sums: &mut [WideGrid], terms: &[f32], weight: f32) {
        sums.iter_mut().zip(terms).for_each(|(sum, term)| sum.0 = sum.0.wrapping_add(rounded_wide(weight * term)));
    }
}

widest! {
    /// Adds the rounded products of each weight and its terms to `sums`.
    add_four_rounded(sums: &mut [i32], terms: [&[f32]; 4], weights: [f32; 4]) {
        let [a, b, c, d] = terms.map(|terms| &terms[..sums.len()]);
        let offset = (ROUNDER.to_bits() as i32).wrapping_mul(4);
        for (i, sum) in sums.iter_mut().enumerate() {
            let two = raised(weights[0] * a[i]).wrapping_add(raised(weights[1] * b[i]));
            let others = raised(weights[2] * c[i]).wrapping_add(raised(weights[3] * d[i]));
            *sum = sum.wrapping_add(two.wrapping_add(others).wrapping_sub(offset));
        }
    }
}

/// Columns of a strip of [`add_rounded_products`]: those of many terms stay in the innermost cache.
const STRIP: usize = 128;

/// A matrix whose columns are each in one piece: `a` itself, or a copy in `scratch`.
fn by_columns<'a>(a: Matrix<'a>, scratch: &'a mut Vec<f32>) -> Matrix<'a> {
    if a.row == 1 {
        return a;
    }
    let data = room(scratch, a.rows * a.cols);
    for (k, column) in data.chunks_exact_mut(a.rows.max(1)).enumerate() {
        column.iter_mut().enumerate().for_each(|(i, value)| *value = a.at(i, k));
    }
    Matrix { data, row: 1, col: a.rows, ..a }
}

/// Calls `add(row, column, a, b)` with what each row of `a · bᵀ` adds up: for each column of both, the element of `a` and the column
/// of `b`.
fn each_product<'b>(a: Matrix, b: Matrix<'b>, mut add: impl FnMut(usize, f32, &'b [f32])) {
    for k in 0..a.cols {
        let line = &b.data[k * b.col..][..b.rows];
        (0..a.rows).for_each(|i| add(i, a.data[i + k * a.col], line));
    }
}

/// [`Sum::add_products`] of [`Grid`], of matrices by columns. Lines have a length that is not known before: of short ones that are, LLVM
/// makes no vectors for AVX2.
fn add_rounded_products(sums: &mut [i32], a: Matrix, b: Matrix) {
    let (cols, whole) = (b.rows, a.cols / 4 * 4);
    for first in (0..cols).step_by(STRIP) {
        let width = STRIP.min(cols - first);
        let line = |k: usize| &b.data[k * b.col + first..][..width];
        for i in 0..a.rows {
            let to = &mut sums[i * cols + first..][..width];
            let weight = |k: usize| a.data[i + k * a.col];
            for k in (0..whole).step_by(4) {
                let four = [k, k + 1, k + 2, k + 3];
                add_four_rounded(to, four.map(line), four.map(weight));
            }
            (whole..a.cols).for_each(|k| add_rounded(to, line(k), weight(k)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 37 + seed) % 101) as f32 * 40.3 - 2000.0).collect()
    }

    fn exact(v: f32) -> i32 {
        f64::from(v).round_ties_even() as i64 as i32
    }

    #[test]
    fn integers_are_the_next_ones_with_ties_to_even() {
        for v in [0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.499_999_97, 4_186_111.5, -4_194_303.5, 1e-30] {
            assert_eq!(rounded(v), exact(v), "{v}");
            let mut sum = [WideGrid(7)];
            WideGrid::add_scaled(&mut sum, &[v], 1.0);
            assert_eq!(sum[0].0, 7 + exact(v), "{v}");
        }
    }

    #[test]
    fn wide_integers_are_the_next_ones_modulo_two_to_the_32() {
        let fractions = [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 1023.5, 2_097_151.5, 8_388_607.5];
        let powers = (0..=61).map(|power| (power as f32).exp2());
        let near = powers.flat_map(|power| [power, power * (1.0 - f32::EPSILON / 2.0), power * (1.0 + f32::EPSILON)]);
        for v in near.chain(fractions) {
            for v in [v, -v] {
                assert_eq!(rounded_wide(v), exact(v), "{v}");
            }
        }
        let mut word = 1u32;
        for _ in 0..1_000_000 {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let v = f32::from_bits(word);
            if v.abs() < 2f32.powi(62) {
                assert_eq!(rounded_wide(v), exact(v), "{v}");
            }
        }
    }

    #[test]
    fn wide_products_count_modulo_two_to_the_32() {
        let mut sum = [WideGrid(1); 3];
        WideGrid::add_scaled(&mut sum, &[4_294_967_296.0, 4_294_968_320.0, -1e18], 1.0);
        assert_eq!(sum.map(|s| s.0), [1, 1025, (1 + -1e18_f32 as i64) as i32]);
        // What two uses add cancels.
        WideGrid::add_scaled(&mut sum, &[1e15, 1e15, 1e18], 1.0);
        WideGrid::add_scaled(&mut sum, &[1e15, 1e15, 0.0], -1.0);
        assert_eq!(sum[2].0, 1);
    }

    #[test]
    fn sums_of_any_grouping_are_the_same() {
        let terms: Vec<Vec<f32>> = (0..4).map(|k| values(77, 5 * k)).collect();
        let weights = [0.25, -3.1, 1e-3, 7.0];
        let (mut one, mut four) = (vec![3; 77], vec![3; 77]);
        for (terms, weight) in terms.iter().zip(weights).rev() {
            Grid::add_scaled(&mut one, terms, weight);
        }
        Grid::add_weighted(&mut four, [&terms[0], &terms[1], &terms[2], &terms[3]], weights);
        assert_eq!(one, four);
    }

    #[test]
    fn products_are_rounded_one_by_one() {
        for [rows, cols, lines] in [[1, 1, 1], [4, 32, 3], [5, 33, 2], [9, 70, 17], [3, 64, 1], [8, 96, 40], [6, 3, 5]]
        {
            let (a, b) = (values(rows * lines, 11), values(cols * lines, 5));
            let a: Vec<f32> = a.iter().map(|a| a / 30.0).collect();
            for by_columns in [true, false] {
                let matrix = |data, rows| match by_columns {
                    true => Matrix { data, rows, cols: lines, row: 1, col: rows },
                    false => Matrix { data, rows, cols: lines, row: lines, col: 1 },
                };
                let (a, b) = (matrix(&a, rows), matrix(&b, cols));
                let mut sums = (vec![1; rows * cols], vec![WideGrid(1); rows * cols]);
                Grid::add_products(&mut sums.0, a, b);
                WideGrid::add_products(&mut sums.1, a, b);
                for (at, sum) in sums.0.iter().enumerate() {
                    let terms = (0..lines).map(|k| i64::from(exact(a.at(at / cols, k) * b.at(at % cols, k))));
                    assert_eq!(i64::from(*sum), 1 + terms.sum::<i64>(), "{rows} {cols} {lines}");
                    assert_eq!(sums.1[at].0, *sum);
                }
            }
        }
    }
}
