//! Confidence bounds on a probability (Clopper and Pearson 1934, <https://doi.org/10.1093/biomet/26.4.404>).

use statrs::distribution::{Binomial, DiscreteCDF};

/// The largest probability at which `count` or fewer successes in `trials` have a probability of at least `risk`: the
/// true one is above it with a probability of at most `risk`.
pub fn upper(count: u64, trials: u64, risk: f64) -> f64 {
    if count >= trials {
        return 1.0;
    }
    // The distribution function falls as the probability grows.
    bisect(|p| cdf(count, trials, p) < risk)
}

/// The smallest probability at which `count` or more successes in `trials` have a probability of at least `risk`.
pub fn lower(count: u64, trials: u64, risk: f64) -> f64 {
    1.0 - upper(trials - count.min(trials), trials, risk)
}

fn cdf(count: u64, trials: u64, p: f64) -> f64 {
    Binomial::new(p, trials).map_or(0.0, |binomial| binomial.cdf(count))
}

/// Where `too_large` begins to hold in `[0, 1]`, from above.
fn bisect(too_large: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while high - low > 1e-14 {
        let middle = 0.5 * (low + high);
        match too_large(middle) {
            true => high = middle,
            false => low = middle,
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.beta.ppf(1 - risk, k + 1, n - k)`; see `tests/oracles/audit.py`.
    #[test]
    fn bounds_are_those_of_the_beta_distribution() {
        for (count, trials, risk, expected) in [
            (0, 1000, 0.025, 0.003_682_083_896_865_671),
            (309, 1000, 0.025, 0.338_671_324_716_287_64),
            (617, 1000, 0.05, 0.642_505_679_933_600_5),
            (617, 2000, 0.001, 0.341_273_534_170_282_8),
            (999, 1000, 0.025, 0.999_974_682_512_508_8),
        ] {
            let found = upper(count, trials, risk);
            assert!((found - expected).abs() < 1e-9, "{count}/{trials}: {found}");
            let mirrored = lower(trials - count, trials, risk);
            assert!((mirrored - (1.0 - expected)).abs() < 1e-9);
        }
        assert_eq!(upper(7, 7, 0.05), 1.0);
        assert_eq!(lower(0, 7, 0.05), 0.0);
    }
}
