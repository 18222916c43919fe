//! Native twin of [`ClipFactor`].

use super::{Buffers, Native};
use crate::lower::kernels::{ClipFactor, ClipFunction};

impl Native for ClipFactor {
    fn run(&self, rows: usize, Buffers { read, written, batch, .. }: Buffers) {
        let [factor, norm] = written else { return };
        let (factor, norm) = (factor.f32(), norm.f32());
        let bound = read[5].f32()[self.group];
        let scale = self.scale(bound);
        for n in 0..self.records.at(rows) {
            let (square, weight) = (read[0].f32()[n], read[4].f32()[n]);
            let rounding = self.errors >= 2;
            let (most, counts) = if rounding {
                let row_error = if self.errors >= 3 { batch as f32 * read[3].f32()[n].sqrt() } else { 0.0 };
                let most = (square + read[1].f32()[n]).max(0.0).sqrt() + read[2].f32()[n].sqrt() + row_error;
                (most, (square + read[1].f32()[n]).is_finite())
            } else {
                (square.sqrt().abs(), square.is_finite() && square >= 0.0)
            };
            let most = most * self.excess();
            let counts = counts && most.is_finite();
            // The norm of a negative zero is positive.
            let shown = if rounding && square < 0.0 && square.is_finite() { 0.0 } else { square.sqrt().abs() };
            norm[n * self.groups + self.group] = shown;
            let clip = (self.function.factor(most, bound) * scale).min(ClipFunction::LARGEST);
            factor[n] = match (counts, weight == 0.0) {
                (true, false) => clip * weight,
                (_, true) => weight,
                (false, false) => -0.0,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::{Read, Written};
    use crate::lower::program::Extent;

    #[test]
    fn a_negative_zero_is_not_clipped() {
        let (mut factor, mut norm) = ([0.0], [0.0]);
        let function = ClipFunction::Threshold;
        let records = Extent::rows(1);
        let kernel = ClipFactor { records, function, group: 0, groups: 1, errors: 0, additions: 0, grid: false };
        let read = [&[-0.0], &[][..], &[], &[], &[1.0], &[1.0]].map(Read::F32);
        let written = &mut [Written::F32(&mut factor), Written::F32(&mut norm)];
        kernel.run(1, Buffers { read: &read, written, scratch: &mut [], batch: 1 });
        assert_eq!((factor, norm[0].to_bits()), ([1.0], 0));
    }
}
