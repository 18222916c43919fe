//! Native twins of [`CrossEntropy`] and [`CrossEntropyVjp`].

use super::lanes::{largest, sum_of, widest};
use super::{Buffers, Native, parallel};
use crate::lower::kernels::{CrossEntropy, CrossEntropyVjp, Tokens};
use crate::lower::math::exp;

impl Native for CrossEntropy {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let (k, logits, labels) = (&self.0, read[0].f32(), read[1].i32());
        parallel::pieces(written[0].f32(), rows, 1, 1, |_: &mut (), n, loss| {
            let (mut sum, mut count) = (0.0, 0);
            for t in n * k.tokens..(n + 1) * k.tokens {
                let Some(label) = class(k, labels[t]) else { continue };
                let row = &logits[t * k.classes..][..k.classes];
                sum += if k.log_probabilities { -row[label] } else { log_sum(row) - row[label] };
                count += 1;
            }
            loss[0] = if count == 0 { 0.0 } else { sum / count as f32 };
        });
    }
}

impl Native for CrossEntropyVjp {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let (k, logits, labels, dloss) = (&self.0, read[0].f32(), read[1].i32(), read[2].f32());
        let size = k.tokens * k.classes;
        parallel::pieces(written[0].f32(), rows, size, size, |_: &mut (), n, out| {
            let labels = &labels[n * k.tokens..][..k.tokens];
            let count = labels.iter().filter(|&&l| class(k, l).is_some()).count();
            for (t, out) in out[..size].chunks_exact_mut(k.classes).enumerate() {
                out.fill(0.0);
                let Some(label) = class(k, labels[t]) else { continue };
                let scale = dloss[n] / count as f32;
                if !k.log_probabilities {
                    let row = &logits[n * size + t * k.classes..][..k.classes];
                    let log = log_sum(row);
                    scaled(row, log, scale, out);
                }
                out[label] -= scale;
            }
        });
    }
}

/// The class that a label names, if it counts.
pub(super) fn class(k: &Tokens, label: i32) -> Option<usize> {
    usize::try_from(label).ok().filter(|&class| label != k.ignore && class < k.classes)
}

/// `log Σ exp(x)`, with the largest element subtracted first.
pub(super) fn log_sum(x: &[f32]) -> f32 {
    let mut sum = [0.0; 2];
    exponentials(x, &mut sum);
    sum[0] + sum[1].ln()
}

widest! {
    /// Sets `sum` to the largest element and `Σ exp(x − largest)`.
    exponentials(x: &[f32], sum: &mut [f32; 2]) {
        let top = largest(x);
        *sum = [top, sum_of(x, |x| exp(x - top))];
    }
}

widest! {
    /// Sets `y` to `scale exp(x − log)`.
    scaled(x: &[f32], log: f32, scale: f32, y: &mut [f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = scale * exp(x - log));
    }
}
