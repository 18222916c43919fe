//! Loops over disjoint pieces of a written buffer.

use rayon::prelude::*;

/// Elements below which a map over a buffer is not worth a second thread.
pub const GRAIN: usize = 16_384;

/// Calls `f(scratch, n, piece)` for `n` in `0..count`, with `piece` the part of `out` from `n · stride` on; in parallel
/// where the pieces, `span` elements long, do not overlap, and in order otherwise. Scratch starts out as the default and is
/// reused.
pub fn pieces<T: Send, S: Default>(
    out: &mut [T],
    count: usize,
    stride: usize,
    span: usize,
    f: impl Fn(&mut S, usize, &mut [T]) + Sync,
) {
    if count <= 1 || span > stride {
        let mut scratch = S::default();
        (0..count).for_each(|n| f(&mut scratch, n, &mut out[n * stride..]));
    } else if span > 0 {
        // Enough records at a time to pay for the hand-over.
        let least = (GRAIN / 4).div_ceil(span);
        let pieces = out.par_chunks_mut(stride).take(count).enumerate().with_min_len(least);
        pieces.for_each_init(S::default, |scratch, (n, piece)| f(scratch, n, piece));
    }
}

/// Calls `f(start, piece)` for pieces of `out` that start at multiples of a fixed number of elements.
pub fn blocks(out: &mut [f32], f: impl Fn(usize, &mut [f32]) + Sync) {
    out.par_chunks_mut(GRAIN).enumerate().for_each(|(i, piece)| f(i * GRAIN, piece));
}

/// [`blocks`] of two buffers of one length side by side.
pub fn blocks2(a: &mut [f32], b: &mut [f32], f: impl Fn(usize, &mut [f32], &mut [f32]) + Sync) {
    let pieces = a.par_chunks_mut(GRAIN).zip(b.par_chunks_mut(GRAIN)).enumerate();
    pieces.for_each(|(i, (a, b))| f(i * GRAIN, a, b));
}

/// Terms that [`sum`] adds up in `f32`.
const BLOCK: usize = 4096;
/// Partial sums of such a block.
const LANES: usize = 16;

/// Roundings of a [`sum`] over `len` terms: a lane's, the lanes', and one of the blocks' sum.
pub fn roundings(len: usize) -> usize {
    len.min(BLOCK).div_ceil(LANES) + LANES.ilog2() as usize + 1
}

/// Sum of `f(i)` over `0..len` in a fixed order, in lanes so that it vectorises. Long sums are of blocks, so that small
/// terms are not lost beside what went before.
#[inline(always)]
pub fn sum(len: usize, f: impl Fn(usize) -> f32) -> f32 {
    if len <= BLOCK {
        return block(0, len, f);
    }
    let blocks = (0..len).step_by(BLOCK).map(|first| f64::from(block(first, BLOCK.min(len - first), &f)));
    blocks.sum::<f64>() as f32
}

/// Sum of `f(first + i)` over `0..len`.
#[inline(always)]
fn block(first: usize, len: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = len / LANES * LANES;
    for i in (0..whole).step_by(LANES) {
        for (l, lane) in lanes.iter_mut().enumerate() {
            *lane += f(first + i + l);
        }
    }
    for (l, lane) in lanes.iter_mut().enumerate().take(len - whole) {
        *lane += f(first + whole + l);
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
    }
    lanes[0]
}
