//! Products with the patches of images, which are read off the padded image and never written out.

use super::image::Slide;
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
}

impl<'a> Patches<'a> {
    /// The patches of group `group` of a convolution's input.
    pub fn of(conv: &ConvGeometry, slide: Slide, x: &'a [f32], group: usize, scratch: &'a mut Vec<f32>) -> Patches<'a> {
        Patches::planes(slide, x, group * conv.group_channels(), conv.group_channels(), scratch)
    }

    /// The patches of `channels` planes of `x` from plane `first` on.
    pub fn planes(slide: Slide, x: &'a [f32], first: usize, channels: usize, scratch: &'a mut Vec<f32>) -> Patches<'a> {
        let x = &x[first * slide.elements()..][..channels * slide.elements()];
        Patches { slide, image: slide.pad(x, scratch), channels }
    }
}

impl Patches<'_> {
    fn rows(&self) -> usize {
        self.channels * self.slide.taps()
    }

    /// Where each row begins in the image.
    fn offsets(&self) -> impl Iterator<Item = usize> + '_ {
        let taps: Vec<usize> = (0..self.slide.taps()).map(|tap| self.slide.tap(tap)).collect();
        (0..self.channels * taps.len()).scan((0, 0), move |(plane, tap), _| {
            if *tap == taps.len() {
                (*plane, *tap) = (*plane + self.slide.area(), 0);
            }
            *tap += 1;
            Some(*plane + taps[*tap - 1])
        })
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
            let panel = room(scratch, self.rows() * width);
            self.pack(first, left.min(width), width, panel);
            for i in (0..count).step_by(ROWS) {
                let offsets = std::array::from_fn(|r| (i + r).min(count - 1) * row);
                tile(&Rows { data: a, offsets, segments, step, len, inc: 1 }, panel, half, &mut out);
                store(Part { tile: &out, at: [i, first], size: [ROWS.min(count - i), left.min(width)] });
            }
            first += width;
        }
    }

    /// Writes `count` columns from column `first` on of the patches as lines of a panel, `width` elements apart.
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
        let lines = panel.chunks_exact_mut(width).take(self.rows());
        let offsets = self.offsets();
        match runs[0].1 {
            32 if even => copy_runs::<32>(lines.zip(offsets), &runs, self.image),
            16 if even => copy_runs::<16>(lines.zip(offsets), &runs, self.image),
            8 if even => copy_runs::<8>(lines.zip(offsets), &runs, self.image),
            4 if even => copy_runs::<4>(lines.zip(offsets), &runs, self.image),
            _ => {
                for (line, offset) in lines.zip(offsets) {
                    let mut to = line.iter_mut();
                    for &(start, len) in &runs {
                        self.image[offset + start..][..len].iter().zip(to.by_ref()).for_each(|(&x, y)| *y = x);
                    }
                }
            }
        }
    }

    /// Calls `store` with the tiles of `patches · bᵀ`, where the rows of `b` are as long as there are positions.
    pub fn times_transposed(&self, b: Matrix, scratch: &mut Vec<f32>, mut store: impl FnMut(Part)) {
        let ([segments, len], step) = (self.slide.output, self.slide.step());
        let places: Vec<usize> = self.offsets().collect();
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
                tile(&Rows { data: self.image, offsets, segments, step, len, inc: 1 }, panel, half, &mut out);
                store(Part { tile: &out, at: [i, first], size: [ROWS.min(self.rows() - i), left.min(width)] });
            }
            first += width;
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
