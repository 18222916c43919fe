//! Native twin of [`Copy`].

use super::{Buffers, Native, Read, Written, lanes, parallel};
use crate::lower::kernels::{Copy, CopyAxis};

impl Native for Copy {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        match (read[0], &mut written[0]) {
            (Read::F32(x), Written::F32(y)) => self.copy(rows, x, y),
            (Read::I32(x), Written::I32(y)) => self.copy(rows, x, y),
            _ => {}
        }
    }
}

impl Copy {
    fn copy<T: std::marker::Copy + Send + Sync>(&self, rows: usize, x: &[T], y: &mut [T]) {
        let records = if self.batched { rows } else { 1 };
        if self.axes.iter().any(|a| a.size == 0) {
            return;
        }
        let span = self.to_offset + self.axes.iter().map(|a| (a.size - 1) * a.to).sum::<usize>() + 1;
        parallel::pieces(y, records, self.to_record, span, |_: &mut (), n, y| {
            copy(&self.axes, &x[n * self.from_record + self.from_offset..], &mut y[self.to_offset..]);
        });
    }
}

fn copy<T: std::marker::Copy>(axes: &[CopyAxis], x: &[T], y: &mut [T]) {
    match axes {
        [] => y[0] = x[0],
        &[CopyAxis { size, from: 1, to: 1 }] => lanes::copy(&mut y[..size], &x[..size]),
        &[CopyAxis { size, from: 0, to: 1 }] => y[..size].fill(x[0]),
        &[CopyAxis { size, from, to }] => (0..size).for_each(|i| y[i * to] = x[i * from]),
        [first, rest @ ..] => {
            (0..first.size).for_each(|i| copy(rest, &x[i * first.from..], &mut y[i * first.to..]));
        }
    }
}
