//! Max and average pooling.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Launch, words};
use crate::lower::emit::Specialise;

/// How a window is reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolKind {
    /// The largest element; its cotangent goes to the first largest in row-major order.
    Max,
    /// The mean over the elements inside the input.
    AverageInside,
    /// The mean over the elements inside the padded input (`count_include_pad`).
    AveragePadded,
}

/// A pooling window over `[channels, H, W]`; a 1-D one has height 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PoolGeometry {
    /// Channels, each pooled alone.
    pub channels: usize,
    /// Input height and width.
    pub input: [usize; 2],
    /// Output height and width.
    pub output: [usize; 2],
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Strides.
    pub stride: [usize; 2],
    /// Dilations.
    pub dilation: [usize; 2],
    /// Padding before the first row and column.
    pub pad: [usize; 2],
    /// Padding after the last row and column, as the model declares it: `AveragePadded` counts elements up to here.
    pub pad_end: [usize; 2],
}

/// `y[n, c, oh, ow]` = the window of `x[n, c]` at `(oh, ow)`, reduced.
///
/// Buffers: `x`; then `y`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Whether `n` runs over the `P` rows (else over one).
    pub batched: bool,
    /// How a window is reduced.
    pub kind: PoolKind,
    /// The window.
    pub geometry: PoolGeometry,
}

/// `dx[n, c, ih, iw]` = the sum of what each window that holds `(ih, iw)` sends back of `dy`.
///
/// Buffers: `x` (for [`PoolKind::Max`] only), `dy`; then `dx`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolVjp {
    /// Whether `n` runs over the `P` rows (else over one).
    pub batched: bool,
    /// How a window is reduced.
    pub kind: PoolKind,
    /// The window.
    pub geometry: PoolGeometry,
}

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
    fn text(&self, kind: PoolKind) -> String {
        let PoolGeometry { channels, input: [ih, iw], output: [oh, ow], kernel: [kh, kw], .. } = self;
        let kind = if kind == PoolKind::Max { "max" } else { "average" };
        format!("{kind} of {kh}×{kw}, [{channels}, {ih}, {iw}] → [{channels}, {oh}, {ow}]")
    }

    /// The words of `shaders/shared/window.wgsl` after the count.
    fn words(&self) -> Vec<u32> {
        let padded = [0, 1].map(|i| self.pad[i] + self.input[i] + self.pad_end[i]);
        let pairs = [self.input, self.output, self.kernel, self.stride, self.dilation, self.pad, padded];
        words(pairs.as_flattened())
    }

    fn flops(&self, batched: bool, rows: usize) -> u64 {
        let records = if batched { rows } else { 1 };
        (records * self.channels * self.output[0] * self.output[1] * self.kernel[0] * self.kernel[1]) as u64
    }
}

impl KernelRules for Pool {
    fn template(&self) -> &'static str {
        "pool"
    }

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

    fn flops(&self, rows: usize) -> u64 {
        self.geometry.flops(self.batched, rows)
    }

    fn text(&self) -> String {
        self.geometry.text(self.kind)
    }
}

impl KernelRules for PoolVjp {
    fn template(&self) -> &'static str {
        "pool_vjp"
    }

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

    fn flops(&self, rows: usize) -> u64 {
        self.geometry.flops(self.batched, rows)
    }

    fn text(&self) -> String {
        self.geometry.text(self.kind)
    }
}
