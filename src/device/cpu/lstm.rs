//! Native twins of [`Lstm`] and [`LstmVjp`]: one product a time step for a block of records.

use super::matmul::{Into, Matrix, MatrixMut, matmul};
use super::{Buffers, Native, parallel};
use crate::lower::kernels::{Lstm, LstmSizes, LstmVjp};
use crate::lower::scalar::Func;

/// Records that go through time together.
const BLOCK: usize = 32;

impl Native for Lstm {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let sizes = &self.0;
        let LstmSizes { steps, hidden, .. } = *sizes;
        let (pre, r) = (read[0].f32(), recurrent(read[1].f32(), hidden));
        let states = sizes.initial.then(|| [read[2].f32(), read[3].f32()]);
        let (plane, gates) = (steps * hidden, 4 * hidden);
        let span = 6 * plane;
        each_block(written[0].f32(), rows, span, |[z, gate, h, c]: &mut [Vec<f32>; 4], first, tapes| {
            let records = tapes.len() / span;
            z.resize(records * gates, 0.0);
            gate.resize(gates, 0.0);
            for (state, k) in [(&mut *h, 0), (&mut *c, 1)] {
                fill_states(sizes, states.map(|s| s[k]), first, records, state);
            }
            for t in 0..steps {
                let before = Matrix { data: h, rows: records, cols: hidden, row: hidden, col: 1 };
                let out = MatrixMut::contiguous(z, records, gates);
                matmul(out, Into::Set, 1.0, before, r.transposed());
                for (b, tape) in tapes.chunks_exact_mut(span).enumerate() {
                    let z = &mut z[b * gates..][..gates];
                    z.iter_mut().zip(&pre[((first + b) * steps + t) * gates..]).for_each(|(z, p)| *z += p);
                    let (sigmoids, tanhs) = gate.split_at_mut(3 * hidden);
                    Func::Sigmoid.apply(&[&z[..3 * hidden]], sigmoids);
                    Func::Tanh.apply(&[&z[3 * hidden..]], tanhs);
                    let (c, h) = (&mut c[b * hidden..][..hidden], &mut h[b * hidden..][..hidden]);
                    let [i, o, f, g] = [0, 1, 2, 3].map(|k| &gate[k * hidden..][..hidden]);
                    for j in 0..hidden {
                        c[j] = f[j] * c[j] + i[j] * g[j];
                    }
                    Func::Tanh.apply(&[c], h);
                    h.iter_mut().zip(o).for_each(|(h, o)| *h *= o);
                    for (p, values) in [i, o, f, g, c, h].into_iter().enumerate() {
                        tape[p * plane + t * hidden..][..hidden].copy_from_slice(values);
                    }
                }
            }
        });
    }
}

impl Native for LstmVjp {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let sizes = &self.sizes;
        let LstmSizes { steps, hidden, initial, .. } = *sizes;
        let (tape, r) = (read[0].f32(), recurrent(read[1].f32(), hidden));
        let c0 = initial.then(|| read[2].f32());
        let next = 2 + usize::from(initial);
        let (dh, dc) = (read[next].f32(), self.cell.then(|| read[next + 1].f32()));
        let (plane, gates) = (steps * hidden, 4 * hidden);
        let span = steps * gates;
        each_block(written[0].f32(), rows, span, |[back, carried, start, tanhs]: &mut [Vec<f32>; 4], first, dpre| {
            let records = dpre.len() / span;
            // What `h_t` gets from step `t + 1`, and what `c_t` does.
            for state in [&mut *back, &mut *carried] {
                state.clear();
                state.resize(records * hidden, 0.0);
            }
            fill_states(sizes, c0, first, records, start);
            tanhs.resize(hidden, 0.0);
            for t in (0..steps).rev() {
                for (b, dpre) in dpre.chunks_exact_mut(span).enumerate() {
                    let tape = &tape[(first + b) * 6 * plane..][..6 * plane];
                    let at = |p: usize, t: usize| &tape[p * plane + t * hidden..][..hidden];
                    let [i, o, f, g, c] = [0, 1, 2, 3, 4].map(|p| at(p, t));
                    let before = if t == 0 { &start[b * hidden..][..hidden] } else { at(4, t - 1) };
                    let (back, carried) = (&back[b * hidden..][..hidden], &mut carried[b * hidden..][..hidden]);
                    let place = ((first + b) * steps + t) * hidden;
                    let dh = &dh[place..][..hidden];
                    if let Some(dc) = dc {
                        carried.iter_mut().zip(&dc[place..]).for_each(|(c, dc)| *c += dc);
                    }
                    Func::Tanh.apply(&[c], tanhs);
                    let dz = &mut dpre[t * gates..][..gates];
                    let (di, rest) = dz.split_at_mut(hidden);
                    let (d_o, rest) = rest.split_at_mut(hidden);
                    let (df, dg) = rest.split_at_mut(hidden);
                    for j in 0..hidden {
                        let (dh, th) = (dh[j] + back[j], tanhs[j]);
                        let dc = carried[j] + dh * o[j] * (1.0 - th * th);
                        di[j] = dc * g[j] * i[j] * (1.0 - i[j]);
                        d_o[j] = dh * th * o[j] * (1.0 - o[j]);
                        df[j] = dc * before[j] * f[j] * (1.0 - f[j]);
                        dg[j] = dc * i[j] * (1.0 - g[j] * g[j]);
                        carried[j] = dc * f[j];
                    }
                }
                if t > 0 {
                    let dz = Matrix { data: &dpre[t * gates..], rows: records, cols: gates, row: span, col: 1 };
                    matmul(MatrixMut::contiguous(back, records, hidden), Into::Set, 1.0, dz, r);
                }
            }
        });
    }
}

/// The recurrent weight, `[4H, H]`.
fn recurrent(r: &[f32], hidden: usize) -> Matrix<'_> {
    Matrix { data: r, rows: 4 * hidden, cols: hidden, row: hidden, col: 1 }
}

/// The initial states of a block of records, `[records, H]`: zeros where there are none.
fn fill_states(sizes: &LstmSizes, from: Option<&[f32]>, first: usize, records: usize, to: &mut Vec<f32>) {
    to.clear();
    to.resize(records * sizes.hidden, 0.0);
    let Some(from) = from else { return };
    for (b, to) in to.chunks_exact_mut(sizes.hidden).enumerate() {
        to.copy_from_slice(&from[(first + b) * sizes.initial_record..][..sizes.hidden]);
    }
}

/// Calls `f(scratch, first, out)` for blocks of records from `first` on, `span` elements of `out` each.
fn each_block<S: Default>(out: &mut [f32], rows: usize, span: usize, f: impl Fn(&mut S, usize, &mut [f32]) + Sync) {
    let out = &mut out[..rows * span];
    parallel::pieces(out, rows.div_ceil(BLOCK), BLOCK * span, BLOCK * span, |scratch: &mut S, i, out| {
        let len = out.len().min(BLOCK * span);
        f(scratch, i * BLOCK, &mut out[..len]);
    });
}
