//! Products with the patches of images, which are read off the padded image and never written out.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::adding::{Sum, leave_out};
use super::image::Slide;
use super::lanes::widest;
use super::matmul::Matrix;
use super::microkernel::{COLS, HALF, ROWS, Rows, Tile, tile};
use super::panels::{Part, transpose};
use super::parallel::room;
use crate::lower::kernels::ConvGeometry;

/// What a product of patches is given: the planes of an image and how a kernel slides over them. Row `(c, k…)` of the patches is
/// what kernel element `k` meets of plane `c` at each position.
#[derive(Clone, Copy)]
pub struct Patches<'a> {
    pub slide: Slide,
    /// The planes, padded.
    pub image: &'a [f32],
    /// How many planes.
    pub channels: usize,
    /// Where each row begins in the image, as [`places`] has it.
    pub places: &'a [usize],
}

/// Where the rows of patches begin in an image, by how a kernel slides and the number of planes.
type Places = BTreeMap<(Slide, usize), Arc<[usize]>>;

/// Where the rows of patches of `channels` planes begin in the image; worked out once for each kind of convolution.
pub fn places(slide: &Slide, channels: usize) -> Arc<[usize]> {
    static KNOWN: RwLock<Places> = RwLock::new(Places::new());
    let key = (*slide, channels);
    if let Some(places) = KNOWN.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return places.clone();
    }
    let taps: Vec<usize> = (0..slide.taps()).map(|tap| slide.tap(tap)).collect();
    let places: Arc<[usize]> = (0..channels).flat_map(|c| taps.iter().map(move |tap| c * slide.area() + tap)).collect();
    KNOWN.write().unwrap_or_else(PoisonError::into_inner).insert(key, places.clone());
    places
}

impl<'a> Patches<'a> {
    /// The patches of group `group` of a convolution's input.
    pub fn of(
        conv: &ConvGeometry,
        slide: Slide,
        places: &'a [usize],
        x: &'a [f32],
        group: usize,
        scratch: &'a mut Vec<f32>,
    ) -> Patches<'a> {
        let channels = conv.group_channels();
        Patches::planes(slide, places, x, [group * channels, channels], scratch)
    }

    /// The patches of so many planes of `x` from plane `first` on.
    pub fn planes(
        slide: Slide,
        places: &'a [usize],
        x: &'a [f32],
        [first, channels]: [usize; 2],
        scratch: &'a mut Vec<f32>,
    ) -> Patches<'a> {
        let x = &x[first * slide.elements()..][..channels * slide.elements()];
        Patches { slide, image: slide.pad(x, scratch), channels, places }
    }
}

impl Patches<'_> {
    fn rows(&self) -> usize {
        self.places.len()
    }

    /// Calls `store` with the tiles of `a · patches`. Element `(c, k)` of each of the `count` rows of `a` is
    /// `a[i · row + c · step + k]`.
    pub fn times(
        &self,
        a: &[f32],
        count: usize,
        [row, step]: [usize; 2],
        scratch: &mut Vec<f32>,
        mut store: impl FnMut(Part),
    ) {
        let taps = self.slide.taps();
        let [segments, len] = if step == taps { [1, self.rows()] } else { [self.channels, taps] };
        let positions = self.slide.positions();
        let mut out: Tile = [0.0; ROWS * COLS];
        let mut first = 0;
        while first < positions {
            let left = positions - first;
            let half = left <= HALF;
            let width = if half { HALF } else { COLS };
            let panel = room(scratch, self.rows() * width + COLS);
            self.pack(first, left.min(width), width, panel);
            for i in (0..count).step_by(ROWS) {
                let offsets = std::array::from_fn(|r| (i + r).min(count - 1) * row);
                let own = ROWS.min(count - i);
                tile(&Rows { data: a, count: own, offsets, segments, step, len, inc: 1 }, panel, half, &mut out);
                store(Part { tile: &out, at: [i, first], size: [own, left.min(width)] });
            }
            first += width;
        }
    }

    /// Sets `out`, a matrix whose rows begin `line` elements apart, to `a · patches` for so few rows that they would leave most of
    /// a tile empty: a depthwise convolution has one. `a` is as in [`Patches::times`].
    pub fn times_few(
        &self,
        a: &[f32],
        count: usize,
        [row, step]: [usize; 2],
        scratch: &mut Vec<f32>,
        (out, line): (&mut [f32], usize),
    ) {
        let taps = self.slide.taps();
        for i in 0..count {
            let weights = room(scratch, self.rows());
            for (c, weights) in weights.chunks_exact_mut(taps).enumerate() {
                weights.copy_from_slice(&a[i * row + c * step..][..taps]);
            }
            let out = &mut out[i * line..][..self.slide.positions()];
            slide_over(out, self.slide.output[1], (self.image, self.slide.step()), self.places, weights);
        }
    }

    /// Writes `count` columns from column `first` on of the patches as lines of a panel, `width` elements apart; behind the
    /// last line there is room for [`COLS`] elements more.
    fn pack(&self, first: usize, count: usize, width: usize, panel: &mut [f32]) {
        let (slide, columns) = (&self.slide, self.slide.output[1]);
        // Runs of neighbouring positions in one row: where they begin, and how long they are.
        let mut runs: Vec<(usize, usize)> = Vec::new();
        let mut at = first;
        while at < first + count {
            let len = (columns - at % columns).min(first + count - at);
            runs.push((at / columns * slide.step() + at % columns, len));
            at += len;
        }
        let even = runs.iter().all(|(_, len)| *len == runs[0].1);
        let offsets = self.places.iter().copied();
        if even && [4, 8, 16, 32].contains(&runs[0].1) {
            let lines = panel.chunks_exact_mut(width).take(self.rows()).zip(offsets);
            return match runs[0].1 {
                4 => copy_runs::<4>(lines, &runs, self.image),
                8 => copy_runs::<8>(lines, &runs, self.image),
                16 => copy_runs::<16>(lines, &runs, self.image),
                _ => copy_runs::<32>(lines, &runs, self.image),
            };
        }
        match runs.iter().map(|(_, len)| *len).max().unwrap_or(0) {
            ..=4 => copy_over::<4>(panel, width, offsets, &runs, self.image),
            5..=8 => copy_over::<8>(panel, width, offsets, &runs, self.image),
            9..=16 => copy_over::<16>(panel, width, offsets, &runs, self.image),
            _ => copy_over::<32>(panel, width, offsets, &runs, self.image),
        }
    }

    /// Calls `store` with the tiles of `patches · bᵀ`, where the rows of `b` are as long as there are positions.
    pub fn times_transposed(&self, b: Matrix, scratch: &mut Vec<f32>, mut store: impl FnMut(Part)) {
        let ([segments, len], step) = (self.slide.output, self.slide.step());
        let places = self.places;
        let positions = self.slide.positions();
        let mut out: Tile = [0.0; ROWS * COLS];
        let mut first = 0;
        while first < b.rows {
            let left = b.rows - first;
            let half = left <= HALF;
            let width = if half { HALF } else { COLS };
            let panel = room(scratch, positions * width);
            transpose(b, first, left.min(width), width, panel);
            for i in (0..self.rows()).step_by(ROWS) {
                let offsets = std::array::from_fn(|r| places[(i + r).min(places.len() - 1)]);
                let own = ROWS.min(self.rows() - i);
                tile(
                    &Rows { data: self.image, count: own, offsets, segments, step, len, inc: 1 },
                    panel,
                    half,
                    &mut out,
                );
                store(Part { tile: &out, at: [i, first], size: [own, left.min(width)] });
            }
            first += width;
        }
    }
}

/// Rows of positions that [`slide_over`] works out at a time.
const LINES: usize = 4;
/// Positions in each of them.
const WIDTH: usize = 16;

widest! {
    /// Sets each position of `out`, `columns` in a row, to the weighted sum of what it meets in the image at `places`; rows of
    /// positions are `step` elements apart there.
    slide_over(out: &mut [f32], columns: usize, image: (&[f32], usize), places: &[usize], weights: &[f32]) {
        let (image, step) = image;
        for (block, out) in out.chunks_mut(LINES * columns).enumerate() {
            let lines = out.len() / columns;
            for first in (0..columns).step_by(WIDTH) {
                let mut sums = [[0.0f32; WIDTH]; LINES];
                for (place, weight) in places.iter().zip(weights) {
                    for (line, sums) in sums.iter_mut().enumerate().take(lines) {
                        let met = &image[place + (block * LINES + line) * step + first..];
                        if let Some(met) = met.first_chunk::<WIDTH>() {
                            sums.iter_mut().zip(met).for_each(|(sum, x)| *sum += weight * x);
                        } else {
                            sums.iter_mut().zip(met).for_each(|(sum, x)| *sum += weight * x);
                        }
                    }
                }
                for (to, sums) in out.chunks_exact_mut(columns).zip(&sums) {
                    let to = &mut to[first..];
                    let count = to.len().min(WIDTH);
                    to[..count].copy_from_slice(&sums[..count]);
                }
            }
        }
    }
}

/// The summands of [`sum_transposed`]: a weight, the patches of a record and the other operand, whose rows are as long as
/// there are positions.
pub type Summand<'a> = (f32, Patches<'a>, Matrix<'a>);

/// Calls `store` with the tiles of `Σ w · (patches · bᵀ)`. The products are those of each summand by itself, and are then added.
pub fn sum_transposed<T: Sum>(summands: &[Summand], scratch: &mut Vec<f32>, mut store: impl FnMut(Part<T>)) {
    let Some((_, patches, b)) = summands.first() else { return };
    let ([segments, len], step) = (patches.slide.output, patches.slide.step());
    let places = patches.places;
    let positions = patches.slide.positions();
    let (rows, columns) = (patches.rows(), b.rows);
    let (mut product, mut sum): (Tile, _) = ([0.0; ROWS * COLS], [T::default(); ROWS * COLS]);
    for first in (0..columns).step_by(COLS) {
        let count = COLS.min(columns - first);
        let half = count <= HALF;
        let width = if half { HALF } else { COLS };
        let panels = room(scratch, summands.len() * positions * width);
        for (panel, (_, _, b)) in panels.chunks_exact_mut(positions * width).zip(summands) {
            transpose(*b, first, count, width, panel);
        }
        for i in (0..rows).step_by(ROWS) {
            let offsets = std::array::from_fn(|r| places[(i + r).min(places.len() - 1)]);
            let own = ROWS.min(rows - i);
            sum.fill(T::default());
            for (panel, (w, patches, _)) in panels.chunks_exact(positions * width).zip(summands) {
                let rows = Rows { data: patches.image, count: own, offsets, segments, step, len, inc: 1 };
                tile(&rows, panel, half, &mut product);
                let product = &mut product[..own * COLS];
                leave_out(product, *w);
                T::add_scaled(&mut sum[..own * COLS], product, *w);
            }
            store(Part { tile: &sum, at: [i, first], size: [own, count] });
        }
    }
}

/// Copies runs of up to `MOST` elements side by side into each line, `width` elements apart. What is copied is `MOST` elements
/// where the image has them: the next run, or the next line, is written over what is too much.
fn copy_over<const MOST: usize>(
    panel: &mut [f32],
    width: usize,
    offsets: impl Iterator<Item = usize>,
    runs: &[(usize, usize)],
    image: &[f32],
) {
    let last = runs.iter().map(|(start, _)| *start).max().unwrap_or(0);
    for (i, offset) in offsets.enumerate() {
        let (mut line, image) = (&mut panel[i * width..], &image[offset..]);
        let whole = last + MOST <= image.len();
        for &(start, len) in runs {
            match (whole, line.first_chunk_mut::<MOST>(), image[start..].first_chunk::<MOST>()) {
                (true, Some(to), Some(from)) => *to = *from,
                _ => line[..len].copy_from_slice(&image[start..][..len]),
            }
            line = &mut line[len..];
        }
    }
}

/// Copies runs of `LEN` elements side by side into each line.
fn copy_runs<'p, const LEN: usize>(
    lines: impl Iterator<Item = (&'p mut [f32], usize)>,
    runs: &[(usize, usize)],
    image: &[f32],
) {
    for (line, offset) in lines {
        let (places, _) = line.as_chunks_mut::<LEN>();
        for (place, (start, _)) in places.iter_mut().zip(runs) {
            place.copy_from_slice(&image[offset + start..][..LEN]);
        }
    }
}
