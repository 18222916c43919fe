//! Native twin of [`AddNoise`].

use super::maps::Map;
use super::{Buffers, Native, parallel};
use crate::lower::hyper;
use crate::lower::kernels::AddNoise;

impl Native for AddNoise {
    fn map(&self) -> Option<Map<'_>> {
        Some(Map::new(self.len, &[1, 1, 0, 1], |len| AddNoise { len }))
    }

    fn run(&self, _rows: usize, Buffers { read, written, .. }: Buffers) {
        let (sum, noise, inverse) = (read[0].f32(), read[1].f32(), read[2].f32()[hyper::INVERSE_BATCH]);
        parallel::blocks(&mut written[0].f32()[..self.len], |start, y| {
            y.iter_mut().zip(&sum[start..]).zip(&noise[start..]).for_each(|((y, s), n)| *y = (s + n) * inverse);
        });
    }
}
