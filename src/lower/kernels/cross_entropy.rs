//! Cross-entropy and negative log-likelihood of a record, and their VJP.

use serde::{Deserialize, Serialize};

use super::{KernelRules, Lanes, Launch, Span, words};
use crate::lower::emit::Specialise;

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
    pub(super) fn text(&self) -> String {
        let of = if self.log_probabilities { " log-probabilities" } else { "" };
        format!("{} tokens of {} classes{of}, ignore {}", self.tokens, self.classes, self.ignore)
    }

    /// Invocations that share a token.
    pub(super) fn lanes(&self) -> Lanes {
        Lanes::of(self.classes)
    }

    /// Iterations that the partition function of a token takes.
    pub(super) fn iterations(&self) -> usize {
        2 * self.lanes().steps(self.classes) + 16
    }

    pub(super) fn specialise(&self, template: &mut Specialise) {
        self.lanes().specialise(template);
        template.constant("LOG_PROBABILITIES", self.log_probabilities);
    }

    pub(super) fn words(&self, count: usize) -> Vec<u32> {
        [words(&[count, self.tokens, self.classes]), vec![self.ignore as u32]].concat()
    }
}

impl KernelRules for CrossEntropy {
    fn template(&self) -> &'static str {
        "cross_entropy"
    }

    fn specialise(&self, template: &mut Specialise) {
        self.0.specialise(template);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let launch = |part: &Span| {
            let window = words(&part.outer);
            Launch::new([self.0.words(rows), window].concat(), self.0.lanes().grid(rows))
        };
        Span::split(self.0.tokens, 1, self.0.iterations()).iter().map(launch).collect()
    }

    fn iterations(&self) -> usize {
        self.0.iterations() + self.0.lanes().steps(self.0.tokens)
    }

    fn flops(&self, rows: usize) -> u64 {
        4 * (rows * self.0.tokens * self.0.classes) as u64
    }

    fn text(&self) -> String {
        self.0.text()
    }
}

impl KernelRules for CrossEntropyVjp {
    fn template(&self) -> &'static str {
        "cross_entropy_vjp"
    }

    fn specialise(&self, template: &mut Specialise) {
        self.0.specialise(template);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        let count = rows * self.0.tokens;
        vec![Launch::new(self.0.words(count), self.0.lanes().grid(count))]
    }

    fn iterations(&self) -> usize {
        2 * self.0.iterations() + self.0.lanes().steps(self.0.tokens)
    }

    fn flops(&self, rows: usize) -> u64 {
        4 * (rows * self.0.tokens * self.0.classes) as u64
    }

    fn text(&self) -> String {
        self.0.text()
    }
}
