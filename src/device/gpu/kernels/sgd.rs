//! Schedule of [`Sgd`].

use super::{Launch, On, Schedule, Specialise, Template};
use crate::lower::kernels::Sgd;

impl Template for Sgd {
    const WGSL: &'static str = include_str!("../../../../shaders/sgd.wgsl");
}

impl Schedule for On<'_, Sgd> {
    fn specialise(&self, template: &mut Specialise) {
        if self.momentum != 0.0 {
            template.block("state", "@group(0) @binding(4) var<storage, read_write> velocity: array<f32>;");
            let step = if self.nesterov { "g + params.momentum * v" } else { "v" };
            template.block(
                "momentum",
                &format!("    let v = params.momentum * velocity[i] + g;\n    velocity[i] = v;\n    step = {step};"),
            );
        }
    }

    fn launches(&self, _rows: usize) -> Vec<Launch> {
        Launch::linear(self.len, &[self.momentum.to_bits(), self.weight_decay.to_bits()])
    }
}
