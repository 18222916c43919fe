//! Pooling, softmax, losses and recurrences.

use super::{Floats, indices, sigmoid};
use crate::lower::cells::{Activation, Cell, Kind};
use crate::lower::kernels::*;
use crate::lower::scalar::{Double, Step, double};

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

/// An activation in double precision.
fn activate(activation: Activation, x: f64) -> f64 {
    let double = f64::from;
    match activation {
        Activation::Relu => x.max(0.0),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => sigmoid(x),
        Activation::Affine { alpha, beta } => double(alpha) * x + double(beta),
        Activation::LeakyRelu { alpha } => x.max(0.0) + double(alpha) * x.min(0.0),
        Activation::ThresholdedRelu { alpha } => {
            if x > double(alpha) {
                x
            } else {
                0.0
            }
        }
        Activation::ScaledTanh { alpha, beta } => double(alpha) * (double(beta) * x).tanh(),
        Activation::HardSigmoid { alpha, beta } => (double(alpha) * x + double(beta)).clamp(0.0, 1.0),
        Activation::Elu { alpha } => x.max(0.0) + double(alpha) * x.min(0.0).exp_m1(),
        Activation::Softsign => x / (1.0 + x.abs()),
        Activation::Softplus => x.exp().ln_1p(),
    }
}

/// The planes of a step as they are made.
struct Planes {
    cell: Cell,
    all: Vec<Floats>,
}

impl Planes {
    fn keep(&mut self, plane: Floats) -> Floats {
        self.all.push(plane.clone());
        plane
    }

    /// An activation of what the clip bounds; what it is of is kept too where the step back reads it.
    fn squash(&mut self, activation: usize, x: Floats) -> Floats {
        let activation = self.cell.activations[activation];
        let limit = self.cell.clip.map_or(f64::INFINITY, f64::from);
        let smooth = matches!(activation, Activation::Relu | Activation::Tanh | Activation::Sigmoid);
        if limit.is_finite() || !smooth {
            self.keep(x.clone());
        }
        self.keep(x.iter().map(|x| activate(activation, x.clamp(-limit, limit))).collect())
    }
}

pub fn recurrence(k: &Recurrence, rows: usize, x: &[Floats], tape: &mut [f64]) {
    let Recurrence { cell, direction, steps, hidden, .. } = *k;
    let (states, columns) = (cell.states(), cell.columns());
    let units = || 0..hidden;
    for n in 0..rows {
        let initial = |i: usize| -> Floats {
            units().map(|j| if k.initial { x[i][n * k.initial_record + j] } else { 0.0 }).collect()
        };
        let mut before: Vec<Floats> = (0..states).rev().map(|k| initial(2 + k)).collect();
        for made in 0..steps {
            let t = direction.step(made, steps);
            let pre = |column: usize, j: usize| x[0][((n * steps + t) * columns + column) * hidden + j];
            let column = |column: usize| -> Floats { units().map(|j| pre(column, j)).collect() };
            let sum = |gate: usize, v: &Floats| -> Floats {
                let product =
                    |j: usize| (0..hidden).map(|i| x[1][(gate * hidden + j) * hidden + i] * v[i]).sum::<f64>();
                units().map(|j| pre(gate, j) + product(j)).collect()
            };
            let each = |f: &dyn Fn(usize) -> f64| -> Floats { units().map(f).collect() };
            let mut planes = Planes { cell, all: vec![] };
            let h = before[states - 1].clone();
            let after = match cell.kind {
                Kind::Rnn => vec![planes.squash(0, sum(0, &h))],
                Kind::Gru | Kind::GruResetAfter => {
                    let z = planes.squash(0, sum(0, &h));
                    let r = planes.squash(0, sum(1, &h));
                    let candidate = if cell.kind == Kind::Gru {
                        let reset = planes.keep(each(&|j| r[j] * h[j]));
                        sum(2, &reset)
                    } else {
                        let (own, recurrent) = (column(3), planes.keep(sum(2, &h)));
                        each(&|j| own[j] + r[j] * recurrent[j])
                    };
                    let candidate = planes.squash(1, candidate);
                    vec![planes.keep(each(&|j| (1.0 - z[j]) * candidate[j] + z[j] * h[j]))]
                }
                kind => {
                    let coupled = matches!(kind, Kind::LstmCoupled | Kind::LstmCoupledPeepholes);
                    let sees = matches!(kind, Kind::LstmPeepholes | Kind::LstmCoupledPeepholes);
                    let c = before[0].clone();
                    let kept = if coupled { 2 } else { 3 };
                    let weights: Vec<Floats> =
                        (0..if sees { kept } else { 0 }).map(|k| planes.keep(column(4 + k))).collect();
                    let peeping = |gate: usize, state: &Floats| -> Floats {
                        let (sum, weight) = (sum(gate, &h), weights.get(gate));
                        each(&|j| sum[j] + weight.map_or(0.0, |weight| weight[j] * state[j]))
                    };
                    let i = planes.squash(0, peeping(0, &c));
                    let mut o = None;
                    if !sees {
                        o = Some(planes.squash(0, sum(1, &h)));
                    }
                    let f = if coupled { each(&|j| 1.0 - i[j]) } else { planes.squash(0, peeping(2, &c)) };
                    let g = planes.squash(1, sum(3, &h));
                    let c = planes.keep(each(&|j| f[j] * c[j] + i[j] * g[j]));
                    let o = o.unwrap_or_else(|| planes.squash(0, peeping(1, &c)));
                    let h = planes.keep(each(&|j| o[j] * activate(cell.activations[2], c[j])));
                    vec![c, h]
                }
            };
            for (p, plane) in planes.all.iter().enumerate() {
                tape[((n * planes.all.len() + p) * steps + t) * hidden..][..hidden].copy_from_slice(plane);
            }
            before = after;
        }
    }
}

/// The steps back by the cell's own code, which the derivatives of the sketches are held to.
pub fn recurrence_vjp(k: &RecurrenceVjp, rows: usize, x: &[Floats], dpre: &mut [f64]) {
    let Recurrence { cell, direction, steps, hidden, initial, initial_record } = k.of;
    let (states, columns, planes) = (cell.states(), cell.columns(), cell.planes());
    let (stages, carried) = (cell.stages(), cell.carried());
    let reread: Vec<usize> = if initial { cell.reread().into_iter().rev().collect() } else { vec![] };
    let outer = 2 + reread.len();
    for n in 0..rows {
        let tape = |plane: usize, t: usize, j: usize| x[0][((n * planes + plane) * steps + t) * hidden + j];
        // What reaches the states from the steps after, with and without the recurrent product.
        let mut cotangents = vec![vec![0.0; hidden]; states];
        let row = |t: usize| (n * k.rows() + t) * columns * hidden;
        for made in (0..steps).rev() {
            let t = direction.step(made, steps);
            for (state, d) in cotangents.iter_mut().enumerate().filter(|(state, _)| k.inner || state + 1 == states) {
                let of = &x[outer + states - 1 - state];
                (0..hidden).for_each(|j| d[j] += of[(n * steps + t) * hidden + j]);
            }
            let mut products = vec![vec![0.0; hidden]; stages.len()];
            let mut next = vec![vec![0.0; hidden]; states];
            for (stage, gates) in stages.iter().enumerate().rev() {
                let code = cell.backward(stage);
                for j in 0..hidden {
                    let before = |state: usize| match made {
                        0 => reread.iter().position(|k| *k == state).map_or(0.0, |i| x[2 + i][n * initial_record + j]),
                        _ => tape(cell.plane(state), direction.step(made - 1, steps), j),
                    };
                    let operand = |k: usize| match k.checked_sub(planes) {
                        None => tape(k, t, j),
                        Some(k) if k < states => before(k),
                        Some(k) if k < 2 * states => cotangents[k - states][j],
                        Some(k) => products[k - 2 * states + 1][j],
                    };
                    let mut values: Vec<Double> = Vec::new();
                    for step in &code.steps {
                        values.push(match step {
                            Step::Operand(k, _) if code.read.contains(k) => Double::from(operand(*k)),
                            Step::Operand(..) => Double::from(0.0),
                            Step::Const(value) => Double::from(f64::from(value.word())),
                            Step::Call(func, args) => {
                                let args: Vec<Double> = args[..func.arity()].iter().map(|&a| values[a]).collect();
                                double::apply(*func, &args)
                            }
                        });
                    }
                    let result = |k: usize| code.outputs[k].map_or(0.0, |i| values[i].of::<f64>());
                    let further = if stage == 0 { cell.gates()..columns } else { 0..0 };
                    for column in gates.clone().chain(further) {
                        dpre[row(t) + column * hidden + j] = result(column);
                    }
                    for state in (0..states).filter(|_| stage == 0) {
                        next[state][j] = result(columns + state);
                    }
                }
                for (j, product) in products[stage].iter_mut().enumerate() {
                    let rows = gates.start * hidden..gates.end * hidden;
                    *product = rows.map(|r| x[1][r * hidden + j] * dpre[row(t) + r]).sum();
                }
            }
            if made == 0 && k.before {
                dpre[row(steps)..row(steps + 1)].fill(0.0);
                for (slot, &state) in carried.iter().enumerate() {
                    dpre[row(steps) + slot * hidden..][..hidden].copy_from_slice(&next[state]);
                }
            }
            cotangents = next;
            (0..hidden).for_each(|j| cotangents[states - 1][j] += products[0][j]);
        }
    }
}
