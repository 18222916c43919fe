//! Schedule of [`Uniform`].

use super::{Launch, On, Schedule, Template};
use crate::lower::kernels::Uniform;

impl Template for Uniform {
    const WGSL: &'static str = include_str!("../../../../shaders/uniform.wgsl");
}

impl Schedule for On<'_, Uniform> {
    fn launches(&self, rows: usize) -> Vec<Launch> {
        Launch::linear(rows * self.len, &[self.len as u32, self.layer])
    }
}
