//! Native twin of [`Gather`].

use super::{Buffers, Native, Read, Written, lanes, parallel};
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

/// Elements that a thread gathers at a time, about.
const PIECE: usize = 4096;

impl Gather {
    fn gather<T: Copy + Send + Sync>(&self, rows: usize, table: &[T], ids: &[i32], y: &mut [T]) {
        let Gather { count, width, .. } = *self;
        let count_all = count * if self.batched { rows } else { 1 };
        let lines = (PIECE / width.max(1)).clamp(1, count_all.max(1));
        let y = &mut y[..count_all * width];
        parallel::pieces(y, count_all.div_ceil(lines), lines * width, lines * width, |_: &mut (), piece, y| {
            let (mut record, mut t) = (piece * lines / count, piece * lines % count);
            for y in y.chunks_exact_mut(width).take(lines) {
                let row = row_of_id(ids[record * self.ids_record + t], self.table_rows).min(self.table_rows - 1);
                lanes::copy(y, &table[record * self.table_record + row * width..][..width]);
                t += 1;
                if t == count {
                    (record, t) = (record + 1, 0);
                }
            }
        });
    }
}
