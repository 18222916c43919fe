//! Schedule of [`Privatize`].

use super::{Launch, Schedule, Template};
use crate::lower::kernels::Privatize;

impl Template for Privatize {
    const WGSL: &'static str = include_str!("../../../../shaders/privatize.wgsl");
}

impl Schedule for Privatize {
    fn launches(&self, _rows: usize) -> Vec<Launch> {
        Launch::linear(self.len, &[])
    }
}
