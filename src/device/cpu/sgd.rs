//! Native twin of [`Sgd`].

use super::{Buffers, Native, parallel};
use crate::lower::hyper;
use crate::lower::kernels::Sgd;

impl Native for Sgd {
    fn run(&self, _rows: usize, Buffers { read, written, .. }: Buffers) {
        let Sgd { len, momentum, nesterov, weight_decay } = *self;
        let (grad, lr) = (&read[0].f32()[..len], read[1].f32()[hyper::LEARNING_RATE]);
        let [param, velocity @ ..] = written else { return };
        let param = &mut param.f32()[..len];
        let Some(velocity) = velocity.first_mut() else {
            return parallel::blocks(param, |start, p| {
                p.iter_mut().zip(&grad[start..]).for_each(|(p, g)| *p -= lr * (g + weight_decay * *p));
            });
        };
        parallel::blocks2(param, &mut velocity.f32()[..len], |start, p, v| {
            for ((p, v), g) in p.iter_mut().zip(v).zip(&grad[start..]) {
                let g = g + weight_decay * *p;
                *v = momentum * *v + g;
                *p -= lr * if nesterov { g + momentum * *v } else { *v };
            }
        });
    }
}
