//! Schedule of [`Accumulate`].

use super::{Launch, On, Schedule, Template};
use crate::lower::kernels::Accumulate;

impl Template for Accumulate {
    const WGSL: &'static str = include_str!("../../../../shaders/accumulate.wgsl");
}

impl Schedule for On<'_, Accumulate> {
    fn launches(&self, _rows: usize) -> Vec<Launch> {
        Launch::linear(self.len, &[])
    }
}
