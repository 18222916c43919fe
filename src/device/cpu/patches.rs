//! Patches of convolutions: gathered into matrices, and scattered back.

use std::ops::Range;

use super::parallel::{room, with_scratch};
use crate::lower::kernels::{ConvGeometry, Window};

/// The positions `o` of `0..outputs` for which `0 ≤ o · stride + offset < inputs`.
pub fn inside(outputs: usize, stride: usize, offset: isize, inputs: usize) -> Range<usize> {
    let first = if offset < 0 { offset.unsigned_abs().div_ceil(stride) } else { 0 };
    let room = inputs as isize - offset;
    let end = if room > 0 { (room as usize).div_ceil(stride).min(outputs) } else { 0 };
    first.min(end)..end
}

/// A kernel element's share of a convolution: where it meets the input.
struct Tap {
    /// Channel within the group, then depth, row and column of the kernel, as one index.
    index: usize,
    /// Channel within the group.
    channel: usize,
    /// Added to the position times the stride, along each axis.
    offset: [isize; 3],
    /// The output positions for which that is inside the input, along each axis.
    inside: [Range<usize>; 3],
}

fn taps(conv: &ConvGeometry, channels: usize) -> impl Iterator<Item = Tap> + '_ {
    let (w, [_, kh, kw]) = (&conv.window, conv.window.kernel);
    (0..channels * w.taps()).map(move |index| {
        let k = [index / (kw * kh) % w.kernel[0], index / kw % kh, index % kw];
        let offset = [0, 1, 2].map(|i| (k[i] * w.dilation[i]) as isize - w.pad[i] as isize);
        let inside = [0, 1, 2].map(|i| inside(w.output[i], w.stride[i], offset[i], w.input[i]));
        Tap { index, channel: index / w.taps(), offset, inside }
    })
}

/// Writes the patches of group `group` of an input `[C, …]` as rows `(c, k…)` of positions, `ld` elements apart.
pub fn gather(conv: &ConvGeometry, x: &[f32], group: usize, out: &mut [f32], ld: usize) {
    with_scratch(|plane: &mut Plane| gather_by(conv, Padded::new(&conv.window, &mut plane.0), x, group, out, ld));
}

/// Room for a [`Padded`] plane.
#[derive(Default)]
struct Plane(Vec<f32>);

fn gather_by(conv: &ConvGeometry, mut padded: Padded, x: &[f32], group: usize, out: &mut [f32], ld: usize) {
    let w = &conv.window;
    let ([kd, kh, kw], [od, oh, ow]) = (w.kernel, w.output);
    let area = w.input[1] * w.input[2];
    let Padded { columns, pitch, .. } = padded;
    for c in 0..conv.group_channels() {
        let volume = &x[(group * conv.group_channels() + c) * w.elements()..][..w.elements()];
        let rows = |k: usize, z: usize| {
            let (first, at) = ((c * kd + k) * kh * kw, z * oh * ow);
            (0..kh * kw).map(move |k| (k, (first + k) * ld + at))
        };
        // Depths outside of the input, then those where each plane is met.
        for (k, z) in (0..kd).flat_map(|k| (0..od).map(move |z| (k, z))) {
            if (z * w.stride[0] + k * w.dilation[0]).wrapping_sub(w.pad[0]) >= w.input[0] {
                rows(k, z).for_each(|(_, at)| out[at..][..oh * ow].fill(0.0));
            }
        }
        for (depth, plane) in volume.chunks_exact(area).enumerate() {
            let plane = padded.fill(w, plane);
            for k in 0..kd {
                let Some(reach) = (depth + w.pad[0]).checked_sub(k * w.dilation[0]) else { continue };
                let z = reach / w.stride[0];
                if reach % w.stride[0] != 0 || z >= od {
                    continue;
                }
                for (k, at) in rows(k, z) {
                    let [top, left] = [k / kw * w.dilation[1], k % kw * w.dilation[2]];
                    let start = top * pitch + left % w.stride[2] * columns + left / w.stride[2];
                    copy_lines(&mut out[at..][..oh * ow], &plane[start..], ow, w.stride[1] * pitch);
                }
            }
        }
    }
}

/// An input plane with zeros around it, each row in `stride` parts of every `stride`-th column, so that what a kernel
/// element meets along a row is contiguous.
struct Padded<'s> {
    plane: &'s mut [f32],
    /// Columns of a part.
    columns: usize,
    /// Elements between rows.
    pitch: usize,
    /// Whether the input is its own padded plane.
    plain: bool,
}

impl<'s> Padded<'s> {
    fn new(w: &Window, scratch: &'s mut Vec<f32>) -> Padded<'s> {
        let reach = [1, 2].map(|i| {
            let last = (w.output[i] - 1) * w.stride[i] + (w.kernel[i] - 1) * w.dilation[i];
            (last + 1).max(w.input[i] + w.pad[i])
        });
        if w.stride[2] == 1 && reach == [w.input[1], w.input[2]] {
            return Padded { plane: &mut [], columns: w.input[2], pitch: w.input[2], plain: true };
        }
        let columns = reach[1].div_ceil(w.stride[2]);
        let pitch = columns * w.stride[2];
        let plane = room(scratch, reach[0] * pitch);
        plane.fill(0.0);
        Padded { plane, columns, pitch, plain: false }
    }

    fn fill<'a>(&'a mut self, w: &Window, plane: &'a [f32]) -> &'a [f32] {
        if self.plain {
            return plane;
        }
        let ([_, top, left], stride) = (w.pad, w.stride[2]);
        let rows = self.plane.chunks_exact_mut(self.pitch).skip(top);
        for (to, from) in rows.zip(plane.chunks_exact(w.input[2])) {
            for first in 0..stride.min(from.len()) {
                let start = (left + first) % stride * self.columns + (left + first) / stride;
                to[start..].iter_mut().zip(from[first..].iter().step_by(stride)).for_each(|(y, &x)| *y = x);
            }
        }
        self.plane
    }
}

/// Fills `to` with lines of `width` elements, which begin `step` elements apart in `from`.
fn copy_lines(to: &mut [f32], from: &[f32], width: usize, step: usize) {
    // The widths of feature maps that are common, so that a line is a few moves without a branch.
    match width {
        4 => lines_of::<4>(to, from, step),
        7 => lines_of::<7>(to, from, step),
        8 => lines_of::<8>(to, from, step),
        14 => lines_of::<14>(to, from, step),
        16 => lines_of::<16>(to, from, step),
        28 => lines_of::<28>(to, from, step),
        32 => lines_of::<32>(to, from, step),
        _ => to.chunks_exact_mut(width).enumerate().for_each(|(i, line)| copy(line, &from[i * step..])),
    }
}

fn lines_of<const WIDTH: usize>(to: &mut [f32], from: &[f32], step: usize) {
    let (lines, _) = to.as_chunks_mut::<WIDTH>();
    for (i, line) in lines.iter_mut().enumerate() {
        line.copy_from_slice(&from[i * step..][..WIDTH]);
    }
}

/// Copies as much of `from` as `to` has room for: short lines by two overlapping moves, without a call.
#[inline(always)]
pub fn copy(to: &mut [f32], from: &[f32]) {
    fn twice<const N: usize>(to: &mut [f32], from: &[f32]) {
        let last = to.len() - N;
        to[..N].copy_from_slice(&from[..N]);
        to[last..][..N].copy_from_slice(&from[last..][..N]);
    }
    let from = &from[..to.len()];
    match to.len() {
        0..4 => to.iter_mut().zip(from).for_each(|(y, &x)| *y = x),
        4..8 => twice::<4>(to, from),
        8..=16 => twice::<8>(to, from),
        17..=32 => twice::<16>(to, from),
        _ => to.copy_from_slice(from),
    }
}

/// The inverse of [`gather`] in the sense of the transpose: sets channels of `out`, `plane` elements apart, to the sum of the
/// entries that [`gather`] would have filled from each element. `patches` has a row for each position.
pub fn scatter(conv: &ConvGeometry, patches: &[f32], out: &mut [f32], plane: usize) {
    let w = &conv.window;
    let ([_, height, width], [_, kh, kw], [_, rows, columns]) = (w.input, w.kernel, w.output);
    for c in 0..conv.group_channels() {
        out[c * plane..][..w.elements()].fill(0.0);
    }
    for (position, patch) in patches.chunks_exact(conv.patch().max(1)).enumerate() {
        let at = [position / (rows * columns), position / columns % rows, position % columns];
        let first = [0, 1, 2].map(|i| (at[i] * w.stride[i]) as isize - w.pad[i] as isize);
        let [depths, lines, inner] = [0, 1, 2].map(|i| inside(w.kernel[i], w.dilation[i], first[i], w.input[i]));
        if inner.is_empty() {
            continue;
        }
        let place = |i: usize, k: usize| (k * w.dilation[i]).wrapping_add_signed(first[i]);
        let left = place(2, inner.start);
        for (c, taps) in patch.chunks_exact(w.taps()).enumerate() {
            let to = &mut out[c * plane..][..w.elements()];
            for (d, h) in depths.clone().flat_map(|d| lines.clone().map(move |h| (d, h))) {
                let from = &taps[(d * kh + h) * kw..][inner.clone()];
                let to = &mut to[(place(0, d) * height + place(1, h)) * width + left..];
                match (w.dilation[2], from.len()) {
                    (1, 2) => add::<2>(to, from),
                    (1, 3) => add::<3>(to, from),
                    (1, 4) => add::<4>(to, from),
                    (1, 5) => add::<5>(to, from),
                    (1, 7) => add::<7>(to, from),
                    (step, _) => to.iter_mut().step_by(step).zip(from).for_each(|(y, &x)| *y += x),
                }
            }
        }
    }
}

/// Adds `LEN` elements.
#[inline(always)]
fn add<const LEN: usize>(to: &mut [f32], from: &[f32]) {
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<LEN>(), from.first_chunk::<LEN>()) {
        to.iter_mut().zip(from).for_each(|(y, &x)| *y += x);
    }
}

/// Writes what the input gradient of group `group` reads of a cotangent `[O, …]` as rows `(o, k…)` of input elements, `ld`
/// elements apart.
pub fn gather_cotangent(conv: &ConvGeometry, dy: &[f32], group: usize, out: &mut [f32], ld: usize) {
    let w = &conv.window;
    let ([_, height, width], [_, rows, columns]) = (w.input, w.output);
    for tap in taps(conv, conv.group_filters()) {
        let map = &dy[(group * conv.group_filters() + tap.channel) * w.positions()..][..w.positions()];
        let row = &mut out[tap.index * ld..][..w.elements()];
        row.fill(0.0);
        for od in tap.inside[0].clone() {
            let id = (od * w.stride[0]).wrapping_add_signed(tap.offset[0]);
            for oh in tap.inside[1].clone() {
                let ih = (oh * w.stride[1]).wrapping_add_signed(tap.offset[1]);
                for ow in tap.inside[2].clone() {
                    let iw = (ow * w.stride[2]).wrapping_add_signed(tap.offset[2]);
                    row[(id * height + ih) * width + iw] = map[(od * rows + oh) * columns + ow];
                }
            }
        }
    }
}

/// Writes a weight `[O, C/G, K…]` as rows `c` of `(o, k…)`, `ld` elements apart, for group `group`.
pub fn transpose_weight(conv: &ConvGeometry, w: &[f32], group: usize, out: &mut [f32], ld: usize) {
    let area = conv.window.taps();
    for o in 0..conv.group_filters() {
        for c in 0..conv.group_channels() {
            let from = &w[((group * conv.group_filters() + o) * conv.group_channels() + c) * area..][..area];
            out[c * ld + o * area..][..area].copy_from_slice(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_agree_with_a_search() {
        for (outputs, stride, inputs) in (1..6).flat_map(|o| (1..4).flat_map(move |s| (1..6).map(move |i| (o, s, i)))) {
            for offset in -9..9 {
                let found: Vec<usize> =
                    (0..outputs).filter(|o| (0..inputs as isize).contains(&((o * stride) as isize + offset))).collect();
                assert_eq!(inside(outputs, stride, offset, inputs).collect::<Vec<_>>(), found);
            }
        }
    }
}
