//! Loops over disjoint pieces of a written buffer, and the memory that threads work in.

use std::any::Any;
use std::cell::RefCell;

use rayon::prelude::*;

/// Elements below which a map over a buffer is not worth a second thread.
pub const GRAIN: usize = 16_384;

/// Calls `f(scratch, n, piece)` for `n` in `0..count`, with `piece` the part of `out` from `n · stride` on; in parallel
/// where the pieces, `span` elements long, do not overlap, and in order otherwise. Scratch is that of [`with_scratch`].
pub fn pieces<T: Send, S: Default + 'static>(
    out: &mut [T],
    count: usize,
    stride: usize,
    span: usize,
    f: impl Fn(&mut S, usize, &mut [T]) + Sync,
) {
    if count <= 1 || span > stride {
        with_scratch(|scratch| (0..count).for_each(|n| f(scratch, n, &mut out[n * stride..])));
    } else if span > 0 {
        // Enough records at a time to pay for the hand-over.
        let least = (GRAIN / 4).div_ceil(span);
        let pieces = out.par_chunks_mut(stride).take(count).enumerate().with_min_len(least);
        pieces.for_each(|(n, piece)| with_scratch(|scratch| f(scratch, n, piece)));
    }
}

thread_local! {
    /// What threads have worked in, for the next that asks for its type.
    static SCRATCH: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with something to work in: the default, or whatever was left of it by an earlier call on this thread. A step so
/// allocates nothing that the one before it had.
pub fn with_scratch<S: Default + 'static, R>(f: impl FnOnce(&mut S) -> R) -> R {
    if size_of::<S>() == 0 {
        return f(&mut S::default());
    }
    let kept = SCRATCH.with_borrow_mut(|all| {
        let at = all.iter().rposition(|scratch| scratch.is::<S>())?;
        all.swap_remove(at).downcast::<S>().ok()
    });
    let mut scratch = kept.unwrap_or_default();
    let result = f(&mut scratch);
    SCRATCH.with_borrow_mut(|all| all.push(scratch));
    result
}

/// The first `len` elements of a vector that is made longer where it must be; they hold anything.
pub fn room(scratch: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if scratch.len() < len {
        scratch.resize(len, 0.0);
    }
    &mut scratch[..len]
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
pub const BLOCK: usize = 4096;
/// Partial sums of such a block.
pub const LANES: usize = 16;

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
