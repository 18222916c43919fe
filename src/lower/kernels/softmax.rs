//! Softmax and log-softmax along one axis, and their VJPs.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Lanes, Launch, words};
use crate::lower::emit::Specialise;

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
    fn elements(&self, rows: usize) -> usize {
        self.outer * self.len * self.inner * if self.batched { rows } else { 1 }
    }

    fn specialise(&self, template: &mut Specialise) {
        Lanes::of(self.len).specialise(template);
        template.constant("LOG", self.log);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let count = self.outer * self.inner * if self.batched { rows } else { 1 };
        vec![Launch::new(words(&[count, self.len, self.inner]), Lanes::of(self.len).grid(count))]
    }

    fn iterations(&self) -> usize {
        3 * Lanes::of(self.len).steps(self.len) + 16
    }

    fn text(&self) -> String {
        format!("{}[{}, {}, {}]", if self.log { "log " } else { "" }, self.outer, self.len, self.inner)
    }
}

impl KernelRules for Softmax {
    fn template(&self) -> &'static str {
        "softmax"
    }

    fn specialise(&self, template: &mut Specialise) {
        self.0.specialise(template);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        self.0.launches(rows)
    }

    fn iterations(&self) -> usize {
        self.0.iterations()
    }

    fn flops(&self, rows: usize) -> u64 {
        4 * self.0.elements(rows) as u64
    }

    fn text(&self) -> String {
        self.0.text()
    }
}

impl KernelRules for SoftmaxVjp {
    fn template(&self) -> &'static str {
        "softmax_vjp"
    }

    fn specialise(&self, template: &mut Specialise) {
        self.0.specialise(template);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        self.0.launches(rows)
    }

    fn iterations(&self) -> usize {
        self.0.iterations()
    }

    fn flops(&self, rows: usize) -> u64 {
        4 * self.0.elements(rows) as u64
    }

    fn text(&self) -> String {
        self.0.text()
    }
}
