//! Native twin of [`ClipFactor`].

use super::Native;
use crate::lower::kernels::ClipFactor;

impl Native for ClipFactor {
    fn run(&self, rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]) {
        let [factor, norm] = written else { return };
        let bound = read[2][self.group];
        for n in 0..self.records.at(rows) {
            let (square, weight) = (read[0][n], read[1][n]);
            // The norm of a negative zero is positive.
            let root = square.sqrt().abs();
            norm[n * self.groups + self.group] = root;
            let counts = weight != 0.0 && square.is_finite() && square >= 0.0;
            factor[n] = if counts { self.function.factor(root, bound) * weight } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::program::Extent;
    use crate::privacy::clipping::ClipFunction;

    #[test]
    fn a_negative_zero_is_not_clipped() {
        let (mut factor, mut norm) = ([0.0], [0.0]);
        let kernel =
            ClipFactor { records: Extent::rows(1), function: ClipFunction::Threshold, group: 0, groups: 1 };
        kernel.run(1, &[&[-0.0], &[1.0], &[1.0]], &mut [&mut factor, &mut norm]);
        assert_eq!((factor, norm[0].to_bits()), ([1.0], 0));
    }
}
