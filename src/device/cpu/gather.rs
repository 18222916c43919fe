//! Native twin of [`Gather`].

use super::{Native, parallel};
use crate::lower::kernels::{Gather, row_of_id};

impl Native for Gather {
    fn run(&self, rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]) {
        let (table, ids) = (read[0], parallel::integers(read[1]));
        let count = self.count * if self.batched { rows } else { 1 };
        parallel::pieces(written[0], count, self.width, self.width, |_: &mut (), i, y| {
            let row = row_of_id(ids[i], self.table_rows).min(self.table_rows - 1);
            y[..self.width].copy_from_slice(&table[row * self.width..][..self.width]);
        });
    }
}
