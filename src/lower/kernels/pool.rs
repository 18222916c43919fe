//! Max and average pooling.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Launch, Window, words};
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

/// `y[n, c, o…]` = the window of `x[n, c]` at `o…`, reduced. Of `AveragePadded`, elements count up to the declared padding.
///
/// Buffers: `x`; then `y`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Whether `n` runs over the `P` rows (else over one).
    pub batched: bool,
    /// How a window is reduced.
    pub kind: PoolKind,
    /// Channels, each pooled alone.
    pub channels: usize,
    /// The window.
    pub window: Window,
}

/// `dx[n, c, i…]` = the sum of what each window that holds `i…` sends back of `dy`.
///
/// Buffers: `x` (for [`PoolKind::Max`] only), `dy`; then `dx`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolVjp {
    /// Whether `n` runs over the `P` rows (else over one).
    pub batched: bool,
    /// How a window is reduced.
    pub kind: PoolKind,
    /// Channels, each pooled alone.
    pub channels: usize,
    /// The window.
    pub window: Window,
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

fn text(channels: usize, w: &Window, kind: PoolKind) -> String {
    let kind = if kind == PoolKind::Max { "max" } else { "average" };
    format!("{kind} of {}, {:?} → {:?}", w.text(w.kernel), w.dims(channels, w.input), w.dims(channels, w.output))
}

/// The words of `shaders/shared/window.wgsl` after the count.
fn sizes(w: &Window) -> Vec<u32> {
    let padded = [0, 1, 2].map(|i| w.pad[i] + w.input[i] + w.pad_end[i]);
    let triples = [w.input, w.output, w.kernel, w.stride, w.dilation, w.pad, padded];
    words(triples.as_flattened())
}

fn flops(channels: usize, w: &Window, records: usize) -> u64 {
    (records * channels * w.positions() * w.taps()) as u64
}

impl KernelRules for Pool {
    fn template(&self) -> &'static str {
        "pool"
    }

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

    fn flops(&self, rows: usize) -> u64 {
        flops(self.channels, &self.window, if self.batched { rows } else { 1 })
    }

    fn text(&self) -> String {
        text(self.channels, &self.window, self.kind)
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

    fn flops(&self, rows: usize) -> u64 {
        flops(self.channels, &self.window, if self.batched { rows } else { 1 })
    }

    fn text(&self) -> String {
        text(self.channels, &self.window, self.kind)
    }
}
