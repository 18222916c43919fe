//! Schedule of [`Fold`].

use super::{Launch, On, Schedule, Template};
use crate::lower::kernels::Fold;

impl Template for Fold {
    const WGSL: &'static str = include_str!("../../../../shaders/fold.wgsl");
}

impl Schedule for On<'_, Fold> {
    fn launches(&self, _rows: usize) -> Vec<Launch> {
        Launch::linear(self.len, &[])
    }
}
