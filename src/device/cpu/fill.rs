//! Native twin of [`Fill`].

use super::{Buffers, Native};
use crate::lower::kernels::Fill;

impl Native for Fill {
    fn run(&self, rows: usize, Buffers { written, .. }: Buffers) {
        written[0].f32()[..self.len.at(rows)].fill(self.value);
    }
}
