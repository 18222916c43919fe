//! Native twin of [`OuterSum`].

use super::matmul::{Into, MatrixMut, matmul};
use super::operand::Operand;
use super::{Native, parallel};
use crate::lower::kernels::OuterSum;

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

/// Room for the two operands, and for what one record adds.
type Scratch = [Vec<f32>; 3];

impl Native for OuterSum {
    fn run(&self, rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]) {
        let weight = read[2];
        let operands = [
            Operand::new(self.a, read[0], self.groups, self.rows, self.steps),
            Operand::new(self.b, read[1], self.groups, self.cols, self.steps),
        ];
        let size = self.groups * self.rows * self.cols;
        let chunks = rows.div_ceil(self.chunk);
        let records: Vec<Vec<(usize, f32)>> = (0..chunks)
            .map(|c| (c * self.chunk..rows.min((c + 1) * self.chunk)).map(|n| (n, weight[n])).collect())
            .map(|chunk: Vec<(usize, f32)>| chunk.into_iter().filter(|r| r.1 != 0.0).collect())
            .collect();
        let parts = self.chunk.min(rows).div_ceil(RECORDS).min(PARTS).min(ROOM / size.max(1));
        if chunks >= PARTS {
            parallel::pieces(written[0], chunks, size, size, |scratch: &mut Scratch, c, y| {
                self.sum(&operands, &records[c], scratch, &mut y[..size]);
            });
        } else if parts > 1 {
            let mut sums = vec![0.0; parts * size];
            for (records, out) in records.iter().zip(written[0].chunks_exact_mut(size)) {
                let share = records.len().div_ceil(parts);
                parallel::pieces(&mut sums, parts, size, size, |scratch: &mut Scratch, i, y| {
                    let part = records.get(i * share..records.len().min((i + 1) * share)).unwrap_or(&[]);
                    self.sum(&operands, part, scratch, &mut y[..size]);
                });
                out.fill(0.0);
                for sum in sums.chunks_exact(size) {
                    out.iter_mut().zip(sum).for_each(|(y, s)| *y += s);
                }
            }
        } else {
            let (line, block) = (self.cols, ROWS * self.cols);
            for (c, records) in records.iter().enumerate() {
                for g in 0..self.groups {
                    let out = &mut written[0][c * size + g * self.rows * line..][..self.rows * line];
                    let blocks = self.rows.div_ceil(ROWS);
                    parallel::pieces(out, blocks, block, block.min(self.rows * line), |scratch: &mut Scratch, i, y| {
                        let count = ROWS.min(self.rows - i * ROWS);
                        self.sum_group(&operands, records, g, [i * ROWS, count], scratch, &mut y[..count * line]);
                    });
                }
            }
        }
    }
}

impl OuterSum {
    /// Sets `y` to the weighted sum over `records`.
    fn sum(&self, operands: &[Operand; 2], records: &[(usize, f32)], scratch: &mut Scratch, y: &mut [f32]) {
        for (g, y) in y.chunks_exact_mut((self.rows * self.cols).max(1)).enumerate() {
            self.sum_group(operands, records, g, [0, self.rows], scratch, y);
        }
    }

    /// Sets `y` to `count` rows from row `first` on of group `g` of the weighted sum over `records`.
    fn sum_group(
        &self,
        [a, b]: &[Operand; 2],
        records: &[(usize, f32)],
        g: usize,
        [first, count]: [usize; 2],
        [s, t, own]: &mut Scratch,
        y: &mut [f32],
    ) {
        y.fill(0.0);
        if self.steps > 1 {
            own.resize(y.len(), 0.0);
            for &(n, w) in records {
                let (a, b) = (a.matrix(n, g, s), b.matrix(n, g, t));
                let out = MatrixMut::contiguous(own, count, self.cols);
                matmul(out, Into::Set, w, a.rows(first, count), b.transposed());
                y.iter_mut().zip(&*own).for_each(|(y, own)| *y += own);
            }
            return;
        }
        // The weight goes to the smaller operand.
        let scale_a = self.rows <= self.cols;
        for records in records.chunks(TOGETHER) {
            let out = MatrixMut::contiguous(y, count, self.cols);
            let a = a.side_by_side(records, g, scale_a, s);
            let b = b.side_by_side(records, g, !scale_a, t);
            matmul(out, Into::Add, 1.0, a.rows(first, count), b.transposed());
        }
    }
}
