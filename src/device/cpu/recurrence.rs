//! Native twins of [`Recurrence`] and [`RecurrenceVjp`]: one product a time step for a block of records, then the cell's step
//! of each.

use super::matmul::{Into, Matrix, MatrixMut, matmul};
use super::{Buffers, Native, parallel};
use crate::lower::cells::Routine;
use crate::lower::kernels::{Recurrence, RecurrenceVjp};
use crate::lower::scalar::Step;

/// Records that go through time together.
const BLOCK: usize = 32;

/// What a thread keeps: the recurrent product, the states of each record, and the steps of a routine.
#[derive(Default)]
struct Scratch {
    product: Vec<f32>,
    states: Vec<Vec<f32>>,
    first: Vec<Vec<f32>>,
    registers: Vec<f32>,
}

impl Native for Recurrence {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let Recurrence { cell, direction, steps, hidden, .. } = *self;
        let (gates, states, code) = (cell.gates(), cell.states(), cell.forward());
        let (pre, r) = (read[0].f32(), self.recurrent(read[1].f32()));
        let initial = |k: usize| self.initial.then(|| read[2 + states - 1 - k].f32());
        let (plane, width) = (steps * hidden, gates * hidden);
        let span = cell.planes() * plane;
        each_block(written[0].f32(), rows, span, |scratch: &mut Scratch, first, tapes| {
            let records = tapes.len() / span;
            let Scratch { product: z, states: before, registers, .. } = scratch;
            z.resize(records * width, 0.0);
            before.resize(states, vec![]);
            for (k, before) in before.iter_mut().enumerate() {
                self.fill(initial(k), first, records, before);
            }
            for made in 0..steps {
                let t = direction.step(made, steps);
                let h = Matrix { data: &before[states - 1], rows: records, cols: hidden, row: hidden, col: 1 };
                matmul(MatrixMut::contiguous(z, records, width), Into::Set, 1.0, h, r.transposed());
                for (b, tape) in tapes.chunks_exact_mut(span).enumerate() {
                    let z = &mut z[b * width..][..width];
                    z.iter_mut().zip(&pre[((first + b) * steps + t) * width..]).for_each(|(z, p)| *z += p);
                    let here = b * hidden..(b + 1) * hidden;
                    let operand = |k: usize| match k.checked_sub(gates) {
                        Some(state) => &before[state][here.clone()],
                        None => &z[k * hidden..][..hidden],
                    };
                    execute(&code, operand, registers, hidden);
                    for (p, output) in code.outputs.iter().enumerate() {
                        let value = result(&code, *output, operand, registers, hidden);
                        tape[p * plane + t * hidden..][..hidden].copy_from_slice(value);
                    }
                    for (k, before) in before.iter_mut().enumerate() {
                        before[here.clone()].copy_from_slice(&tape[(gates + k) * plane + t * hidden..][..hidden]);
                    }
                }
            }
        });
    }
}

impl Native for RecurrenceVjp {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let of = &self.of;
        let Recurrence { cell, direction, steps, hidden, initial, .. } = *of;
        let (gates, states, code) = (cell.gates(), cell.states(), cell.backward());
        let (tape, r) = (read[0].f32(), of.recurrent(read[1].f32()));
        let reread = if initial { cell.reread() } else { vec![] };
        let start = |k: usize| Some(read[2 + reread.iter().rev().position(|&state| state == k)?].f32());
        let next = 2 + reread.len();
        let outer = |k: usize| (self.inner || k + 1 == states).then(|| read[next + states - 1 - k].f32());
        let (plane, width) = (steps * hidden, gates * hidden);
        let span = steps * width;
        each_block(written[0].f32(), rows, span, |scratch: &mut Scratch, first, dpre| {
            let records = dpre.len() / span;
            let Scratch { product: back, states: carried, first: starts, registers } = scratch;
            carried.resize(states, vec![]);
            for state in carried.iter_mut().chain([&mut *back]) {
                state.clear();
                state.resize(records * hidden, 0.0);
            }
            starts.resize(states, vec![]);
            for (k, state) in starts.iter_mut().enumerate() {
                of.fill(start(k), first, records, state);
            }
            for made in (0..steps).rev() {
                let t = direction.step(made, steps);
                for (b, dpre) in dpre.chunks_exact_mut(span).enumerate() {
                    let tape = &tape[(first + b) * cell.planes() * plane..][..cell.planes() * plane];
                    let at = |p: usize, t: usize| &tape[p * plane + t * hidden..][..hidden];
                    let here = b * hidden..(b + 1) * hidden;
                    let place = ((first + b) * steps + t) * hidden;
                    for (k, carried) in carried.iter_mut().enumerate() {
                        let carried = &mut carried[here.clone()];
                        if let Some(outer) = outer(k) {
                            carried.iter_mut().zip(&outer[place..]).for_each(|(d, outer)| *d += outer);
                        }
                        if k + 1 == states {
                            carried.iter_mut().zip(&back[here.clone()]).for_each(|(d, back)| *d += back);
                        }
                    }
                    let operand = |k: usize| match k.checked_sub(gates) {
                        None => at(k, t),
                        Some(k) if k >= 2 * states => &carried[k - 2 * states][here.clone()],
                        Some(k) if k >= states => at(gates + k - states, t),
                        Some(k) if made == 0 => &starts[k][here.clone()],
                        Some(k) => at(gates + k, direction.step(made - 1, steps)),
                    };
                    execute(&code, operand, registers, hidden);
                    let dz = dpre[t * width..][..width].chunks_exact_mut(hidden);
                    for (dz, output) in dz.zip(&code.outputs) {
                        match output {
                            Some(_) => dz.copy_from_slice(result(&code, *output, operand, registers, hidden)),
                            None => dz.fill(0.0),
                        }
                    }
                    for (k, output) in code.outputs[gates..].iter().enumerate() {
                        match output {
                            Some(i) => carried[k][here.clone()].copy_from_slice(&registers[i * hidden..][..hidden]),
                            None => carried[k][here.clone()].fill(0.0),
                        }
                    }
                }
                if made > 0 {
                    let dz = Matrix { data: &dpre[t * width..], rows: records, cols: width, row: span, col: 1 };
                    matmul(MatrixMut::contiguous(back, records, hidden), Into::Set, 1.0, dz, r);
                }
            }
        });
    }
}

impl Recurrence {
    /// The recurrent weight, `[G·H, H]`.
    fn recurrent<'a>(&self, r: &'a [f32]) -> Matrix<'a> {
        Matrix { data: r, rows: self.cell.gates() * self.hidden, cols: self.hidden, row: self.hidden, col: 1 }
    }

    /// An initial state of a block of records, `[records, H]`: zeros where there is none.
    fn fill(&self, from: Option<&[f32]>, first: usize, records: usize, to: &mut Vec<f32>) {
        to.clear();
        to.resize(records * self.hidden, 0.0);
        let Some(from) = from else { return };
        for (b, to) in to.chunks_exact_mut(self.hidden).enumerate() {
            to.copy_from_slice(&from[(first + b) * self.initial_record..][..self.hidden]);
        }
    }
}

/// Runs the steps of a routine on slices of `len` elements, a register each.
fn execute<'a>(code: &Routine, operand: impl Fn(usize) -> &'a [f32], registers: &mut Vec<f32>, len: usize) {
    registers.resize(code.steps.len() * len, 0.0);
    for (i, step) in code.steps.iter().enumerate().skip(code.operands()) {
        let (before, here) = registers.split_at_mut(i * len);
        let to = &mut here[..len];
        match step {
            Step::Const(c) => to.fill(c.word()),
            Step::Call(func, args) => {
                let value = |a: usize| if a < code.operands() { operand(a) } else { &before[a * len..][..len] };
                let arity = func.arity();
                func.apply(&args.map(|a| if a < i { value(a) } else { &[] })[..arity], to);
            }
            Step::Operand(..) => {}
        }
    }
}

/// A result of a routine that has run.
fn result<'a>(
    code: &Routine,
    output: Option<usize>,
    operand: impl Fn(usize) -> &'a [f32],
    registers: &'a [f32],
    len: usize,
) -> &'a [f32] {
    match output {
        Some(i) if i < code.operands() => operand(i),
        Some(i) => &registers[i * len..][..len],
        None => &[],
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
