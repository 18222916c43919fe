//! Schedule of [`Flip`].

use super::{Launch, On, Schedule, Template};
use crate::lower::kernels::Flip;

impl Template for Flip {
    const WGSL: &'static str = include_str!("../../../../shaders/flip.wgsl");
}

impl Schedule for On<'_, Flip> {
    fn launches(&self, rows: usize) -> Vec<Launch> {
        Launch::linear(self.extent().at(rows), &[self.len as u32, self.inner as u32])
    }
}
