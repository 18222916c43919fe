//! Native twins of [`Recurrence`] and [`RecurrenceVjp`]: one product a stage of a time step for a block of records, then the
//! stage of the cell for a tile of them after the other.

use std::ops::Range;

use super::matmul::Matrix;
use super::panels::Prepared;
use super::routine::{Lines, Tile};
use super::{Buffers, Native, parallel};
use crate::lower::cells::Routine;
use crate::lower::kernels::{Recurrence, RecurrenceVjp};

/// Records that go through time together.
const BLOCK: usize = 32;
/// Elements of a tile's line at most, unless one record has more: enough to pay for calls, and few enough that the lines stay
/// in cache.
const LINE: usize = 1024;

/// What a thread keeps: the recurrent products, the states of each record, and a tile.
#[derive(Default)]
struct Scratch {
    product: Vec<f32>,
    states: Vec<Vec<f32>>,
    first: Vec<Vec<f32>>,
    back: Vec<Vec<f32>>,
    tile: Tile,
}

/// A stage of a step.
struct Stage {
    code: Lines,
    /// The gates whose recurrent product it makes.
    gates: Range<usize>,
    /// The planes that it makes.
    made: Range<usize>,
    /// The plane that it multiplies.
    multiplied: usize,
}

impl Native for Recurrence {
    fn block(&self) -> Option<usize> {
        Some(BLOCK)
    }

    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let Recurrence { cell, direction, steps, hidden, .. } = *self;
        let (columns, states, planes) = (cell.columns(), cell.states(), cell.planes());
        let stages = self.stages(|stage| cell.forward(stage));
        let (pre, r) = (read[0].f32(), read[1].f32());
        // Packed once, and not for the product of each time step.
        let turned: Vec<Prepared> =
            stages.iter().map(|stage| Prepared::of_records(self.recurrent(r, &stage.gates).transposed())).collect();
        let initial = |k: usize| self.initial.then(|| read[2 + states - 1 - k].f32());
        let (plane, width) = (steps * hidden, columns * hidden);
        let span = planes * plane;
        let kept: Vec<usize> = (0..states).map(|k| cell.plane(k)).collect();
        each_block(written[0].f32(), rows, span, |scratch: &mut Scratch, first, tapes| {
            let records = tapes.len() / span;
            let Scratch { product: z, states: before, tile, .. } = scratch;
            before.resize(states, vec![]);
            for (k, before) in before.iter_mut().enumerate() {
                self.fill(initial(k), first, records, before);
            }
            for t in (0..steps).map(|made| direction.step(made, steps)) {
                for (stage, Stage { code, gates, made, multiplied }) in stages.iter().enumerate() {
                    let rows = gates.len() * hidden;
                    z.resize(records * rows, 0.0);
                    let h = match stage {
                        0 => Matrix { data: &before[states - 1], rows: records, cols: hidden, row: hidden, col: 1 },
                        _ => {
                            let data = &tapes[multiplied * plane + t * hidden..];
                            Matrix { data, rows: records, cols: hidden, row: span, col: 1 }
                        }
                    };
                    turned[stage].product(h, z);
                    for part in tiles(records, hidden) {
                        tile.run(code, hidden, part.clone(), |k, b| {
                            let pre = &pre[((first + b) * steps + t) * width..];
                            match k.checked_sub(columns) {
                                Some(k) if k >= states => only(&tapes[b * span + (k - states) * plane + t * hidden..]),
                                Some(state) => only(&before[state][b * hidden..]),
                                None if gates.contains(&k) => {
                                    [&z[b * rows + (k - gates.start) * hidden..], &pre[k * hidden..], &[]]
                                }
                                None => only(&pre[k * hidden..]),
                            }
                        });
                        for (before, place) in before.iter_mut().zip(&kept).filter(|(_, place)| made.contains(place)) {
                            let output = code.output(place - made.start);
                            tile.store(output, 0, &mut before[part.start * hidden..part.end * hidden]);
                        }
                        for (n, tape) in tapes.chunks_exact_mut(span).skip(part.start).take(part.len()).enumerate() {
                            let planes = tape[made.start * plane..].chunks_exact_mut(plane);
                            for (plane, output) in planes.zip(code.outputs()) {
                                tile.store(output, n * hidden, &mut plane[t * hidden..][..hidden]);
                            }
                        }
                    }
                }
            }
        });
    }
}

impl Native for RecurrenceVjp {
    fn block(&self) -> Option<usize> {
        Some(BLOCK)
    }

    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        let of = &self.of;
        let Recurrence { cell, direction, steps, hidden, initial, .. } = *of;
        let (columns, states, planes) = (cell.columns(), cell.states(), cell.planes());
        let stages = of.stages(|stage| cell.backward(stage));
        let (tape, r) = (read[0].f32(), read[1].f32());
        let recurrent: Vec<Prepared> =
            stages.iter().map(|stage| Prepared::of_records(of.recurrent(r, &stage.gates))).collect();
        let reread = if initial { cell.reread() } else { vec![] };
        let start = |k: usize| Some(read[2 + reread.iter().rev().position(|&state| state == k)?].f32());
        let next = 2 + reread.len();
        let outer = |k: usize| (self.inner || k + 1 == states).then(|| read[next + states - 1 - k].f32());
        let (plane, width) = (steps * hidden, columns * hidden);
        let span = self.rows() * width;
        let kept: Vec<usize> = (0..states).map(|k| cell.plane(k)).collect();
        let handed = if self.before { cell.carried() } else { vec![] };
        each_block(written[0].f32(), rows, span, |scratch: &mut Scratch, first, dpre| {
            let records = dpre.len() / span;
            let Scratch { states: carried, first: starts, back, tile, .. } = scratch;
            carried.resize(states, vec![]);
            // The products back of all stages, of which that of the first goes to the step before.
            back.resize(stages.len(), vec![]);
            for state in carried.iter_mut().chain(&mut *back) {
                state.clear();
                state.resize(records * hidden, 0.0);
            }
            starts.resize(states, vec![]);
            for (k, state) in starts.iter_mut().enumerate() {
                of.fill(start(k), first, records, state);
            }
            for made in (0..steps).rev() {
                let t = direction.step(made, steps);
                for (stage, Stage { code, gates, .. }) in stages.iter().enumerate().rev() {
                    for part in tiles(records, hidden) {
                        tile.run(code, hidden, part.clone(), |k, b| {
                            let record = first + b;
                            let tape = |p: usize, t| &tape[(record * planes + p) * plane + t * hidden..];
                            match k.checked_sub(planes) {
                                None => only(tape(k, t)),
                                Some(k) if k >= 2 * states => only(&back[k - 2 * states + 1][b * hidden..]),
                                Some(k) if k >= states => {
                                    let k = k - states;
                                    let outer =
                                        outer(k).map_or(&[][..], |outer| &outer[(record * steps + t) * hidden..]);
                                    let back = if k + 1 == states { &back[0][b * hidden..] } else { &[] };
                                    [&carried[k][b * hidden..], outer, back]
                                }
                                Some(k) if made == 0 => only(&starts[k][b * hidden..]),
                                Some(k) => only(tape(kept[k], direction.step(made - 1, steps))),
                            }
                        });
                        for (carried, output) in
                            carried.iter_mut().zip(code.outputs().skip(columns)).filter(|_| stage == 0)
                        {
                            tile.store(output, 0, &mut carried[part.start * hidden..part.end * hidden]);
                        }
                        let further = if stage == 0 { cell.gates()..columns } else { 0..0 };
                        for (n, dpre) in dpre.chunks_exact_mut(span).skip(part.start).take(part.len()).enumerate() {
                            for k in gates.clone().chain(further.clone()) {
                                let dz = &mut dpre[t * width + k * hidden..][..hidden];
                                tile.store(code.output(k), n * hidden, dz);
                            }
                        }
                    }
                    if made > 0 || stage > 0 {
                        let (from, cols) = (t * width + gates.start * hidden, gates.len() * hidden);
                        let dz = Matrix { data: &dpre[from..], rows: records, cols, row: span, col: 1 };
                        recurrent[stage].product(dz, &mut back[stage]);
                    }
                }
            }
            for (b, dpre) in dpre.chunks_exact_mut(span).enumerate().filter(|_| self.before) {
                let row = &mut dpre[steps * width..];
                row.fill(0.0);
                for (row, k) in row.chunks_exact_mut(hidden).zip(&handed) {
                    row.copy_from_slice(&carried[*k][b * hidden..][..hidden]);
                }
            }
        });
    }
}

impl Recurrence {
    fn stages(&self, code: impl Fn(usize) -> Routine) -> Vec<Stage> {
        let cell = self.cell;
        let stage = |(stage, gates): (usize, Range<usize>)| {
            let (made, multiplied) = (cell.made(stage), cell.multiplied(stage));
            Stage { code: Lines::of(code(stage)), gates, made, multiplied }
        };
        cell.stages().into_iter().enumerate().map(stage).collect()
    }

    /// The rows of the recurrent weight for some gates, `[G·H, H]`.
    fn recurrent<'a>(&self, r: &'a [f32], gates: &Range<usize>) -> Matrix<'a> {
        let hidden = self.hidden;
        Matrix {
            data: &r[gates.start * hidden * hidden..],
            rows: gates.len() * hidden,
            cols: hidden,
            row: hidden,
            col: 1,
        }
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

/// The terms of an operand that is one.
fn only(term: &[f32]) -> [&[f32]; 3] {
    [term, &[], &[]]
}

/// The records of each tile of a block.
fn tiles(records: usize, hidden: usize) -> impl Iterator<Item = Range<usize>> {
    let most = (LINE / hidden).max(1);
    (0..records).step_by(most).map(move |first| first..records.min(first + most))
}

/// Calls `f(scratch, first, out)` for blocks of records from `first` on, `span` elements of `out` each.
fn each_block<S: Default + 'static>(
    out: &mut [f32],
    rows: usize,
    span: usize,
    f: impl Fn(&mut S, usize, &mut [f32]) + Sync,
) {
    let out = &mut out[..rows * span];
    parallel::pieces(out, rows.div_ceil(BLOCK), BLOCK * span, BLOCK * span, |scratch: &mut S, i, out| {
        let len = out.len().min(BLOCK * span);
        f(scratch, i * BLOCK, &mut out[..len]);
    });
}
