//! Schedule of [`Adam`].

use super::{Launch, On, Schedule, Specialise, Template};
use crate::lower::kernels::Adam;

impl Template for Adam {
    const WGSL: &'static str = include_str!("../../../../shaders/adam.wgsl");
}

impl Schedule for On<'_, Adam> {
    fn specialise(&self, template: &mut Specialise) {
        template.constant("DECOUPLED", self.decoupled);
    }

    fn launches(&self, _rows: usize) -> Vec<Launch> {
        let [beta_1, beta_2] = self.betas;
        let floats = [beta_1, beta_2, 1.0 - beta_1, 1.0 - beta_2, self.eps, self.weight_decay];
        Launch::linear(self.len, &floats.map(f32::to_bits))
    }
}
