//! Schedule of [`Fill`].

use super::{Launch, On, Schedule, Template};
use crate::lower::kernels::Fill;

impl Template for Fill {
    const WGSL: &'static str = include_str!("../../../../shaders/fill.wgsl");
}

impl Schedule for On<'_, Fill> {
    fn launches(&self, rows: usize) -> Vec<Launch> {
        Launch::linear(self.len.at(rows), &[self.value.to_bits()])
    }
}
