//! Schedule of [`AddNoise`].

use super::{Launch, On, Schedule, Template};
use crate::lower::kernels::AddNoise;

impl Template for AddNoise {
    const WGSL: &'static str = include_str!("../../../../shaders/add_noise.wgsl");
}

impl Schedule for On<'_, AddNoise> {
    fn launches(&self, _rows: usize) -> Vec<Launch> {
        Launch::linear(self.len, &[])
    }
}
