//! Softmax and log-softmax along one axis, and their VJPs.

use serde::{Deserialize, Serialize};

use super::contract::{work, zero};
use super::{Binding, KernelRules};
use crate::graph::product;
use crate::lower::program::Extent;

/// The rows of a softmax: `outer × len × inner` elements a record, normalised along `len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SoftmaxRows {
    /// Whether there is one array per record (else one).
    pub batched: bool,
    /// Whether logarithms are wanted.
    pub log: bool,
    /// Product of the dims before the axis.
    pub outer: usize,
    /// Size of the axis.
    pub len: usize,
    /// Product of the dims after the axis.
    pub inner: usize,
}

/// `y = softmax(x)` or `log softmax(x)`, with the largest element subtracted first.
///
/// Buffers: `x`; then `y`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Softmax(pub SoftmaxRows);

/// `dx = y (dy − Σ y dy)` for softmax, `dx = dy − exp(y) Σ dy` for log-softmax.
///
/// Buffers: `y`, `dy`; then `dx`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SoftmaxVjp(pub SoftmaxRows);

impl SoftmaxRows {
    fn extent(&self) -> Extent {
        Extent::of(product(&[self.outer, self.len, self.inner]), self.batched)
    }

    fn text(&self) -> String {
        format!("{}[{}, {}, {}]", if self.log { "log " } else { "" }, self.outer, self.len, self.inner)
    }
}

impl KernelRules for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn buffers(&self) -> Vec<Binding> {
        vec![Binding::floats("x", self.0.extent()), Binding::floats("y", self.0.extent()).written()]
    }

    fn problem(&self) -> Option<String> {
        zero(&[("elements along the axis", self.0.len)])
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[4, self.0.extent().at(rows)])
    }

    fn text(&self) -> String {
        self.0.text()
    }
}

impl KernelRules for SoftmaxVjp {
    fn name(&self) -> &'static str {
        "softmax_vjp"
    }

    fn buffers(&self) -> Vec<Binding> {
        let len = self.0.extent();
        vec![Binding::floats("y", len), Binding::floats("dy", len), Binding::floats("dx", len).written()]
    }

    fn problem(&self) -> Option<String> {
        zero(&[("elements along the axis", self.0.len)])
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[4, self.0.extent().at(rows)])
    }

    fn text(&self) -> String {
        self.0.text()
    }
}
