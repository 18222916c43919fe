//! Native twin of [`Custom`].

use super::{Buffers, Native, parallel};
use crate::lower::kernels::{Custom, Record};

impl Native for Custom {
    fn run(&self, rows: usize, Buffers { read, written, .. }: Buffers) {
        // Loading refuses a kernel whose code is not known.
        let Some(code) = self.code.0 else { return };
        let count = if self.batched { rows } else { 1 };
        parallel::pieces(written[0].f32(), count, self.len, self.len, |_: &mut (), n, y| {
            let operands: Vec<&[f32]> = self
                .operands
                .iter()
                .zip(read)
                .map(|(reads, read)| &read.f32()[n * reads.record..][..reads.len])
                .collect();
            (code.native)(&Record::new(&operands, &self.numbers), &mut y[..self.len]);
        });
    }
}
