//! Cross-entropy and negative log-likelihood of a record with class weights and label smoothing, and their VJP.

use serde::{Deserialize, Serialize};

use super::contract::{work, zero};
use super::{Binding, KernelRules, Tokens};
use crate::lower::program::Extent;

/// The tokens of a weighted cross-entropy, and its smoothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightedTokens {
    /// Sizes and the label that does not count.
    pub of: Tokens,
    /// The share of each label that is spread evenly over the classes.
    pub smoothing: f32,
}

/// With `q[k] = weights[k] ((1 − s) [k = label[n, t]] + s / classes)`, `loss[n]` = mean over the tokens of record `n` whose
/// label is not `ignore` of `Σ_k q[k] (log Σ exp(logits[n, t]) − logits[n, t, k])`, and 0 if there are none.
///
/// Labels outside `0..classes` are never read through: they count as ignored.
///
/// Buffers: `logits`, `f32[P, tokens, classes]`; `label`, `i32[P, tokens]`; `weights`, `f32[classes]`; then `loss`, `f32[P]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightedCrossEntropy(pub WeightedTokens);

/// `dlogits[n, t, k] = dloss[n] (softmax(logits[n, t])[k] Σ q − q[k]) / count[n]`, 0 for ignored tokens.
///
/// Buffers: `logits`, `label`, `weights`, `dloss` (`f32[P]`); then `dlogits`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightedCrossEntropyVjp(pub WeightedTokens);

impl WeightedTokens {
    /// What the class of the label gets, and what every class gets, before weights.
    pub fn shares(&self) -> [f32; 2] {
        [1.0 - self.smoothing, self.smoothing / self.of.classes.max(1) as f32]
    }

    fn text(&self) -> String {
        format!("{}, weighted, smoothing {:?}", self.of.text(), self.smoothing)
    }
}

impl KernelRules for WeightedCrossEntropy {
    fn name(&self) -> &'static str {
        "weighted_cross_entropy"
    }

    fn buffers(&self) -> Vec<Binding> {
        let weights = Binding::floats("weights", Extent::fixed(self.0.of.classes));
        self.0.of.buffers(&[weights], Binding::floats("loss", Extent::rows(1)).written())
    }

    fn problem(&self) -> Option<String> {
        zero(&[("classes", self.0.of.classes)])
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[7, rows, self.0.of.tokens, self.0.of.classes])
    }

    fn text(&self) -> String {
        self.0.text()
    }
}

impl KernelRules for WeightedCrossEntropyVjp {
    fn name(&self) -> &'static str {
        "weighted_cross_entropy_vjp"
    }

    fn buffers(&self) -> Vec<Binding> {
        let weights = Binding::floats("weights", Extent::fixed(self.0.of.classes));
        let dloss = Binding::floats("dloss", Extent::rows(1));
        self.0.of.buffers(&[weights, dloss], Binding::floats("dlogits", self.0.of.logits()).written())
    }

    fn problem(&self) -> Option<String> {
        zero(&[("classes", self.0.of.classes)])
    }

    fn flops(&self, rows: usize) -> u64 {
        work(&[7, rows, self.0.of.tokens, self.0.of.classes])
    }

    fn text(&self) -> String {
        self.0.text()
    }
}
