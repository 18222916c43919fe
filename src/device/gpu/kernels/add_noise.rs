//! Schedule of [`AddNoise`].

use super::{Launch, Schedule, Template};
use crate::lower::kernels::AddNoise;

impl Template for AddNoise {
    const WGSL: &'static str = include_str!("../../../../shaders/add_noise.wgsl");
}

impl Schedule for AddNoise {
    fn launches(&self, _rows: usize) -> Vec<Launch> {
        Launch::linear(self.len, &[])
    }
}
