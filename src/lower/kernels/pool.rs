//! Max and average pooling.

use serde::{Deserialize, Serialize};

use super::contract::work;
use super::{Binding, KernelRules, Window};
use crate::graph::product;
use crate::lower::program::Extent;

/// The most elements of a window.
pub const MAX_WINDOW: usize = 65_535;

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

fn text(channels: usize, w: &Window, kind: PoolKind) -> String {
    let kind = if kind == PoolKind::Max { "max" } else { "average" };
    format!("{kind} of {}, {:?} → {:?}", w.text(w.kernel), w.dims(channels, w.input), w.dims(channels, w.output))
}

fn flops(channels: usize, w: &Window, records: usize) -> u64 {
    work(&[records, channels, w.positions(), w.taps()])
}

/// The lengths of the input and the output.
fn images(channels: usize, w: &Window, batched: bool) -> [Extent; 2] {
    [w.elements(), w.positions()].map(|image| Extent::of(product(&[channels, image]), batched))
}

fn problem(w: &Window) -> Option<String> {
    let taps = w.taps();
    w.problem().or_else(|| (taps > MAX_WINDOW).then(|| format!("has windows of {taps} elements")))
}

impl KernelRules for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn buffers(&self) -> Vec<Binding> {
        let [x, y] = images(self.channels, &self.window, self.batched);
        vec![Binding::floats("x", x), Binding::floats("y", y).written()]
    }

    fn problem(&self) -> Option<String> {
        problem(&self.window)
    }

    fn flops(&self, rows: usize) -> u64 {
        flops(self.channels, &self.window, if self.batched { rows } else { 1 })
    }

    fn text(&self) -> String {
        text(self.channels, &self.window, self.kind)
    }
}

impl KernelRules for PoolVjp {
    fn name(&self) -> &'static str {
        "pool_vjp"
    }

    fn buffers(&self) -> Vec<Binding> {
        let [x, y] = images(self.channels, &self.window, self.batched);
        let [dy, dx] = [Binding::floats("dy", y), Binding::floats("dx", x).written()];
        if self.kind == PoolKind::Max { vec![Binding::floats("x", x), dy, dx] } else { vec![dy, dx] }
    }

    fn problem(&self) -> Option<String> {
        problem(&self.window)
    }

    fn flops(&self, rows: usize) -> u64 {
        flops(self.channels, &self.window, if self.batched { rows } else { 1 })
    }

    fn text(&self) -> String {
        text(self.channels, &self.window, self.kind)
    }
}
