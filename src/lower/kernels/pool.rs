//! Max and average pooling.

use serde::{Deserialize, Serialize};

use super::contract::{work, zero};
use super::{Binding, KernelRules};
use crate::graph::product;
use crate::lower::program::Extent;

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

/// The most elements of a window.
const MAX_WINDOW: usize = 65_535;

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

impl PoolGeometry {
    /// The lengths of the input and the output.
    fn planes(&self, batched: bool) -> [Extent; 2] {
        [self.input, self.output].map(|area| Extent::of(product(&[self.channels, area[0], area[1]]), batched))
    }

    fn problem(&self) -> Option<String> {
        let PoolGeometry { input, output, kernel, stride, dilation, .. } = self;
        let axis = |i: usize| {
            zero(&[
                ("input", input[i]),
                ("output", output[i]),
                ("window", kernel[i]),
                ("stride", stride[i]),
                ("dilation", dilation[i]),
            ])
        };
        let area = product(kernel);
        axis(0).or_else(|| axis(1)).or_else(|| (area > MAX_WINDOW).then(|| format!("has windows of {area} elements")))
    }

    fn text(&self, kind: PoolKind) -> String {
        let PoolGeometry { channels, input: [ih, iw], output: [oh, ow], kernel: [kh, kw], .. } = self;
        let kind = if kind == PoolKind::Max { "max" } else { "average" };
        format!("{kind} of {kh}×{kw}, [{channels}, {ih}, {iw}] → [{channels}, {oh}, {ow}]")
    }

    fn flops(&self, batched: bool, rows: usize) -> u64 {
        let records = if batched { rows } else { 1 };
        work(&[records, self.channels, product(&self.output), product(&self.kernel)])
    }
}

impl KernelRules for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn buffers(&self) -> Vec<Binding> {
        let [x, y] = self.geometry.planes(self.batched);
        vec![Binding::floats("x", x), Binding::floats("y", y).written()]
    }

    fn problem(&self) -> Option<String> {
        self.geometry.problem()
    }

    fn flops(&self, rows: usize) -> u64 {
        self.geometry.flops(self.batched, rows)
    }

    fn text(&self) -> String {
        self.geometry.text(self.kind)
    }
}

impl KernelRules for PoolVjp {
    fn name(&self) -> &'static str {
        "pool_vjp"
    }

    fn buffers(&self) -> Vec<Binding> {
        let [x, y] = self.geometry.planes(self.batched);
        let [dy, dx] = [Binding::floats("dy", y), Binding::floats("dx", x).written()];
        if self.kind == PoolKind::Max { vec![Binding::floats("x", x), dy, dx] } else { vec![dy, dx] }
    }

    fn problem(&self) -> Option<String> {
        self.geometry.problem()
    }

    fn flops(&self, rows: usize) -> u64 {
        self.geometry.flops(self.batched, rows)
    }

    fn text(&self) -> String {
        self.geometry.text(self.kind)
    }
}
