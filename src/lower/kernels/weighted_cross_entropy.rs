//! Cross-entropy and negative log-likelihood of a record with class weights and label smoothing, and their VJP.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Launch, Span, Tokens, words};
use crate::lower::emit::Specialise;

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

    fn iterations(&self) -> usize {
        self.of.iterations() + self.of.lanes().steps(self.of.classes) + 16
    }

    fn specialise(&self, template: &mut Specialise) {
        self.of.specialise(template);
        template.constant("SMOOTHED", self.smoothing > 0.0);
    }
}

impl KernelRules for WeightedCrossEntropy {
    fn template(&self) -> &'static str {
        "weighted_cross_entropy"
    }

    fn specialise(&self, template: &mut Specialise) {
        self.0.specialise(template);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let shares = self.0.shares().map(f32::to_bits);
        let launch = |part: &Span| {
            let window = words(&part.outer);
            Launch::new([self.0.of.words(rows), window, shares.to_vec()].concat(), self.0.of.lanes().grid(rows))
        };
        Span::split(self.0.of.tokens, 1, self.0.iterations()).iter().map(launch).collect()
    }

    fn iterations(&self) -> usize {
        self.0.iterations() + self.0.of.lanes().steps(self.0.of.tokens)
    }

    fn flops(&self, rows: usize) -> u64 {
        7 * (rows * self.0.of.tokens * self.0.of.classes) as u64
    }

    fn text(&self) -> String {
        self.0.text()
    }
}

impl KernelRules for WeightedCrossEntropyVjp {
    fn template(&self) -> &'static str {
        "weighted_cross_entropy_vjp"
    }

    fn specialise(&self, template: &mut Specialise) {
        self.0.specialise(template);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let count = rows * self.0.of.tokens;
        let shares = self.0.shares().map(f32::to_bits);
        vec![Launch::new([self.0.of.words(count), shares.to_vec()].concat(), self.0.of.lanes().grid(count))]
    }

    fn iterations(&self) -> usize {
        2 * self.0.iterations() + self.0.of.lanes().steps(self.0.of.tokens)
    }

    fn flops(&self, rows: usize) -> u64 {
        7 * (rows * self.0.of.tokens * self.0.of.classes) as u64
    }

    fn text(&self) -> String {
        self.0.text()
    }
}
