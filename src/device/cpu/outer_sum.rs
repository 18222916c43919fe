//! Native twin of [`OuterSum`].

use super::adding::{Grid, Sum, WideGrid, holds_none, leave_out};
use super::convolve::{Summand, sum_transposed};
use super::double::{self, Columns};
use super::matmul::{self, MatrixMut, matmul_by_parts};
use super::microkernel;
use super::operand::Operand;
use super::panels::Part;
use super::parallel::GRAIN;
use super::{Buffers, Native, Read, parallel};
use crate::lower::kernels::{OuterSum, Sums, View};
use crate::lower::program::Extent;
use crate::lower::target::Rounding;

/// Records that one product sums over where each has one position: these are put side by side.
const TOGETHER: usize = 256;
/// The most parts of a chunk that are summed at the same time.
const PARTS: usize = 8;
/// The fewest records of such a part.
const RECORDS: usize = 8;
/// The most elements of all parts of a chunk.
const ROOM: usize = 1 << 22;
/// Rows of a result that one thread works out at a time, where a chunk is not parted.
const ROWS: usize = 64;

/// Records whose products are added tile by tile.
const BESIDE: usize = 16;
/// Elements of what such records are multiplied of, which stays in a core's own cache.
const CACHED: usize = 1 << 17;

/// Elements that are unpacked at a time.
const UNPACKED: usize = 1 << 17;

/// Room for the two operands and for what one record adds, for images, and for columns and what a record adds in `f64`.
type Room = ([Vec<f32>; 3], [Vec<f32>; BESIDE], (Columns, Vec<f64>));
/// The same, and room for operands that are kept in words.
type Scratch = (Room, [Vec<f32>; 2]);

/// Records summed into one partial result: many enough to keep partial results small beside the operands.
fn chunk(kernel: &OuterSum) -> usize {
    if kernel.size() <= 1 << 16 { 16 } else { 64 }
}

impl Native for OuterSum {
    fn rounding(&self) -> Rounding {
        // A record's own terms, of patches one by one; then the records of a part of a chunk, the parts, and the chunks.
        let element = match (self.steps, self.b) {
            (steps, _) if self.precise() => double::roundings(steps),
            // The weight is multiplied first.
            (1, _) => 2.0,
            (steps, View::Patches { .. }) => steps as f64 + 1.0,
            (steps, _) => matmul::roundings(steps) as f64,
        };
        let records = match self.sums {
            Sums::Floats => Extent { per_row: 1, fixed: chunk(self) + PARTS },
            _ => Extent::fixed(0),
        };
        Rounding { element, records, ..Rounding::sum(0) }
    }

    fn scratch(&self, rows: usize) -> usize {
        match rows.div_ceil(chunk(self)) {
            0 | 1 => 0,
            chunks => chunks * self.size(),
        }
    }

    fn run(&self, rows: usize, Buffers { read, written, scratch, .. }: Buffers) {
        match self.sums {
            Sums::Floats => self.total::<f32>(rows, read, scratch, written[0].f32()),
            Sums::Grid => self.total::<Grid>(rows, read, bytemuck::cast_slice_mut(scratch), written[0].i32()),
            Sums::WideGrid => {
                let [scratch, out] = [bytemuck::cast_slice_mut(scratch), written[0].i32()];
                self.total::<WideGrid>(rows, read, bytemuck::cast_slice_mut(scratch), bytemuck::cast_slice_mut(out));
            }
        }
    }
}

impl OuterSum {
    /// Sets `out` to the sum over all records.
    fn total<T: Sum>(&self, rows: usize, read: &[Read], scratch: &mut [T], out: &mut [T]) {
        let (chunk, size) = (chunk(self), self.size());
        let (chunks, out) = (rows.div_ceil(chunk), &mut out[..size]);
        if chunks <= 1 {
            return self.chunks(rows, read, out);
        }
        self.chunks(rows, read, scratch);
        let scratch = &*scratch;
        parallel::pieces(out, size.div_ceil(GRAIN), GRAIN, GRAIN.min(size), |_: &mut (), i, y| {
            let len = y.len().min(GRAIN);
            let y = &mut y[..len];
            y.fill(T::default());
            for sums in scratch.chunks_exact(size).take(chunks) {
                T::add(y, &sums[i * GRAIN..][..len]);
            }
        });
    }

    /// Sets `out` to the sums of the chunks, one after the other.
    fn chunks<T: Sum>(&self, rows: usize, read: &[Read], out: &mut [T]) {
        let weight = read[2].f32();
        let operand = |k: usize, view, items| match self.packed[k] {
            Some(packing) => Operand::packed(view, packing, read[k].i32(), self.groups, items, self.steps),
            None => Operand::new(view, read[k].f32(), self.groups, items, self.steps),
        };
        let operands = [operand(0, self.a, self.rows), operand(1, self.b, self.cols)];
        let (chunk, size) = (chunk(self), self.size());
        let chunks = rows.div_ceil(chunk);
        let records: Vec<Vec<(usize, f32)>> = (0..chunks)
            .map(|c| (c * chunk..rows.min((c + 1) * chunk)).map(|n| (n, weight[n])).collect())
            .map(|chunk: Vec<(usize, f32)>| chunk.into_iter().filter(|r| !holds_none(r.1)).collect())
            .collect();
        let parts = chunk.min(rows).div_ceil(RECORDS).min(PARTS).min(ROOM / size.max(1));
        if chunks >= PARTS {
            parallel::pieces(out, chunks, size, size, |scratch: &mut Scratch, c, y| {
                self.sum(&operands, &records[c], scratch, &mut y[..size]);
            });
        } else if parts > 1 && !(self.rows >= 2 * ROWS && operands[1].image().is_some()) {
            let mut sums = vec![T::default(); parts * size];
            for (records, out) in records.iter().zip(out.chunks_exact_mut(size)) {
                let share = records.len().div_ceil(parts);
                parallel::pieces(&mut sums, parts, size, size, |scratch: &mut Scratch, i, y| {
                    let part = records.get(i * share..records.len().min((i + 1) * share)).unwrap_or(&[]);
                    self.sum(&operands, part, scratch, &mut y[..size]);
                });
                out.fill(T::default());
                for sum in sums.chunks_exact(size) {
                    T::add(out, sum);
                }
            }
        } else {
            let (line, block) = (self.cols, ROWS * self.cols);
            for (c, records) in records.iter().enumerate() {
                for g in 0..self.groups {
                    let out = &mut out[c * size + g * self.rows * line..][..self.rows * line];
                    let blocks = self.rows.div_ceil(ROWS);
                    parallel::pieces(out, blocks, block, block.min(self.rows * line), |scratch: &mut Scratch, i, y| {
                        let count = ROWS.min(self.rows - i * ROWS);
                        self.sum_group(&operands, records, g, [i * ROWS, count], scratch, &mut y[..count * line]);
                    });
                }
            }
        }
    }

    /// Sets `y` to the weighted sum over `records`.
    fn sum<T: Sum>(&self, operands: &[Operand; 2], records: &[(usize, f32)], scratch: &mut Scratch, y: &mut [T]) {
        for (g, y) in y.chunks_exact_mut((self.rows * self.cols).max(1)).enumerate() {
            self.sum_group(operands, records, g, [0, self.rows], scratch, y);
        }
    }

    /// Sets `y` to `count` rows from row `first` on of group `g` of the weighted sum over `records`.
    fn sum_group<T: Sum>(
        &self,
        operands: &[Operand; 2],
        records: &[(usize, f32)],
        g: usize,
        rows: [usize; 2],
        (room, floats): &mut Scratch,
        y: &mut [T],
    ) {
        y.fill(T::default());
        let [a, b] = operands;
        let len = a.packed_len() + b.packed_len();
        if len == 0 {
            return self.add_group([a, b], records, g, rows, room, y);
        }
        let mut records = records;
        while let [(from, _), ..] = *records {
            let last = (from + UNPACKED / len).max(from);
            let count = records.iter().take_while(|record| record.0 <= last).count();
            let (own, rest) = records.split_at(count);
            let (to, [s, t]) = (own[count - 1].0, &mut *floats);
            let (own_a, own_b) = (a.unpacked([from, to], s), b.unpacked([from, to], t));
            self.add_group([own_a.as_ref().unwrap_or(a), own_b.as_ref().unwrap_or(b)], own, g, rows, room, y);
            records = rest;
        }
    }

    /// Adds to `y` what [`OuterSum::sum_group`] says.
    #[allow(clippy::too_many_arguments)]
    fn add_group<T: Sum>(
        &self,
        [a, b]: [&Operand; 2],
        records: &[(usize, f32)],
        g: usize,
        [first, count]: [usize; 2],
        ([s, t, own], images, (columns, precise)): &mut Room,
        y: &mut [T],
    ) {
        if self.precise() {
            for &(n, w) in records {
                let (a, b) = (a.matrix(n, g, s), b.matrix(n, g, t));
                precise.clear();
                precise.resize(y.len(), 0.0);
                double::products(a.rows(first, count), b, columns, precise);
                let own = parallel::room(own, y.len());
                own.iter_mut().zip(precise.iter()).for_each(|(own, sum)| *own = *sum as f32);
                leave_out(own, w);
                T::add_scaled(y, own, w);
            }
            return;
        }
        if self.steps > 1 {
            if count >= microkernel::FEWEST && self.sum_patches([a, b], records, g, [first, count], images, t, y) {
                return;
            }
            for &(n, w) in records {
                let (a, b) = (a.matrix(n, g, s), b.matrix(n, g, t));
                let own = parallel::room(own, y.len());
                let out = MatrixMut::contiguous(own, count, self.cols);
                matmul_by_parts(out, a.rows(first, count), b.transposed());
                leave_out(own, w);
                T::add_scaled(y, own, w);
            }
            return;
        }
        for records in records.chunks(TOGETHER) {
            let a = a.side_by_side(records, g, true, s);
            let b = b.side_by_side(records, g, false, t);
            T::add_products(y, a.rows(first, count), b);
        }
    }

    /// [`OuterSum::sum_group`] without the patches, added to `y`; false if it cannot be had so.
    #[allow(clippy::too_many_arguments)]
    fn sum_patches<T: Sum>(
        &self,
        [a, b]: [&Operand; 2],
        records: &[(usize, f32)],
        g: usize,
        [first, count]: [usize; 2],
        images: &mut [Vec<f32>; BESIDE],
        panels: &mut Vec<f32>,
        y: &mut [T],
    ) -> bool {
        let Some(size) = b.image() else { return false };
        let beside = (CACHED / (size + self.steps * microkernel::COLS)).clamp(1, BESIDE);
        for records in records.chunks(beside) {
            let summand = |(&(n, w), image)| Some((w, b.patches(n, g, image)?, a.direct(n, g)?.rows(first, count)));
            let summands: Option<Vec<Summand>> = records.iter().zip(images.iter_mut()).map(summand).collect();
            let Some(summands) = summands else { return false };
            sum_transposed(&summands, panels, |part: Part<T>| {
                part.each(y, [1, self.cols], |value, y| *y = y.plus(value));
            });
        }
        true
    }
}
