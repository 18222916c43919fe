//! Native twin of [`Dropout`].

use super::{Buffers, Native, parallel};
use crate::lower::kernels::Dropout;

/// Elements whose masks are worked out together.
pub(super) const LANES: usize = 16;

impl Native for Dropout {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let Dropout { len, ratio, layer } = *self;
        let (x, keys) = (read[0].f32(), read[1].i32());
        parallel::pieces(written[0].f32(), rows, len, len, |_: &mut (), n, y| {
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
pub(super) fn threefry(key: [u32; 2], first: u32, layer: u32) -> [u32; LANES] {
    let keys = [key[0], key[1], 0x1bd1_1bda ^ key[0] ^ key[1]];
    let mut x =
        [std::array::from_fn(|i| (first + i as u32).wrapping_add(keys[0])), [layer.wrapping_add(keys[1]); LANES]];
    for s in 0..5 {
        if s % 2 == 0 {
            mix::<13>(&mut x);
            mix::<15>(&mut x);
            mix::<26>(&mut x);
            mix::<6>(&mut x);
        } else {
            mix::<17>(&mut x);
            mix::<29>(&mut x);
            mix::<16>(&mut x);
            mix::<24>(&mut x);
        }
        let keys = [keys[(s + 1) % 3], keys[(s + 2) % 3].wrapping_add(s as u32 + 1)];
        for (x, key) in x.iter_mut().zip(keys) {
            x.iter_mut().for_each(|x| *x = x.wrapping_add(key));
        }
    }
    x[0]
}

/// A round.
#[inline(always)]
fn mix<const ROTATION: u32>([a, b]: &mut [[u32; LANES]; 2]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a = a.wrapping_add(*b);
        *b = b.rotate_left(ROTATION) ^ *a;
    }
}
