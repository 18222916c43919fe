//! Schedules of [`Pool`] and [`PoolVjp`].

use super::{Launch, Schedule, Specialise, Template, words};
use crate::lower::kernels::{Pool, PoolGeometry, PoolKind, PoolVjp};

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

impl PoolGeometry {
    /// The words of `shaders/shared/window.wgsl` after the count.
    fn words(&self) -> Vec<u32> {
        let padded = [0, 1].map(|i| self.pad[i] + self.input[i] + self.pad_end[i]);
        let pairs = [self.input, self.output, self.kernel, self.stride, self.dilation, self.pad, padded];
        words(pairs.as_flattened())
    }
}

impl Template for Pool {
    const WGSL: &'static str = include_str!("../../../../shaders/pool.wgsl");
}

impl Schedule for Pool {
    fn specialise(&self, template: &mut Specialise) {
        template.constant("KIND", self.kind.constant());
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let planes = self.geometry.channels * if self.batched { rows } else { 1 };
        Launch::linear(planes * self.geometry.output[0] * self.geometry.output[1], &self.geometry.words())
    }

    fn iterations(&self) -> usize {
        2 * (self.geometry.kernel[0] * self.geometry.kernel[1] + 1)
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
            template.block("share", "    return 1.0 / divisor(oh, ow);");
        }
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let planes = self.geometry.channels * if self.batched { rows } else { 1 };
        Launch::linear(planes * self.geometry.input[0] * self.geometry.input[1], &self.geometry.words())
    }

    fn iterations(&self) -> usize {
        let g = &self.geometry;
        let windows = |axis: usize| ((g.kernel[axis] - 1) * g.dilation[axis] / g.stride[axis] + 1).min(g.output[axis]);
        windows(0) * (windows(1) * (g.kernel[0] * g.kernel[1] + 3) + 3) + 3
    }
}
