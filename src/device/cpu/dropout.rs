//! Native twin of [`Dropout`].

use super::{Native, parallel};
use crate::lower::kernels::Dropout;

/// Elements whose masks are worked out together.
const LANES: usize = 16;

impl Native for Dropout {
    fn run(&self, rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]) {
        let Dropout { len, ratio, layer } = *self;
        let (x, keys) = (read[0], parallel::integers(read[1]));
        parallel::pieces(written[0], rows, len, len, |_: &mut (), n, y| {
            let key = [keys[2 * n] as u32, keys[2 * n + 1] as u32];
            let lines = y[..len].chunks_mut(LANES).zip(x[n * len..].chunks(LANES));
            for (i, (y, x)) in lines.enumerate() {
                let words = threefry(key, (i * LANES) as u32, layer);
                for ((y, x), word) in y.iter_mut().zip(x).zip(words) {
                    let uniform = (word >> 8) as f32 / (1 << 24) as f32;
                    *y = if uniform >= ratio { x / (1.0 - ratio) } else { 0.0 };
                }
            }
        });
    }
}

/// Word 0 of Threefry-2x32-20 (Salmon et al., SC 2011) of counters `(first, layer)`, `(first + 1, layer)`, ….
fn threefry(key: [u32; 2], first: u32, layer: u32) -> [u32; LANES] {
    const ROTATIONS: [[u32; 4]; 2] = [[13, 15, 26, 6], [17, 29, 16, 24]];
    let keys = [key[0], key[1], 0x1bd1_1bda ^ key[0] ^ key[1]];
    let mut a: [u32; LANES] = std::array::from_fn(|i| (first + i as u32).wrapping_add(keys[0]));
    let mut b = [layer.wrapping_add(keys[1]); LANES];
    for s in 0..5 {
        for r in ROTATIONS[s % 2] {
            for (a, b) in a.iter_mut().zip(&mut b) {
                *a = a.wrapping_add(*b);
                *b = b.rotate_left(r) ^ *a;
            }
        }
        let (to_a, to_b) = (keys[(s + 1) % 3], keys[(s + 2) % 3].wrapping_add(s as u32 + 1));
        a.iter_mut().for_each(|a| *a = a.wrapping_add(to_a));
        b.iter_mut().for_each(|b| *b = b.wrapping_add(to_b));
    }
    a
}
