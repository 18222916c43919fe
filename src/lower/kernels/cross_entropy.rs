//! Cross-entropy and negative log-likelihood of a record, and their VJP.

use serde::{Deserialize, Serialize};

use super::KernelRules;


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

impl KernelRules for CrossEntropy {
    fn template(&self) -> &'static str {
        "cross_entropy"
    }

    fn flops(&self, rows: usize) -> u64 {
        4 * (rows * self.0.tokens * self.0.classes) as u64
    }

    fn text(&self) -> String {
        format!("{:?}", self.0)
    }
}

impl KernelRules for CrossEntropyVjp {
    fn template(&self) -> &'static str {
        "cross_entropy_vjp"
    }

    fn flops(&self, rows: usize) -> u64 {
        4 * (rows * self.0.tokens * self.0.classes) as u64
    }

    fn text(&self) -> String {
        format!("{:?}", self.0)
    }
}
