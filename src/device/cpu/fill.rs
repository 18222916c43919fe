//! Native twin of [`Fill`].

use super::maps::Map;
use super::{Buffers, Native};
use crate::lower::kernels::Fill;
use crate::lower::program::Extent;

impl Native for Fill {
    fn map(&self) -> Option<Map<'_>> {
        let of = |len| Fill { len: Extent::fixed(len), ..self.clone() };
        (self.len.per_row == 0).then(|| Map::new(self.len.fixed, &[1], of))
    }

    fn run(&self, rows: usize, Buffers { written, .. }: Buffers) {
        written[0].f32()[..self.len.at(rows)].fill(self.value);
    }
}
