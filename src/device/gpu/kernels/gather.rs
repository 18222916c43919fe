//! Schedule of [`Gather`].

use super::{Launch, On, Schedule, Template, words};
use crate::lower::kernels::Gather;

impl Template for Gather {
    const WGSL: &'static str = include_str!("../../../../shaders/gather.wgsl");
}

impl Schedule for On<'_, Gather> {
    fn launches(&self, rows: usize) -> Vec<Launch> {
        let records = if self.batched { rows } else { 1 };
        let sizes = words(&[self.count, self.width, self.table_rows, self.table_record, self.ids_record]);
        Launch::linear(records * self.count * self.width, &sizes)
    }
}
