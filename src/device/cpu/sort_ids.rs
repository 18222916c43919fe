//! Native twin of [`SortIds`].

use super::{Buffers, Native, parallel};
use crate::lower::kernels::{SortIds, row_of_id};

/// Room for the numbers that are sorted.
#[derive(Default)]
struct Keys {
    short: Vec<u32>,
    long: Vec<u64>,
}

impl Native for SortIds {
    fn block(&self) -> Option<usize> {
        Some(1)
    }

    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let ids = read[0].i32();
        let bits = self.count.next_power_of_two().ilog2();
        // Row and position in one number: no two are equal, and numbers are sorted fast.
        parallel::pieces(written[0].i32(), rows, self.count, self.count, |keys: &mut Keys, n, order| {
            let ids = &ids[n * self.count..][..self.count];
            let row = |id: &i32| row_of_id(*id, self.table_rows);
            let largest = ids.iter().map(row).max().unwrap_or(0);
            if (largest as u64) < 1 << (u32::BITS - bits) {
                keys.short.clear();
                keys.short.extend((0..).zip(ids).map(|(t, id)| (row(id) as u32) << bits | t));
                keys.short.sort_unstable();
                let position = (1 << bits) - 1;
                order.iter_mut().zip(&keys.short).for_each(|(to, key)| *to = (*key & position) as i32);
            } else {
                keys.long.clear();
                keys.long.extend((0..).zip(ids).map(|(t, id)| (row(id) as u64) << u32::BITS | t));
                keys.long.sort_unstable();
                order.iter_mut().zip(&keys.long).for_each(|(to, key)| *to = *key as i32);
            }
        });
    }
}
