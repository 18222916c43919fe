//! Pooling, softmax, losses and recurrences.

use super::{Floats, indices, sigmoid};
use crate::lower::kernels::*;

/// The elements of a pooling window inside the input, and how many are inside the padded one.
pub struct Pooled {
    pub inside: Vec<usize>,
    pub padded: usize,
}

pub fn windows(channels: usize, w: &Window, records: usize) -> Vec<Pooled> {
    let window = |i: Vec<usize>| {
        let mut window = Pooled { inside: Vec::new(), padded: 0 };
        for k in indices(&w.kernel) {
            let at = [0, 1, 2].map(|d| (i[1 + d] * w.stride[d] + k[d] * w.dilation[d]) as i64 - w.pad[d] as i64);
            window.padded += usize::from((0..3).all(|d| at[d] < (w.input[d] + w.pad_end[d]) as i64));
            if (0..3).all(|d| at[d] >= 0 && at[d] < w.input[d] as i64) {
                window.inside.push((0..3).fold(i[0], |index, d| index * w.input[d] + at[d] as usize));
            }
        }
        window
    };
    indices(&[records * channels, w.output[0], w.output[1], w.output[2]]).map(window).collect()
}

/// The indices of each row that a softmax normalises.
pub fn lines(k: &SoftmaxRows, rows: usize) -> Vec<Vec<usize>> {
    let outer = k.outer * if k.batched { rows } else { 1 };
    indices(&[outer, k.inner]).map(|i| (0..k.len).map(|l| (i[0] * k.len + l) * k.inner + i[1]).collect()).collect()
}

/// The tokens of record `n` that count, with their labels.
pub fn labels(k: &Tokens, n: usize, labels: &[f64]) -> impl Iterator<Item = (usize, usize)> {
    let record = labels[n * k.tokens..][..k.tokens].iter().enumerate();
    record
        .filter(|(_, l)| **l != f64::from(k.ignore) && (0.0..k.classes as f64).contains(*l))
        .map(|(t, &l)| (t, l as usize))
}

/// The logits of token `t` as log-probabilities, and the softmax that the VJP takes for them.
pub fn log_softmax(k: &Tokens, n: usize, t: usize, logits: &[f64]) -> Vec<[f64; 2]> {
    let row = &logits[(n * k.tokens + t) * k.classes..][..k.classes];
    let sum: f64 = row.iter().map(|x| x.exp()).sum();
    row.iter().map(|x| if k.log_probabilities { [*x, 0.0] } else { [x - sum.ln(), x.exp() / sum] }).collect()
}

/// What the loss of each class counts for a token of class `label`.
pub fn weighted_shares(k: &WeightedTokens, weights: &[f64], label: usize) -> Vec<f64> {
    let (classes, smoothing) = (k.of.classes, f64::from(k.smoothing));
    let hit = |class| if class == label { 1.0 - smoothing } else { 0.0 };
    (0..classes).map(|class| weights[class] * (hit(class) + smoothing / classes as f64)).collect()
}

pub fn lstm(k: &Recurrence, rows: usize, x: &[Floats], tape: &mut [f64]) {
    let (steps, hidden) = (k.steps, k.hidden);
    for n in 0..rows {
        let state = |i: usize, j: usize| if k.initial { x[i][n * k.initial_record + j] } else { 0.0 };
        let mut h: Floats = (0..hidden).map(|j| state(2, j)).collect();
        let mut c: Floats = (0..hidden).map(|j| state(3, j)).collect();
        for made in 0..steps {
            let t = k.direction.step(made, steps);
            let z = |gate: usize| {
                let recurrent: f64 = (0..hidden).map(|j| x[1][gate * hidden + j] * h[j]).sum();
                x[0][(n * steps + t) * 4 * hidden + gate] + recurrent
            };
            let mut next = vec![0.0; hidden];
            for j in 0..hidden {
                let [i, o, f] = [0, 1, 2].map(|gate| sigmoid(z(gate * hidden + j)));
                let g = z(3 * hidden + j).tanh();
                c[j] = f * c[j] + i * g;
                next[j] = o * c[j].tanh();
                for (plane, v) in [i, o, f, g, c[j], next[j]].into_iter().enumerate() {
                    tape[((n * 6 + plane) * steps + t) * hidden + j] = v;
                }
            }
            h = next;
        }
    }
}

pub fn lstm_vjp(k: &RecurrenceVjp, rows: usize, x: &[Floats], dpre: &mut [f64]) {
    let Recurrence { direction, steps, hidden, initial, initial_record, .. } = k.of;
    let (c0, dh, dc) = (2, 2 + usize::from(initial), 3 + usize::from(initial));
    for n in 0..rows {
        let tape = |plane: usize, t: usize, j: usize| x[0][((n * 6 + plane) * steps + t) * hidden + j];
        let (mut dz, mut carried) = (vec![0.0; 4 * hidden], vec![0.0; hidden]);
        for made in (0..steps).rev() {
            let t = direction.step(made, steps);
            let mut now = vec![0.0; 4 * hidden];
            for j in 0..hidden {
                let [i, o, f, g, c] = [0, 1, 2, 3, 4].map(|plane| tape(plane, t, j));
                let before = match made {
                    0 if initial => x[c0][n * initial_record + j],
                    0 => 0.0,
                    made => tape(4, direction.step(made - 1, steps), j),
                };
                let at = (n * steps + t) * hidden + j;
                let dh = x[dh][at] + (0..4 * hidden).map(|gate| x[1][gate * hidden + j] * dz[gate]).sum::<f64>();
                let dc = if k.inner { x[dc][at] } else { 0.0 } + carried[j] + dh * o * (1.0 - c.tanh().powi(2));
                now[j] = dc * g * i * (1.0 - i);
                now[hidden + j] = dh * c.tanh() * o * (1.0 - o);
                now[2 * hidden + j] = dc * before * f * (1.0 - f);
                now[3 * hidden + j] = dc * i * (1.0 - g * g);
                carried[j] = dc * f;
            }
            dpre[(n * steps + t) * 4 * hidden..][..4 * hidden].copy_from_slice(&now);
            dz = now;
        }
    }
}
