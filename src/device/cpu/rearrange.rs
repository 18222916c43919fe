//! Native twin of [`Rearrange`].

use super::{Native, parallel};
use crate::lower::kernels::Rearrange;

impl Native for Rearrange {
    fn run(&self, rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]) {
        let map = parallel::integers(read[1]);
        let records = if self.batched { rows } else { 1 };
        parallel::pieces(written[0], records, self.len, self.len, |_: &mut (), n, y| {
            let x = &read[0][n * self.from_len..];
            y.iter_mut().zip(&map[..self.len]).for_each(|(y, &from)| *y = x[from as usize]);
        });
    }
}
