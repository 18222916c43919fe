//! Native twin of [`ClipFactor`].

use super::Native;
use crate::lower::kernels::ClipFactor;

impl Native for ClipFactor {
    fn run(&self, rows: usize, read: &[&[f32]], written: &mut [&mut [f32]]) {
        let [factor, norm] = written else { return };
        for n in 0..rows {
            let (square, weight) = (read[0][n], read[1][n]);
            norm[n] = square.sqrt();
            let counts = weight != 0.0 && square.is_finite() && square >= 0.0;
            // The norm of a negative zero is positive.
            factor[n] = if counts { self.rule.factor(norm[n].abs()) * weight } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::ClipRule;

    #[test]
    fn a_negative_zero_is_not_clipped() {
        let (mut factor, mut norm) = ([0.0], [0.0]);
        let kernel = ClipFactor { rule: ClipRule::Flat { c: 1.0 } };
        kernel.run(1, &[&[-0.0], &[1.0]], &mut [&mut factor, &mut norm]);
        assert_eq!(factor, [1.0]);
    }
}
