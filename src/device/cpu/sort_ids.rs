//! Native twin of [`SortIds`].

use super::{Buffers, Native, parallel};
use crate::lower::kernels::{SortIds, row_of_id};

impl Native for SortIds {
    fn block(&self) -> Option<usize> {
        Some(1)
    }

    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let ids = read[0].i32();
        parallel::pieces(written[0].i32(), rows, self.count, self.count, |keys: &mut Vec<u64>, n, order| {
            let ids = &ids[n * self.count..][..self.count];
            // Row and position in one number: no two are equal, and numbers are sorted fast.
            keys.clear();
            keys.extend((0..).zip(ids).map(|(t, &id)| (row_of_id(id, self.table_rows) as u64) << 32 | t));
            keys.sort_unstable();
            order.iter_mut().zip(keys).for_each(|(to, key)| *to = *key as i32);
        });
    }
}
