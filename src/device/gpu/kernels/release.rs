//! Schedule of [`Release`].

use super::{Launch, On, Schedule, Template};
use crate::lower::kernels::Release;

impl Template for Release {
    const WGSL: &'static str = include_str!("../../../../shaders/release.wgsl");
}

impl Schedule for On<'_, Release> {
    fn launches(&self, _rows: usize) -> Vec<Launch> {
        Launch::linear(self.len, &[self.group as u32])
    }
}
