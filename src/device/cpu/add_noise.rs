//! Native twin of [`AddNoise`].

use super::{Native, parallel};
use crate::lower::hyper;
use crate::lower::kernels::AddNoise;

impl Native for AddNoise {
    fn run(&self, _rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]) {
        let (sum, noise, inverse) = (read[0], read[1], read[2][hyper::INVERSE_BATCH]);
        parallel::blocks(&mut written[0][..self.len], |start, y| {
            y.iter_mut().zip(&sum[start..]).zip(&noise[start..]).for_each(|((y, s), n)| *y = (s + n) * inverse);
        });
    }
}
