//! Native twins of [`WeightedCrossEntropy`] and [`WeightedCrossEntropyVjp`].

use super::cross_entropy::{class, log_sum};
use super::{Buffers, Native, parallel};
use crate::lower::kernels::{WeightedCrossEntropy, WeightedCrossEntropyVjp};
use crate::lower::math::exp;

impl Native for WeightedCrossEntropy {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let (k, logits, labels, weights) = (&self.0.of, read[0].f32(), read[1].i32(), read[2].f32());
        let [hit, even] = self.0.shares();
        parallel::pieces(written[0].f32(), rows, 1, 1, |_: &mut (), n, loss| {
            let (mut sum, mut count) = (0.0, 0);
            for t in n * k.tokens..(n + 1) * k.tokens {
                let Some(label) = class(k, labels[t]) else { continue };
                let row = &logits[t * k.classes..][..k.classes];
                let log_sum = if k.log_probabilities { 0.0 } else { log_sum(row) };
                let of_class = |class: usize| weights[class] * (log_sum - row[class]);
                sum += hit * of_class(label);
                if even > 0.0 {
                    sum += even * parallel::sum(k.classes, of_class);
                }
                count += 1;
            }
            loss[0] = if count == 0 { 0.0 } else { sum / count as f32 };
        });
    }
}

impl Native for WeightedCrossEntropyVjp {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let (k, logits, labels) = (&self.0.of, read[0].f32(), read[1].i32());
        let (weights, dloss) = (read[2].f32(), read[3].f32());
        let [hit, even] = self.0.shares();
        let spread = even * parallel::sum(k.classes, |class| weights[class]);
        let size = k.tokens * k.classes;
        parallel::pieces(written[0].f32(), rows, size, size, |_: &mut (), n, out| {
            let labels = &labels[n * k.tokens..][..k.tokens];
            let count = labels.iter().filter(|&&l| class(k, l).is_some()).count();
            for (t, out) in out[..size].chunks_exact_mut(k.classes).enumerate() {
                out.fill(0.0);
                let Some(label) = class(k, labels[t]) else { continue };
                let scale = dloss[n] / count as f32;
                let weight = hit * weights[label] + spread;
                if !k.log_probabilities {
                    let row = &logits[n * size + t * k.classes..][..k.classes];
                    let log = log_sum(row);
                    out.iter_mut().zip(row).for_each(|(y, x)| *y = weight * exp(x - log));
                }
                out.iter_mut().zip(weights).for_each(|(y, w)| *y -= even * w);
                out[label] -= hit * weights[label];
                out.iter_mut().for_each(|y| *y *= scale);
            }
        });
    }
}
