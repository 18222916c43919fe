//! Native twin of [`Dropout`].

use super::{Native, parallel};
use crate::lower::kernels::Dropout;

impl Native for Dropout {
    fn run(&self, rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]) {
        let Dropout { len, ratio, layer } = *self;
        let (x, keys) = (read[0], parallel::integers(read[1]));
        parallel::pieces(written[0], rows, len, len, |_: &mut (), n, y| {
            let key = [keys[2 * n] as u32, keys[2 * n + 1] as u32];
            for (i, (y, x)) in y.iter_mut().zip(&x[n * len..]).take(len).enumerate() {
                let uniform = (threefry(key, [i as u32, layer]) >> 8) as f32 / (1 << 24) as f32;
                *y = if uniform >= ratio { x / (1.0 - ratio) } else { 0.0 };
            }
        });
    }
}

/// Word 0 of Threefry-2x32-20 (Salmon et al., SC 2011).
fn threefry(key: [u32; 2], counter: [u32; 2]) -> u32 {
    const ROTATIONS: [[u32; 4]; 2] = [[13, 15, 26, 6], [17, 29, 16, 24]];
    let keys = [key[0], key[1], 0x1bd1_1bda ^ key[0] ^ key[1]];
    let mut x = [counter[0].wrapping_add(keys[0]), counter[1].wrapping_add(keys[1])];
    for s in 0..5 {
        for r in ROTATIONS[s % 2] {
            x[0] = x[0].wrapping_add(x[1]);
            x[1] = x[1].rotate_left(r) ^ x[0];
        }
        x[0] = x[0].wrapping_add(keys[(s + 1) % 3]);
        x[1] = x[1].wrapping_add(keys[(s + 2) % 3]).wrapping_add(s as u32 + 1);
    }
    x[0]
}
