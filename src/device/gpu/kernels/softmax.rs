//! Schedules of [`Softmax`] and [`SoftmaxVjp`].

use super::{Lanes, Launch, On, Schedule, Specialise, Template, words};
use crate::lower::kernels::{Softmax, SoftmaxRows, SoftmaxVjp};

impl SoftmaxRows {
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
}

impl Template for Softmax {
    const WGSL: &'static str = include_str!("../../../../shaders/softmax.wgsl");
}

impl Schedule for On<'_, Softmax> {
    fn specialise(&self, template: &mut Specialise) {
        self.0.specialise(template);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        self.0.launches(rows)
    }

    fn iterations(&self) -> usize {
        self.0.iterations()
    }
}

impl Template for SoftmaxVjp {
    const WGSL: &'static str = include_str!("../../../../shaders/softmax_vjp.wgsl");
}

impl Schedule for On<'_, SoftmaxVjp> {
    fn specialise(&self, template: &mut Specialise) {
        self.0.specialise(template);
    }

    fn launches(&self, rows: usize) -> Vec<Launch> {
        self.0.launches(rows)
    }

    fn iterations(&self) -> usize {
        self.0.iterations()
    }
}
