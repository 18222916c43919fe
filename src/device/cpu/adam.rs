//! Native twin of [`Adam`].

use rayon::prelude::*;

use super::lanes::widest;
use super::maps::Map;
use super::parallel::GRAIN;
use super::{Buffers, Native};
use crate::lower::hyper;
use crate::lower::kernels::Adam;

impl Native for Adam {
    fn map(&self) -> Option<Map<'_>> {
        Some(Map::new(self.len, &[1, 0, 1, 1, 1], |len| Adam { len, ..self.clone() }))
    }

    fn run(&self, _rows: usize, Buffers { read, written, .. }: Buffers) {
        let (grad, hyper) = (&read[0].f32()[..self.len], read[1].f32());
        let [param, m, v] = written else { return };
        let [param, m, v] = [param, m, v].map(|state| state.f32()[..self.len].par_chunks_mut(GRAIN));
        let pieces = param.zip(m).zip(v).zip(grad.par_chunks(GRAIN));
        pieces.for_each(|(((param, m), v), grad)| step(param, m, v, grad, self, hyper));
    }
}

widest! {
    /// A step of some elements.
    step(param: &mut [f32], m: &mut [f32], v: &mut [f32], grad: &[f32], adam: &Adam, hyper: &[f32]) {
        let Adam { betas: [b1, b2], eps, weight_decay, decoupled, .. } = *adam;
        let lr = hyper[hyper::LEARNING_RATE];
        let step = lr / hyper[hyper::BIAS_CORRECTION_1];
        let c2 = hyper[hyper::BIAS_CORRECTION_2];
        for (((p, m), v), g) in param.iter_mut().zip(m).zip(v).zip(grad) {
            let mut g = *g;
            if decoupled {
                *p -= lr * weight_decay * *p;
            } else {
                g += weight_decay * *p;
            }
            *m = b1 * *m + (1.0 - b1) * g;
            *v = b2 * *v + (1.0 - b2) * (g * g);
            *p -= step * *m / ((*v / c2).sqrt() + eps);
        }
    }
}
