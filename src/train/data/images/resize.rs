//! Images of another size, to the bit as Pillow resizes them with its bilinear filter.
//!
//! A pixel is the mean of those around its place, weighed by a triangle that is as wide as two pixels, of the source or of
//! the result, whichever are larger: first along rows, then along columns, with weights of 22 bits after the point and
//! rounded to bytes in between. After `Resample.c` of [Pillow](https://github.com/python-pillow/Pillow).

use super::Size;

/// Bits after the point of a weight: eight are left for a byte, and two for the sum and the sign.
const BITS: u32 = 32 - 8 - 2;

/// An image of `channels` bytes a pixel, brought from one size to another.
pub fn resized(pixels: Vec<u8>, channels: usize, from: Size, to: Size) -> Vec<u8> {
    let wide = match from.width == to.width {
        true => pixels,
        // Each row is `[width, channels]`.
        false => along(&pixels, &weights(from.width, to.width), from.width, channels),
    };
    match from.height == to.height {
        true => wide,
        false => along(&wide, &weights(from.height, to.height), from.height, to.width * channels),
    }
}

/// The pixels that one of the result is made of.
struct Weights {
    first: usize,
    of: Vec<i32>,
}

fn weights(from: usize, to: usize) -> Vec<Weights> {
    let scale = from as f64 / to as f64;
    let support = scale.max(1.0);
    let one = |at: usize| {
        let center = (at as f64 + 0.5) * scale;
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(from);
        let triangle = |pixel: usize| (1.0 - ((pixel as f64 - center + 0.5) / support).abs()).max(0.0);
        let total: f64 = (first..end).map(triangle).sum();
        let fixed = |pixel| (triangle(pixel) / total * f64::from(1 << BITS) + 0.5) as i32;
        Weights { first, of: (first..end).map(fixed).collect() }
    };
    (0..to).map(one).collect()
}

/// The weighed means along the middle axis of `[any, length, block]`.
fn along(bytes: &[u8], weights: &[Weights], length: usize, block: usize) -> Vec<u8> {
    let mut result = Vec::with_capacity(bytes.len() / length * weights.len());
    let mut sums = vec![0i32; block];
    for part in bytes.chunks_exact(length * block) {
        for Weights { first, of } in weights {
            sums.fill(1 << (BITS - 1));
            for (row, weight) in part[first * block..].chunks_exact(block).zip(of) {
                sums.iter_mut().zip(row).for_each(|(sum, &byte)| *sum += i32::from(byte) * weight);
            }
            result.extend(sums.iter().map(|sum| (sum >> BITS).clamp(0, 255) as u8));
        }
    }
    result
}
