//! Schedules of [`Narrow`] and [`Widen`].

use super::{Launch, On, Schedule, Specialise, Template};
use crate::lower::kernels::{Half, Narrow, Packing, Widen};

impl Template for Narrow {
    const WGSL: &'static str = include_str!("../../../../shaders/narrow.wgsl");
}

impl Template for Widen {
    const WGSL: &'static str = include_str!("../../../../shaders/widen.wgsl");
}

impl Schedule for On<'_, Narrow> {
    fn specialise(&self, template: &mut Specialise) {
        template.constant("F16", self.0.half == Half::F16);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        launches(&self.0, rows, self.0.scale())
    }
}

impl Schedule for On<'_, Widen> {
    fn specialise(&self, template: &mut Specialise) {
        template.constant("F16", self.0.half == Half::F16);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        launches(&self.0, rows, self.0.scale().recip())
    }
}

/// One invocation a word.
fn launches(packing: &Packing, rows: usize, scale: f32) -> Vec<Launch> {
    let words = packing.words();
    Launch::linear(rows * words, &[words as u32, packing.len as u32, scale.to_bits()])
}
