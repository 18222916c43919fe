//! Schedule of [`Rearrange`].

use super::{Launch, On, Schedule, Template, words};
use crate::lower::kernels::Rearrange;

impl Template for Rearrange {
    const WGSL: &'static str = include_str!("../../../../shaders/rearrange.wgsl");
}

impl Schedule for On<'_, Rearrange> {
    fn launches(&self, rows: usize) -> Vec<Launch> {
        let records = if self.batched { rows } else { 1 };
        Launch::linear(records * self.len, &words(&[self.from_len, self.len]))
    }
}
