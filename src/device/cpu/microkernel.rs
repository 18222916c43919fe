//! The innermost loop of products whose operands are read where they are: a tile of the result in registers.
//!
//! The left operand is read element by element from the buffer, by an offset for each row; the right one is packed into a
//! panel. So what a convolution multiplies need not be written out first.

/// Rows of a tile.
pub const ROWS: usize = 12;
/// Rows below which a tile does not pay.
pub const FEWEST: usize = 4;
/// Rows and columns of what [`columns`] turns.
pub const SQUARE: usize = 8;
/// Columns of a tile.
pub const COLS: usize = 32;
/// Columns of a tile that is half as wide.
pub const HALF: usize = COLS / 2;

/// A tile, one row after the other, `COLS` elements apart.
pub type Tile = [f32; ROWS * COLS];

/// Rows of a left operand: element `l` of segment `s` of row `i` is `data[offsets[i] + s · step + l · inc]`.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub data: &'a [f32],
    /// How many there are, at most [`ROWS`]; the offsets behind theirs are not used.
    pub count: usize,
    pub offsets: [usize; ROWS],
    pub segments: usize,
    pub step: usize,
    pub len: usize,
    pub inc: usize,
}

impl Rows<'_> {
    /// Panics unless all that is read and written is there.
    fn check(&self, panel: &[f32], width: usize) {
        let reach = |count: usize, step: usize| count.checked_sub(1).and_then(|last| last.checked_mul(step));
        let last = reach(self.segments, self.step).zip(reach(self.len, self.inc)).and_then(|(s, l)| s.checked_add(l));
        let inside =
            |offset: &usize| last.and_then(|last| last.checked_add(*offset)).is_some_and(|at| at < self.data.len());
        assert!(self.count <= ROWS, "{} rows in a tile", self.count);
        assert!(self.offsets[..self.count].iter().all(inside), "rows of a product reach beyond their buffer");
        let terms = self.segments.checked_mul(self.len).and_then(|terms| terms.checked_mul(width));
        assert!(terms.is_some_and(|terms| terms <= panel.len()), "a panel is too short for its rows");
    }
}

/// `out[i, j] = Σ a(i, k) panel[k, j]`, where the terms `k` of a row go through its segments one after the other, and `panel` has
/// lines of `COLS` columns, or of `HALF`; then the other half of the tile is left alone, as are rows that there are not. Each element
/// is added up in the order of its terms, whatever other rows there are.
///
/// # Panics
/// When there are too many rows, or one or the panel is too short.
pub fn tile(a: &Rows, panel: &[f32], half: bool, out: &mut Tile) {
    if a.segments == 0 || a.len == 0 {
        return out.fill(0.0);
    }
    a.check(panel, if half { HALF } else { COLS });
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature was found, and `check` has held all accesses to the slices.
            return unsafe {
                if half { x86::avx512::tile::<1>(a, panel, out) } else { x86::avx512::tile::<2>(a, panel, out) }
            };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            return unsafe {
                if half { x86::avx2::tile::<2>(a, panel, out) } else { x86::avx2::tile::<4>(a, panel, out) }
            };
        }
    }
    if half { portable::<HALF>(a, panel, out) } else { portable::<COLS>(a, panel, out) }
}

/// The columns of the 8 × 8 matrix whose rows begin every `row` elements, each in one piece.
///
/// # Panics
/// When the matrix reaches beyond the slice.
pub fn columns(rows: &[f32], row: usize, out: &mut [[f32; SQUARE]; SQUARE]) {
    let reach = row.checked_mul(SQUARE - 1).and_then(|last| last.checked_add(SQUARE));
    assert!(reach.is_some_and(|reach| reach <= rows.len()), "rows that reach beyond their buffer");
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx") {
        // SAFETY: the feature was found, and the columns are there.
        return unsafe { x86::columns(rows, row, out) };
    }
    for (c, column) in out.iter_mut().enumerate() {
        *column = std::array::from_fn(|r| rows[r * row + c]);
    }
}

/// Writes [`SQUARE`] columns of the first `rows` rows of a tile, which begins with the first of them, each in one piece and `col` elements
/// apart.
///
/// # Panics
/// When the columns reach beyond the slice, or the tile is none.
pub fn store_columns(tile: &[f32], rows: usize, to: &mut [f32], col: usize) {
    let reach = col.checked_mul(SQUARE - 1).and_then(|last| last.checked_add(rows));
    assert!(reach.is_some_and(|reach| reach <= to.len()), "columns that reach beyond their buffer");
    assert!(rows <= ROWS && tile.len() >= (ROWS - 1) * COLS + SQUARE, "{rows} rows of a tile of {}", tile.len());
    let mut done = 0;
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx") {
        // SAFETY: the feature was found, and rows and columns are there: in each call rows from `done` on are, as many as it takes.
        unsafe {
            if rows >= done + 8 {
                x86::store_eight(&tile[done * COLS..], &mut to[done..], col);
                done += 8;
            }
            if rows >= done + 4 {
                x86::store_four(&tile[done * COLS..], &mut to[done..], col);
                done += 4;
            }
        }
    }
    for c in 0..SQUARE {
        (done..rows).for_each(|r| to[c * col + r] = tile[r * COLS + c]);
    }
}

/// [`tile`] in plain Rust.
fn portable<const WIDTH: usize>(a: &Rows, panel: &[f32], out: &mut Tile) {
    const STRIP: usize = 8;
    const LINES: usize = 4;
    let term = |x: f32, y: f32, sum: f32| if cfg!(target_arch = "aarch64") { x.mul_add(y, sum) } else { x * y + sum };
    // Rows that there are not are the last one again.
    let offsets: [usize; ROWS] = std::array::from_fn(|i| a.offsets[i.min(a.count.saturating_sub(1))]);
    let rows = (0..a.count).step_by(LINES);
    for (i, first) in rows.flat_map(|i| (0..WIDTH).step_by(STRIP).map(move |j| (i, j))) {
        let mut sums = [[0.0f32; STRIP]; LINES];
        let mut lines = panel.chunks_exact(WIDTH);
        for s in 0..a.segments {
            for (l, line) in (0..a.len).zip(&mut lines) {
                let at = s * a.step + l * a.inc;
                // Of a length that is known, so that it is taken as vectors.
                let Some(line) = line[first..].first_chunk::<STRIP>() else { continue };
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = a.data[offsets[i + r] + at];
                    sums.iter_mut().zip(line).for_each(|(sum, y)| *sum = term(x, *y, *sum));
                }
            }
        }
        for (r, sums) in sums.iter().enumerate().take(a.count - i) {
            out[(i + r) * COLS + first..][..STRIP].copy_from_slice(sums);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{COLS, Rows, SQUARE, Tile};

    /// A kernel for up to `$most` rows, `$fewer` or that many, and `$wide` vectors of `$lanes` elements at a time, whose sums stay in
    /// registers.
    macro_rules! kernel {
        ($name:ident, $features:literal, $lanes:literal, [$($fewer:literal)*] $most:literal, $wide:literal, $zero:ident, $splat:ident, $load:ident, $fma:ident, $store:ident) => {
            pub mod $name {
                use super::*;

                /// The tile of a panel `VECTORS` vectors wide.
                ///
                /// # Safety
                /// The rows are at most `ROWS` and reach no further than their buffer, and the panel has a line for each of their
                /// terms.
                #[target_feature(enable = $features)]
                pub unsafe fn tile<const VECTORS: usize>(a: &Rows, panel: &[f32], out: &mut Tile) {
                    const { assert!(VECTORS * $lanes <= COLS && (VECTORS == 1 || VECTORS.is_multiple_of($wide))) };
                    for vector in (0..VECTORS).step_by($wide) {
                        let mut first = 0;
                        while first < a.count {
                            let left = a.count - first;
                            let count = left.div_ceil(left.div_ceil($most));
                            let at = [first, vector];
                            // SAFETY: as the caller says; `first + count` is at most the number of rows, and `vector` and those
                            // vectors that are taken with it are in the panel.
                            unsafe {
                                match VECTORS {
                                    1 => by_count::<VECTORS, 1>(a, panel, count, at, out),
                                    _ => by_count::<VECTORS, $wide>(a, panel, count, at, out),
                                }
                            }
                            first += count;
                        }
                    }
                }

                /// # Safety
                /// As for [`rows`].
                #[target_feature(enable = $features)]
                unsafe fn by_count<const VECTORS: usize, const OWN: usize>(
                    a: &Rows,
                    panel: &[f32],
                    count: usize,
                    at: [usize; 2],
                    out: &mut Tile,
                ) {
                    // SAFETY: as the caller says.
                    unsafe {
                        match count {
                            $($fewer => rows::<VECTORS, OWN, $fewer>(a, panel, at, out),)*
                            _ => rows::<VECTORS, OWN, $most>(a, panel, at, out),
                        }
                    }
                }

                /// Rows `first..first + COUNT` of the tile, and of these `OWN` vectors from `vector` on.
                ///
                /// # Safety
                /// As for [`tile`], where `first + COUNT` is at most the number of rows, and `vector + OWN` at most `VECTORS`.
                #[target_feature(enable = $features)]
                unsafe fn rows<const VECTORS: usize, const OWN: usize, const COUNT: usize>(
                    a: &Rows,
                    panel: &[f32],
                    [first, vector]: [usize; 2],
                    out: &mut Tile,
                ) {
                    let mut sums = [[$zero(); OWN]; COUNT];
                    let offsets: [usize; COUNT] = std::array::from_fn(|i| a.offsets[first + i]);
                    // SAFETY: line `s · len + l` of the panel and the element of every row at segment `s`, term `l`, are inside
                    // their slices, as the caller says; the tile has `ROWS` lines of `COLS`.
                    unsafe {
                        let mut line = panel.as_ptr().add(vector * $lanes);
                        for s in 0..a.segments {
                            let start = a.data.as_ptr().add(s * a.step);
                            for l in 0..a.len {
                                let term = start.add(l * a.inc);
                                let right: [_; OWN] = std::array::from_fn(|v| $load(line.add(v * $lanes)));
                                for (sums, offset) in sums.iter_mut().zip(offsets) {
                                    let x = $splat(*term.add(offset));
                                    for (sum, y) in sums.iter_mut().zip(right) {
                                        *sum = $fma(x, y, *sum);
                                    }
                                }
                                line = line.add(VECTORS * $lanes);
                            }
                        }
                        for (i, sums) in sums.iter().enumerate() {
                            let to = out.as_mut_ptr().add((first + i) * COLS + vector * $lanes);
                            for (v, sum) in sums.iter().enumerate() {
                                $store(to.add(v * $lanes), *sum);
                            }
                        }
                    }
                }
            }
        };
    }

    /// Writes eight columns of four rows of a tile.
    ///
    /// # Safety
    /// `rows` holds eight elements in each of four lines of `COLS`, and `to` four in each of eight lines of `col`.
    #[target_feature(enable = "avx")]
    pub unsafe fn store_four(rows: &[f32], to: &mut [f32], col: usize) {
        // SAFETY: as the caller says.
        unsafe {
            let line = |r: usize| _mm256_loadu_ps(rows.as_ptr().add(r * COLS));
            let low = [_mm256_unpacklo_ps(line(0), line(1)), _mm256_unpacklo_ps(line(2), line(3))];
            let high = [_mm256_unpackhi_ps(line(0), line(1)), _mm256_unpackhi_ps(line(2), line(3))];
            // Column c, and column c + 4 in the upper half.
            let both = [
                _mm256_shuffle_ps::<0x44>(low[0], low[1]),
                _mm256_shuffle_ps::<0xee>(low[0], low[1]),
                _mm256_shuffle_ps::<0x44>(high[0], high[1]),
                _mm256_shuffle_ps::<0xee>(high[0], high[1]),
            ];
            for (c, both) in both.into_iter().enumerate() {
                _mm_storeu_ps(to.as_mut_ptr().add(c * col), _mm256_castps256_ps128(both));
                _mm_storeu_ps(to.as_mut_ptr().add((c + 4) * col), _mm256_extractf128_ps::<1>(both));
            }
        }
    }

    /// Writes eight columns of eight rows of a tile.
    ///
    /// # Safety
    /// `rows` holds eight elements in each of eight lines of `COLS`, and `to` eight in each of eight lines of `col`.
    #[target_feature(enable = "avx")]
    pub unsafe fn store_eight(rows: &[f32], to: &mut [f32], col: usize) {
        // SAFETY: as the caller says.
        unsafe {
            for (c, column) in turned(rows.as_ptr(), COLS).into_iter().enumerate() {
                _mm256_storeu_ps(to.as_mut_ptr().add(c * col), column);
            }
        }
    }

    /// # Safety
    /// `7 · row + 8` is at most the length of `rows`.
    #[target_feature(enable = "avx")]
    pub unsafe fn columns(rows: &[f32], row: usize, out: &mut [[f32; SQUARE]; SQUARE]) {
        const { assert!(SQUARE == 8) };
        // SAFETY: eight lanes from each of the `SQUARE` rows are in the slice, as the caller says; `out` has eight lines of eight.
        unsafe {
            for (out, column) in out.iter_mut().zip(turned(rows.as_ptr(), row)) {
                _mm256_storeu_ps(out.as_mut_ptr(), column);
            }
        }
    }

    /// The columns of eight rows of eight elements, `row` elements apart: lane r of register c is row r of column c.
    ///
    /// # Safety
    /// The rows are in one allocation.
    #[target_feature(enable = "avx")]
    unsafe fn turned(rows: *const f32, row: usize) -> [__m256; 8] {
        // SAFETY: as the caller says.
        unsafe {
            let line = |r: usize| _mm256_loadu_ps(rows.add(r * row));
            // Pairs of rows, then fours, then both halves.
            let (mut pairs, mut fours) = ([_mm256_setzero_ps(); 8], [_mm256_setzero_ps(); 8]);
            for r in 0..4 {
                pairs[2 * r] = _mm256_unpacklo_ps(line(2 * r), line(2 * r + 1));
                pairs[2 * r + 1] = _mm256_unpackhi_ps(line(2 * r), line(2 * r + 1));
            }
            for h in 0..2 {
                for k in 0..2 {
                    let (a, b) = (pairs[4 * h + k], pairs[4 * h + k + 2]);
                    fours[4 * h + 2 * k] = _mm256_shuffle_ps::<0x44>(a, b);
                    fours[4 * h + 2 * k + 1] = _mm256_shuffle_ps::<0xee>(a, b);
                }
            }
            let mut columns = [_mm256_setzero_ps(); 8];
            for c in 0..4 {
                let (low, high) = (fours[c], fours[4 + c]);
                columns[c] = _mm256_permute2f128_ps::<0x20>(low, high);
                columns[c + 4] = _mm256_permute2f128_ps::<0x31>(low, high);
            }
            columns
        }
    }

    kernel!(
        avx512,
        "avx512f",
        16,
        [1 2 3 4 5 6 7 8 9 10 11] 12,
        2,
        _mm512_setzero_ps,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_fmadd_ps,
        _mm512_storeu_ps
    );
    kernel!(
        avx2,
        "avx2,fma",
        8,
        [1 2 3 4 5] 6,
        2,
        _mm256_setzero_ps,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_fmadd_ps,
        _mm256_storeu_ps
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect()
    }

    fn all(a: &Rows, panel: &[f32], half: bool) -> Vec<Tile> {
        let mut tiles = vec![[f32::NAN; ROWS * COLS]; 2];
        tile(a, panel, half, &mut tiles[0]);
        if half {
            portable::<HALF>(a, panel, &mut tiles[1])
        } else {
            portable::<COLS>(a, panel, &mut tiles[1])
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            let mut out = [f32::NAN; ROWS * COLS];
            a.check(panel, if half { HALF } else { COLS });
            // SAFETY: the features were found, and `check` has passed.
            unsafe {
                if half { x86::avx2::tile::<2>(a, panel, &mut out) } else { x86::avx2::tile::<4>(a, panel, &mut out) }
            };
            tiles.push(out);
        }
        tiles
    }

    #[test]
    fn every_kernel_is_right() {
        let data = values(5000);
        for (segments, len, step, inc) in [(1, 1, 0, 1), (1, 67, 0, 1), (5, 3, 11, 1), (3, 13, 100, 2), (2, 1, 7, 0)] {
            let offsets = [0, 900, 17, 3, 3, 450, 4000, 2, 77, 1200, 1, 3999];
            for (count, half) in (0..=ROWS).flat_map(|count| [(count, false), (count, true)]) {
                let a = Rows { data: &data, count, offsets, segments, step, len, inc };
                let width = if half { HALF } else { COLS };
                let panel = values(segments * len * width);
                for out in all(&a, &panel, half) {
                    for (i, j) in (0..count).flat_map(|i| (0..width).map(move |j| (i, j))) {
                        let terms = (0..segments).flat_map(|s| (0..len).map(move |l| (s, l)));
                        let term = |(s, l): (usize, usize)| {
                            let x = data[offsets[i] + s * step + l * inc];
                            f64::from(x) * f64::from(panel[(s * len + l) * width + j])
                        };
                        let expected: f64 = terms.map(term).sum();
                        assert!((f64::from(out[i * COLS + j]) - expected).abs() < 1e-5);
                    }
                    // What is not in the product is left alone.
                    let left = |at: usize| at / COLS >= count || half && at % COLS >= HALF;
                    assert!((0..ROWS * COLS).all(|at| out[at].is_nan() == left(at)), "{count} rows");
                }
            }
        }
    }

    #[test]
    fn columns_are_those_of_the_rows() {
        let rows: Vec<f32> = (0..8 * COLS).map(|i| i as f32).collect();
        for (first, row) in [(0, COLS), (5, COLS), (COLS - SQUARE, COLS), (3, 9), (0, 1)] {
            let mut out = [[f32::NAN; SQUARE]; SQUARE];
            columns(&rows[first..][..(SQUARE - 1) * row + SQUARE], row, &mut out);
            let expected = |c: usize| std::array::from_fn(|r| (r * row + first + c) as f32);
            assert_eq!(out, std::array::from_fn(expected));
        }
    }

    #[test]
    fn columns_of_any_rows_are_stored() {
        let tile: Vec<f32> = (0..ROWS * COLS).map(|i| i as f32).collect();
        for (rows, first, col) in (0..=ROWS).flat_map(|rows| [(rows, 0, rows.max(1)), (rows, 7, 31), (rows, 24, 12)]) {
            let mut to = vec![f32::NAN; col * (SQUARE - 1) + rows + 1];
            store_columns(&tile[first..], rows, &mut to, col);
            for (at, to) in to.iter().enumerate() {
                let (c, r) = (at / col, at % col);
                let there = c < SQUARE && r < rows;
                let right = if there { *to == (r * COLS + first + c) as f32 } else { to.is_nan() };
                assert!(right, "{rows} rows, {at} of {col}: {to}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "beyond their buffer")]
    fn stored_columns_that_reach_too_far_panic() {
        store_columns(&[0.0; ROWS * COLS], 8, &mut [0.0; 7 * 8 + 7], 8);
    }

    #[test]
    #[should_panic(expected = "beyond their buffer")]
    fn columns_that_reach_too_far_panic() {
        columns(&values(7 * 9 + 7), 9, &mut [[0.0; SQUARE]; SQUARE]);
    }

    #[test]
    fn no_terms_are_zero() {
        let mut out = [f32::NAN; ROWS * COLS];
        let none = Rows { data: &[], count: ROWS, offsets: [0; ROWS], segments: 0, step: 0, len: 3, inc: 1 };
        tile(&none, &[], false, &mut out);
        assert_eq!(out, [0.0; ROWS * COLS]);
    }

    #[test]
    #[should_panic(expected = "beyond their buffer")]
    fn rows_that_reach_too_far_panic() {
        let mut offsets = [0; ROWS];
        offsets[7] = 1;
        let a = Rows { data: &values(10), count: 8, offsets, segments: 2, step: 5, len: 5, inc: 1 };
        tile(&a, &values(10 * COLS), false, &mut [0.0; ROWS * COLS]);
    }

    #[test]
    #[should_panic(expected = "too short")]
    fn panels_that_are_too_short_panic() {
        let a = Rows { data: &values(10), count: ROWS, offsets: [0; ROWS], segments: 2, step: 5, len: 5, inc: 1 };
        tile(&a, &values(10 * COLS - 1), false, &mut [0.0; ROWS * COLS]);
    }
}
