//! Confidence bounds on a probability (Clopper and Pearson 1934, <https://doi.org/10.1093/biomet/26.4.404>), and how far
//! chance moves a count.

use statrs::distribution::{Binomial, DiscreteCDF};

use super::bisect;

/// The largest probability at which `count` or fewer successes in `trials` have a probability of at least `risk`: the
/// true one is above it with a probability of at most `risk`.
pub fn upper(count: u64, trials: u64, risk: f64) -> f64 {
    if count >= trials {
        return 1.0;
    }
    // The distribution function falls as the probability grows.
    bisect([0.0, 1.0], |p| cdf(count, trials, p) < risk)
}

/// The smallest probability at which `count` or more successes in `trials` have a probability of at least `risk`.
pub fn lower(count: u64, trials: u64, risk: f64) -> f64 {
    1.0 - upper(trials - count.min(trials), trials, risk)
}

/// What the number of successes in `trials` of probability `p` is between, but for a probability of at most `risk`, half
/// of it on each side: by Chernoff's bound `exp(-n·KL(k/n ‖ p))` on both tails, which holds for any `trials` and `p`.
pub fn range(trials: u64, p: f64, risk: f64) -> [u64; 2] {
    let n = trials as f64;
    let beyond = |count: u64| n * divergence(count as f64 / n, p) >= -(0.5 * risk).ln();
    let expected = (n * p).clamp(0.0, n);
    let low = first(0, expected.floor() as u64, |count| !beyond(count));
    let high = first(expected.ceil() as u64, trials + 1, |count| count > trials || beyond(count)) - 1;
    [low, high.max(low)]
}

/// `KL(x ‖ p)` of coins.
fn divergence(x: f64, p: f64) -> f64 {
    let term = |x: f64, p: f64| if x > 0.0 { x * (x / p).ln() } else { 0.0 };
    term(x, p) + term(1.0 - x, 1.0 - p)
}

/// The first number from `low` at which `holds` begins to; `high` where it does not before.
fn first(mut low: u64, mut high: u64, holds: impl Fn(u64) -> bool) -> u64 {
    while low < high {
        let middle = low + (high - low) / 2;
        match holds(middle) {
            true => high = middle,
            false => low = middle + 1,
        }
    }
    low
}

fn cdf(count: u64, trials: u64, p: f64) -> f64 {
    Binomial::new(p, trials).map_or(0.0, |binomial| binomial.cdf(count))
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

    /// Neither tail beyond the range is likelier than it may be, nor is the range much wider than it has to be.
    #[test]
    fn counts_leave_their_range_as_seldom_as_it_says() {
        for (trials, p) in [(1, 1e-5), (1, 0.5), (10, 0.3), (2000, 1e-4), (2000, 0.3), (100_000, 0.01), (100_000, 0.99)]
        {
            for risk in [1e-9, 1e-3] {
                let [low, high] = range(trials, p, risk);
                let binomial = Binomial::new(p, trials).unwrap();
                let below = |count: u64| if count == 0 { 0.0 } else { binomial.cdf(count - 1) };
                assert!(below(low) <= 0.5 * risk && binomial.sf(high) <= 0.5 * risk, "{trials} {p}: {low} {high}");
                let width = (trials as f64 * p * (1.0 - p)).sqrt();
                let most = 2.0 * (0.5 * risk).ln().abs().sqrt() * width + (0.5 * risk).ln().abs();
                assert!((high - low) as f64 <= 2.0 * most, "{trials} {p}: {low} {high}");
            }
        }
        assert_eq!(range(10, 0.0, 1e-9), [0, 0]);
        assert_eq!(range(10, 1.0, 1e-9), [10, 10]);
        assert_eq!(range(0, 0.5, 1e-9), [0, 0]);
    }
}
