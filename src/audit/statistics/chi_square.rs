//! How far chance moves the root mean square of normals.

use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::bisect;

/// What the root mean square of `count` independent standard normals is between, but for a probability of `risk`, half of
/// it on each side: exact, by the quantiles of the chi-square distribution.
pub fn root_mean_square(count: usize, risk: f64) -> [f64; 2] {
    let n = count as f64;
    let Ok(squares) = ChiSquared::new(n) else { return [0.0, f64::INFINITY] };
    let (square, half) = (|ratio: f64| ratio * ratio * n, 0.5 * risk);
    // Where the upper tail is below `half` in any case (Laurent and Massart 2000, Lemma 1).
    let most = 1.0 + (-2.0 * half.ln() / n).sqrt();
    let low = bisect([0.0, 1.0], |ratio| squares.cdf(square(ratio)) > half);
    let high = bisect([1.0, most], |ratio| squares.sf(square(ratio)) < half);
    // The distribution function of a single square is not exact so near to 0.
    [if count == 1 { 0.0 } else { low }, high]
}

/// Pearson's statistic of `counts` whose expectations are `expected`.
pub fn statistic(counts: &[u64], expected: &[f64]) -> f64 {
    counts.iter().zip(expected).map(|(&count, expected)| (count as f64 - expected).powi(2) / expected).sum()
}

/// What the statistic of `classes` classes exceeds with a probability of `risk`, where all expectations are large.
pub fn most(classes: usize, risk: f64) -> f64 {
    let degrees = classes.saturating_sub(1) as f64;
    let Ok(squares) = ChiSquared::new(degrees) else { return 0.0 };
    // Laurent and Massart 2000, Lemma 1.
    let high = degrees + 2.0 * (-risk.ln() * degrees).sqrt() - 2.0 * risk.ln();
    bisect([degrees, high], |square| squares.sf(square) < risk)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `sqrt(scipy.stats.chi2.isf(p, n) / n)`; see `tests/oracles/audit.py`.
    #[test]
    fn bounds_are_quantiles_of_chi_square() {
        for (count, risk, low, high) in [
            (10, 1e-09, 0.085_042_944_194_289_12, 2.540_141_982_443_332_7),
            (480, 1e-10, 0.798_405_374_811_490_1, 1.214_786_116_236_379_3),
            (480, 0.05, 0.936_737_085_342_389, 1.063_209_389_543_809_7),
            (1_000_000, 1e-09, 0.995_682_776_414_15, 1.004_322_777_745_944_7),
        ] {
            let found = root_mean_square(count, risk);
            assert!((found[0] / low - 1.0).abs() < 1e-6 && (found[1] / high - 1.0).abs() < 1e-6, "{count}: {found:?}");
        }
        // `scipy.stats.chi2.isf(1e-9, classes - 1)`.
        for (classes, bound) in [(2, 37.324_893_051_362_324), (16, 73.630_000_143_546_64), (256, 414.545_039_664_199_2)]
        {
            assert!((most(classes, 1e-9) / bound - 1.0).abs() < 1e-6, "{classes}: {}", most(classes, 1e-9));
        }
        assert_eq!(statistic(&[3, 5], &[4.0, 4.0]), 0.5);
        assert_eq!(root_mean_square(1, 1e-9)[0], 0.0);
        assert_eq!(root_mean_square(0, 1e-9), [0.0, f64::INFINITY]);
    }
}
