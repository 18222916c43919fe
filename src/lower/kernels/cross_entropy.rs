//! Cross-entropy and negative log-likelihood of a record, and their VJP.

use serde::{Deserialize, Serialize};

use super::contract::{work, zero};
use super::{Binding, KernelRules};
use crate::lower::program::Extent;

/// The tokens and classes of a cross-entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tokens {
    /// Labels per record.
    pub tokens: usize,
    /// Classes per label.
    pub classes: usize,
    /// The label that does not count.
    pub ignore: i32,
    /// Whether the logits are log-probabilities already, which are read as they stand: then `log Σ exp` is taken as 0 and
    /// the softmax in the VJP as 0 (the negative log-likelihood).
    pub log_probabilities: bool,
}

/// `loss[n]` = mean over the tokens of record `n` whose label is not `ignore` of
/// `log Σ exp(logits[n, t]) − logits[n, t, label[n, t]]`, and 0 if there are none.
///
/// Labels outside `0..classes` are never read through: they count as ignored.
///
/// Buffers: `logits`, `f32[P, tokens, classes]`; `label`, `i32[P, tokens]`; then `loss`, `f32[P]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrossEntropy(pub Tokens);

/// `dlogits[n, t, k] = dloss[n] (softmax(logits[n, t])[k] − [k = label]) / count[n]`, 0 for ignored tokens.
///
/// Buffers: `logits`, `label`, `dloss` (`f32[P]`); then `dlogits`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrossEntropyVjp(pub Tokens);

impl Tokens {
    /// The length of the logits.
    pub(super) fn logits(&self) -> Extent {
        Extent::rows(self.tokens.saturating_mul(self.classes))
    }

    /// Logits and labels, then `read`, then `written`.
    pub(super) fn buffers(&self, read: &[Binding], written: Binding) -> Vec<Binding> {
        let label = Binding::integers("label", Extent::rows(self.tokens));
        [&[Binding::floats("logits", self.logits()), label], read, &[written]].concat()
    }

    pub(super) fn text(&self) -> String {
        let of = if self.log_probabilities { " log-probabilities" } else { "" };
        format!("{} tokens of {} classes{of}, ignore {}", self.tokens, self.classes, self.ignore)
    }
}

impl KernelRules for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn buffers(&self) -> Vec<Binding> {
        self.0.buffers(&[], Binding::floats("loss", Extent::rows(1)).written())
    }

    fn problem(&self) -> Option<String> {
        zero(&[("classes", self.0.classes)])
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[4, rows, self.0.tokens, self.0.classes])
    }

    fn text(&self) -> String {
        self.0.text()
    }
}

impl KernelRules for CrossEntropyVjp {
    fn name(&self) -> &'static str {
        "cross_entropy_vjp"
    }

    fn buffers(&self) -> Vec<Binding> {
        let dloss = Binding::floats("dloss", Extent::rows(1));
        self.0.buffers(&[dloss], Binding::floats("dlogits", self.0.logits()).written())
    }

    fn problem(&self) -> Option<String> {
        zero(&[("classes", self.0.classes)])
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[4, rows, self.0.tokens, self.0.classes])
    }

    fn text(&self) -> String {
        self.0.text()
    }
}
