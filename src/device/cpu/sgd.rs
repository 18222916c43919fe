//! Native twin of [`Sgd`].

use super::lanes::widest;
use super::maps::Map;
use super::{Buffers, Native, parallel};
use crate::lower::hyper;
use crate::lower::kernels::Sgd;

impl Native for Sgd {
    fn map(&self) -> Option<Map<'_>> {
        let words = if self.momentum == 0.0 { &[1, 0, 1][..] } else { &[1, 0, 1, 1] };
        Some(Map::new(self.len, words, |len| Sgd { len, ..self.clone() }))
    }

    fn run(&self, _rows: usize, Buffers { read, written, .. }: Buffers) {
        let (grad, lr) = (&read[0].f32()[..self.len], read[1].f32()[hyper::LEARNING_RATE]);
        let [param, velocity @ ..] = written else { return };
        let param = &mut param.f32()[..self.len];
        let Some(velocity) = velocity.first_mut() else {
            return parallel::blocks(param, |start, p| plain(p, &grad[start..], self, lr));
        };
        parallel::blocks2(param, &mut velocity.f32()[..self.len], |start, p, v| moving(p, v, &grad[start..], self, lr));
    }
}

widest! {
    /// A step without momentum.
    plain(p: &mut [f32], grad: &[f32], sgd: &Sgd, lr: f32) {
        let weight_decay = sgd.weight_decay;
        p.iter_mut().zip(grad).for_each(|(p, g)| *p -= lr * (g + weight_decay * *p));
    }
}

widest! {
    /// A step with momentum.
    moving(p: &mut [f32], v: &mut [f32], grad: &[f32], sgd: &Sgd, lr: f32) {
        let Sgd { momentum, nesterov, weight_decay, .. } = *sgd;
        for ((p, v), g) in p.iter_mut().zip(v).zip(grad) {
            let g = g + weight_decay * *p;
            *v = momentum * *v + g;
            *p -= lr * if nesterov { g + momentum * *v } else { *v };
        }
    }
}
