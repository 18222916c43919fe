//! Schedules of [`WeightedCrossEntropy`] and [`WeightedCrossEntropyVjp`].

use super::{Launch, On, Schedule, Span, Specialise, Template, words};
use crate::lower::kernels::{WeightedCrossEntropy, WeightedCrossEntropyVjp, WeightedTokens};

impl WeightedTokens {
    fn iterations(&self) -> usize {
        self.of.iterations() + self.of.lanes().steps(self.of.classes) + 16
    }

    fn specialise(&self, template: &mut Specialise) {
        self.of.specialise(template);
        template.constant("SMOOTHED", self.smoothing > 0.0);
    }
}

impl Template for WeightedCrossEntropy {
    const WGSL: &'static str = include_str!("../../../../shaders/weighted_cross_entropy.wgsl");
}

impl Schedule for On<'_, WeightedCrossEntropy> {
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
}

impl Template for WeightedCrossEntropyVjp {
    const WGSL: &'static str = include_str!("../../../../shaders/weighted_cross_entropy_vjp.wgsl");
}

impl Schedule for On<'_, WeightedCrossEntropyVjp> {
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
}
