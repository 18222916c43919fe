//! Schedule of [`Carry`].

use super::{Launch, On, Schedule, Template};
use crate::lower::kernels::Carry;

impl Template for Carry {
    const WGSL: &'static str = include_str!("../../../../shaders/carry.wgsl");
}

impl Schedule for On<'_, Carry> {
    fn launches(&self, _rows: usize) -> Vec<Launch> {
        Launch::linear(self.len, &[])
    }
}
