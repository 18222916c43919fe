//! Native twin of [`Uniform`].

use super::dropout::{LANES, threefry};
use super::{Buffers, Native, parallel};
use crate::lower::kernels::Uniform;

impl Native for Uniform {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let Uniform { len, layer } = *self;
        let keys = read[0].i32();
        parallel::pieces(written[0].f32(), rows, len, len, |_: &mut (), n, y| {
            let key = [keys[2 * n] as u32, keys[2 * n + 1] as u32];
            for (i, y) in y[..len].chunks_mut(LANES).enumerate() {
                let words = threefry(key, (i * LANES) as u32, layer);
                for (y, word) in y.iter_mut().zip(words) {
                    *y = ((word >> 9) as f32 + 0.5) / (1 << 23) as f32;
                }
            }
        });
    }
}
