//! Patches of convolutions: gathered into matrices, and scattered back.

use std::ops::Range;

use crate::lower::kernels::ConvGeometry;

/// The positions `o` of `0..outputs` for which `0 ≤ o · stride + offset < inputs`.
pub fn inside(outputs: usize, stride: usize, offset: isize, inputs: usize) -> Range<usize> {
    let first = if offset < 0 { offset.unsigned_abs().div_ceil(stride) } else { 0 };
    let room = inputs as isize - offset;
    let end = if room > 0 { (room as usize).div_ceil(stride).min(outputs) } else { 0 };
    first.min(end)..end
}

/// A kernel element's share of a convolution: where it meets the input.
struct Tap {
    /// Channel within the group, then row and column of the kernel, as one index.
    index: usize,
    /// Channel within the group.
    channel: usize,
    /// Added to `oh · stride` and `ow · stride`.
    offset: [isize; 2],
    /// The output rows and columns for which that is inside the input.
    inside: [Range<usize>; 2],
}

fn taps(conv: &ConvGeometry, channels: usize) -> impl Iterator<Item = Tap> + '_ {
    let [kh, kw] = conv.kernel;
    (0..channels * kh * kw).map(move |index| {
        let k = [index / kw % kh, index % kw];
        let offset = [0, 1].map(|i| (k[i] * conv.dilation[i]) as isize - conv.pad[i] as isize);
        let inside = [0, 1].map(|i| inside(conv.output[i], conv.stride[i], offset[i], conv.input[i]));
        Tap { index, channel: index / (kh * kw), offset, inside }
    })
}

/// Writes the patches of group `group` of an input `[C, H, W]` as rows `(c, kh, kw)` of positions, `ld` elements apart.
pub fn gather(conv: &ConvGeometry, x: &[f32], group: usize, out: &mut [f32], ld: usize) {
    let [kh, kw] = conv.kernel;
    let area = conv.input[0] * conv.input[1];
    let mut padded = Padded::new(conv);
    let Padded { columns, pitch, .. } = padded;
    for c in 0..conv.group_channels() {
        let plane = &x[(group * conv.group_channels() + c) * area..][..area];
        let plane = padded.fill(conv, plane);
        for k in 0..kh * kw {
            let row = &mut out[(c * kh * kw + k) * ld..][..conv.positions()];
            let [top, left] = [k / kw * conv.dilation[0], k % kw * conv.dilation[1]];
            let start = left % conv.stride[1] * columns + left / conv.stride[1];
            for (oh, line) in row.chunks_exact_mut(conv.output[1]).enumerate() {
                copy(line, &plane[(oh * conv.stride[0] + top) * pitch + start..]);
            }
        }
    }
}

/// An input plane with zeros around it, each row in `stride` parts of every `stride`-th column, so that what a kernel
/// element meets along a row is contiguous.
struct Padded {
    plane: Vec<f32>,
    /// Columns of a part.
    columns: usize,
    /// Elements between rows.
    pitch: usize,
    /// Whether the input is its own padded plane.
    plain: bool,
}

impl Padded {
    fn new(conv: &ConvGeometry) -> Padded {
        let reach = [0, 1].map(|i| {
            let last = (conv.output[i] - 1) * conv.stride[i] + (conv.kernel[i] - 1) * conv.dilation[i];
            (last + 1).max(conv.input[i] + conv.pad[i])
        });
        if conv.stride[1] == 1 && reach == conv.input {
            return Padded { plane: Vec::new(), columns: conv.input[1], pitch: conv.input[1], plain: true };
        }
        let columns = reach[1].div_ceil(conv.stride[1]);
        let pitch = columns * conv.stride[1];
        Padded { plane: vec![0.0; reach[0] * pitch], columns, pitch, plain: false }
    }

    fn fill<'a>(&'a mut self, conv: &ConvGeometry, plane: &'a [f32]) -> &'a [f32] {
        if self.plain {
            return plane;
        }
        let ([top, left], stride) = (conv.pad, conv.stride[1]);
        let rows = self.plane.chunks_exact_mut(self.pitch).skip(top);
        for (to, from) in rows.zip(plane.chunks_exact(conv.input[1])) {
            for first in 0..stride.min(from.len()) {
                let start = (left + first) % stride * self.columns + (left + first) / stride;
                to[start..].iter_mut().zip(from[first..].iter().step_by(stride)).for_each(|(y, &x)| *y = x);
            }
        }
        &self.plane
    }
}

/// Copies as much of `from` as `to` has room for: short lines by two overlapping moves, without a call.
#[inline(always)]
fn copy(to: &mut [f32], from: &[f32]) {
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

/// The inverse of [`gather`] in the sense of the transpose: sets channel planes `[H, W]` of `out`, `plane` elements apart,
/// to the sum of the entries that [`gather`] would have filled from each element. `patches` has contiguous rows.
pub fn scatter(conv: &ConvGeometry, patches: &[f32], out: &mut [f32], plane: usize) {
    let ([height, width], [_, columns]) = (conv.input, conv.output);
    let stride = conv.stride[1];
    for c in 0..conv.group_channels() {
        out[c * plane..][..height * width].fill(0.0);
    }
    for tap in taps(conv, conv.group_channels()) {
        let to = &mut out[tap.channel * plane..][..height * width];
        let row = &patches[tap.index * conv.positions()..][..conv.positions()];
        let Range { start, end } = tap.inside[1].clone();
        if start == end {
            continue;
        }
        for oh in tap.inside[0].clone() {
            let ih = (oh * conv.stride[0]).wrapping_add_signed(tap.offset[0]);
            let to = &mut to[ih * width..][..width][(start * stride).wrapping_add_signed(tap.offset[1])..];
            let from = &row[oh * columns..][start..end];
            if stride == 1 {
                to.iter_mut().zip(from).for_each(|(y, &x)| *y += x);
            } else {
                to.iter_mut().step_by(stride).zip(from).for_each(|(y, &x)| *y += x);
            }
        }
    }
}

/// Writes what the input gradient of group `group` reads of a cotangent `[O, OH, OW]` as rows `(o, kh, kw)` of input
/// elements, `ld` elements apart.
pub fn gather_cotangent(conv: &ConvGeometry, dy: &[f32], group: usize, out: &mut [f32], ld: usize) {
    let ([height, width], [rows, columns]) = (conv.input, conv.output);
    for tap in taps(conv, conv.group_filters()) {
        let plane = &dy[(group * conv.group_filters() + tap.channel) * rows * columns..][..rows * columns];
        let row = &mut out[tap.index * ld..][..height * width];
        row.fill(0.0);
        for oh in tap.inside[0].clone() {
            let ih = (oh * conv.stride[0]).wrapping_add_signed(tap.offset[0]);
            for ow in tap.inside[1].clone() {
                let iw = (ow * conv.stride[1]).wrapping_add_signed(tap.offset[1]);
                row[ih * width + iw] = plane[oh * columns + ow];
            }
        }
    }
}

/// Writes a weight `[O, C/G, KH, KW]` as rows `c` of `(o, kh, kw)`, `ld` elements apart, for group `group`.
pub fn transpose_weight(conv: &ConvGeometry, w: &[f32], group: usize, out: &mut [f32], ld: usize) {
    let area = conv.kernel[0] * conv.kernel[1];
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
