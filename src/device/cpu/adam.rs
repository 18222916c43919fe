//! Native twin of [`Adam`].

use rayon::prelude::*;

use super::parallel::GRAIN;
use super::{Buffers, Native};
use crate::lower::hyper;
use crate::lower::kernels::Adam;

impl Native for Adam {
    fn run(&self, _rows: usize, Buffers { read, written, .. }: Buffers) {
        let Adam { len, betas: [b1, b2], eps, weight_decay, decoupled } = *self;
        let (grad, hyper) = (&read[0].f32()[..len], read[1].f32());
        let lr = hyper[hyper::LEARNING_RATE];
        let step = lr / hyper[hyper::BIAS_CORRECTION_1];
        let c2 = hyper[hyper::BIAS_CORRECTION_2];
        let [param, m, v] = written else { return };
        let [param, m, v] = [param.f32(), m.f32(), v.f32()];
        let state = param[..len].par_chunks_mut(GRAIN).zip(m[..len].par_chunks_mut(GRAIN));
        let state = state.zip(v[..len].par_chunks_mut(GRAIN)).zip(grad.par_chunks(GRAIN));
        state.for_each(|(((param, m), v), grad)| {
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
        });
    }
}
