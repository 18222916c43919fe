//! Schedules of [`Pool`] and [`PoolVjp`].

use super::{Launch, Schedule, Specialise, Template, words};
use crate::lower::kernels::{Pool, PoolKind, PoolVjp, Window};

impl PoolKind {
    /// The constant of `shaders/shared/window.wgsl` that stands for the kind.
    fn constant(self) -> &'static str {
        match self {
            PoolKind::Max => "MAX",
            PoolKind::AverageInside => "AVERAGE_INSIDE",
            PoolKind::AveragePadded => "AVERAGE_PADDED",
        }
    }
}

/// The words of `shaders/shared/window.wgsl` after the count.
fn sizes(w: &Window) -> Vec<u32> {
    let padded = [0, 1, 2].map(|i| w.pad[i] + w.input[i] + w.pad_end[i]);
    let triples = [w.input, w.output, w.kernel, w.stride, w.dilation, w.pad, padded];
    words(triples.as_flattened())
}

impl Template for Pool {
    const WGSL: &'static str = include_str!("../../../../shaders/pool.wgsl");
}

impl Schedule for Pool {
    fn specialise(&self, template: &mut Specialise) {
        template.constant("KIND", self.kind.constant());
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let planes = self.channels * if self.batched { rows } else { 1 };
        Launch::linear(planes * self.window.positions(), &sizes(&self.window))
    }

    fn iterations(&self) -> usize {
        2 * (self.window.taps() + 1)
    }
}

impl Template for PoolVjp {
    const WGSL: &'static str = include_str!("../../../../shaders/pool_vjp.wgsl");
}

impl Schedule for PoolVjp {
    fn specialise(&self, template: &mut Specialise) {
        template.constant("KIND", self.kind.constant());
        if self.kind != PoolKind::Max {
            template.block(
                "operands",
                "@group(0) @binding(1) var<storage, read> dy: array<f32>;\n\
                 @group(0) @binding(2) var<storage, read_write> dx: array<f32>;",
            );
            template.block("share", "    return 1.0 / divisor(o);");
        }
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let planes = self.channels * if self.batched { rows } else { 1 };
        Launch::linear(planes * self.window.elements(), &sizes(&self.window))
    }

    fn iterations(&self) -> usize {
        let w = &self.window;
        let windows = |axis: usize| ((w.kernel[axis] - 1) * w.dilation[axis] / w.stride[axis] + 1).min(w.output[axis]);
        windows(0) * (windows(1) * (windows(2) * (w.taps() + 3) + 3) + 3) + 3
    }
}
