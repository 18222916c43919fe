//! Native twin of [`Rearrange`].

use super::{Buffers, Native, Read, Written, parallel};
use crate::lower::kernels::Rearrange;

impl Native for Rearrange {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let map = read[1].i32();
        match (read[0], &mut written[0]) {
            (Read::F32(x), Written::F32(y)) => self.rearrange(rows, x, map, y),
            (Read::I32(x), Written::I32(y)) => self.rearrange(rows, x, map, y),
            _ => {}
        }
    }
}

impl Rearrange {
    fn rearrange<T: Copy + Default + Send + Sync>(&self, rows: usize, x: &[T], map: &[i32], y: &mut [T]) {
        let records = if self.batched { rows } else { 1 };
        parallel::pieces(y, records, self.len, self.len, |_: &mut (), n, y| {
            let x = &x[n * self.from_len..];
            y.iter_mut().zip(&map[..self.len]).for_each(|(y, &from)| *y = at(x, from));
        });
    }
}

/// Element `i`; 0 where a map leads out of the buffer.
fn at<T: Copy + Default>(x: &[T], i: i32) -> T {
    usize::try_from(i).ok().and_then(|i| x.get(i)).copied().unwrap_or_default()
}
