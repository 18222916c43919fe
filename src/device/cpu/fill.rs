//! Native twin of [`Fill`].

use super::Native;
use crate::lower::kernels::Fill;

impl Native for Fill {
    fn run(&self, rows: usize, _read: &[&[f32]], written: &mut [&mut [f32]]) {
        written[0][..self.len.at(rows)].fill(self.value);
    }
}
