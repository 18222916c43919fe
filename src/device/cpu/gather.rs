//! Native twin of [`Gather`].

use super::{Buffers, Native, Read, Written, parallel};
use crate::lower::kernels::{Gather, row_of_id};

impl Native for Gather {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let ids = read[1].i32();
        match (read[0], &mut written[0]) {
            (Read::F32(table), Written::F32(y)) => self.gather(rows, table, ids, y),
            (Read::I32(table), Written::I32(y)) => self.gather(rows, table, ids, y),
            _ => {}
        }
    }
}

impl Gather {
    fn gather<T: Copy + Send + Sync>(&self, rows: usize, table: &[T], ids: &[i32], y: &mut [T]) {
        let count = self.count * if self.batched { rows } else { 1 };
        parallel::pieces(y, count, self.width, self.width, |_: &mut (), i, y| {
            let (record, t) = (i / self.count, i % self.count);
            let row = row_of_id(ids[record * self.ids_record + t], self.table_rows).min(self.table_rows - 1);
            let from = record * self.table_record + row * self.width;
            y[..self.width].copy_from_slice(&table[from..][..self.width]);
        });
    }
}
