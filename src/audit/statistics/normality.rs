//! Whether a sample is normal: the distance of Kolmogorov and Smirnov.

use super::gaussian::cdf;

/// The largest distance between the distribution function of `sample` and that of the standard normal. Sorts the sample.
pub fn distance(sample: &mut [f64]) -> f64 {
    sample.sort_unstable_by(f64::total_cmp);
    let n = sample.len() as f64;
    let steps = sample.iter().enumerate().map(|(i, &z)| {
        let p = cdf(z);
        (p - i as f64 / n).abs().max(((i + 1) as f64 / n - p).abs())
    });
    steps.fold(0.0, f64::max)
}

/// What the distance of `count` true normals exceeds with a probability of at most `risk`: `√(ln(2/risk)/2n)` (Massart
/// 1990, <https://doi.org/10.1214/aop/1176990746>).
pub fn bound(count: usize, risk: f64) -> f64 {
    ((2.0 / risk).ln() / (2.0 * count as f64)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::super::gaussian::quantile;
    use super::*;

    #[test]
    fn quantiles_are_as_near_as_can_be() {
        let n = 1000;
        let mut sample: Vec<f64> = (0..n).rev().map(|i| quantile((i as f64 + 0.5) / n as f64)).collect();
        assert!((distance(&mut sample) - 0.5 / n as f64).abs() < 1e-9);
        sample.iter_mut().for_each(|z| *z *= 0.9);
        assert!(distance(&mut sample) > bound(n, 0.9));
        assert_eq!(distance(&mut [f64::INFINITY; 5]), 1.0);
        assert_eq!(distance(&mut [0.0; 5]), 0.5);
    }

    #[test]
    fn the_bound_is_massarts() {
        assert!((bound(100, 0.05) - 0.135_810_151_574_061_95).abs() < 1e-12);
    }
}
