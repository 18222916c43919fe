//! Native twin of [`SortIds`].

use super::{Buffers, Native, parallel};
use crate::lower::kernels::{SortIds, row_of_id};

impl Native for SortIds {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let ids = read[0].i32();
        parallel::pieces(written[0].i32(), rows, self.count, self.count, |_: &mut (), n, order| {
            let ids = &ids[n * self.count..][..self.count];
            let order = &mut order[..self.count];
            order.iter_mut().enumerate().for_each(|(t, to)| *to = t as i32);
            order.sort_by_key(|&t| row_of_id(ids[t as usize], self.table_rows));
        });
    }
}
