//! Schedule of [`Dropout`].

use super::{Launch, On, Schedule, Template};
use crate::lower::kernels::Dropout;

impl Template for Dropout {
    const WGSL: &'static str = include_str!("../../../../shaders/dropout.wgsl");
}

impl Schedule for On<'_, Dropout> {
    fn launches(&self, rows: usize) -> Vec<Launch> {
        let floats = [self.ratio, 1.0 / (1.0 - self.ratio)].map(f32::to_bits);
        Launch::linear(rows * self.len, &[self.len as u32, self.layer, floats[0], floats[1]])
    }
}
