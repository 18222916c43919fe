//! Native twin of [`Gather`].

use super::{Buffers, Native, parallel};
use crate::lower::kernels::{Gather, row_of_id};

impl Native for Gather {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let (table, ids) = (read[0].f32(), read[1].i32());
        let count = self.count * if self.batched { rows } else { 1 };
        parallel::pieces(written[0].f32(), count, self.width, self.width, |_: &mut (), i, y| {
            let row = row_of_id(ids[i], self.table_rows).min(self.table_rows - 1);
            y[..self.width].copy_from_slice(&table[row * self.width..][..self.width]);
        });
    }
}
