//! Schedules of [`CrossEntropy`] and [`CrossEntropyVjp`].

use super::{Lanes, Launch, On, Schedule, Span, Specialise, Template, words};
use crate::lower::kernels::{CrossEntropy, CrossEntropyVjp, Tokens};

impl Tokens {
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

impl Template for CrossEntropy {
    const WGSL: &'static str = include_str!("../../../../shaders/cross_entropy.wgsl");
}

impl Schedule for On<'_, CrossEntropy> {
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
}

impl Template for CrossEntropyVjp {
    const WGSL: &'static str = include_str!("../../../../shaders/cross_entropy_vjp.wgsl");
}

impl Schedule for On<'_, CrossEntropyVjp> {
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
}
