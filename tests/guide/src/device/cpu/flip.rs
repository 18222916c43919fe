//! Native twin of [`Flip`].

use super::{Buffers, Native, parallel};
use crate::lower::kernels::Flip;

impl Native for Flip {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let Flip { batched, outer, len, inner } = *self;
        let (x, count, size) = (read[0].f32(), outer * if batched { rows } else { 1 }, len * inner);
        parallel::pieces(written[0].f32(), count, size, size, |(), o, y| {
            for (k, y) in y.chunks_exact_mut(inner).enumerate() {
                y.copy_from_slice(&x[o * size + (len - 1 - k) * inner..][..inner]);
            }
        });
    }
}
