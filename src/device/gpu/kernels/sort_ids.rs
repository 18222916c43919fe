//! Schedule of [`SortIds`].

use super::{Launch, On, Schedule, Template, words};
use crate::lower::kernels::SortIds;

impl Template for SortIds {
    const WGSL: &'static str = include_str!("../../../../shaders/sort_ids.wgsl");
}

impl Schedule for On<'_, SortIds> {
    fn launches(&self, rows: usize) -> Vec<Launch> {
        Launch::linear(rows * self.count, &words(&[self.count, self.table_rows]))
    }

    fn iterations(&self) -> usize {
        self.count
    }
}
