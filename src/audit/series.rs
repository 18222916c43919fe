//! Whether series of values are independent normals of mean 0 and the deviation that they should have: one check of all
//! series together, which names the one that is farthest out.
//!
//! A series is what one source of noise should have made, such as a tensor's. Bounds are exact or conservative for any
//! number of values, and divided over the series, so that small ones are held to as much as they can show.

use super::report::Check;
use super::statistics::moments::{ALARM, Moments, deviations};
use super::statistics::{chi_square, normality};

/// Values over the standard deviation that they should have, by the name of what made them.
pub type Series<'a> = [(&'a str, Vec<f64>)];

/// Whether the values of every series have the deviation, the mean and the distribution that they should, three checks.
/// Sorts the values.
pub fn normal(of: &str, series: &mut Series<'_>) -> Vec<Check> {
    let moments: Vec<(&str, Moments)> =
        series.iter().map(|(name, values)| (*name, values.iter().copied().collect())).collect();
    let tested = moments.iter().filter(|(_, moments)| moments.count > 0).count();
    let means = moments.iter().map(|(name, moments)| {
        let margin = deviations(tested) / (moments.count as f64).sqrt();
        (*name, moments.count, Check::near(&format!("mean{of} / σS"), moments.mean(), 0.0, margin))
    });
    let means = farthest(means);
    let distances = series.iter_mut().map(|(name, values)| {
        let bound = normality::bound(values.len(), ALARM / tested as f64);
        let name_of_check = format!("Kolmogorov–Smirnov distance{of} from normal");
        (*name, values.len(), Check::at_most(&name_of_check, normality::distance(values), bound))
    });
    vec![deviation(&format!("standard deviation{of} / σS"), &moments), means, farthest(distances)]
}

/// Whether the values of every series have the deviation that they should, as the check `title`.
pub fn deviation(title: &str, series: &[(&str, Moments)]) -> Check {
    let tested = series.iter().filter(|(_, moments)| moments.count > 0).count();
    farthest(series.iter().map(|(name, moments)| {
        let bounds = chi_square::root_mean_square(moments.count, ALARM / tested as f64);
        (*name, moments.count, Check::within(title, moments.deviation(), bounds))
    }))
}

/// The check whose figure is farthest out, of series that have values.
pub fn farthest<'a>(checks: impl Iterator<Item = (&'a str, usize, Check)>) -> Check {
    let tested: Vec<_> = checks.filter(|(_, count, _)| *count > 0).collect();
    let among = match tested.len() {
        1 => String::new(),
        series => format!(", the farthest of {series}"),
    };
    let worst = tested.into_iter().max_by(|a, b| a.2.strain().total_cmp(&b.2.strain()));
    // Noise of nothing has been shown to be none.
    let nothing = || Check::at_most("values", f64::NAN, 0.0);
    worst.map_or_else(nothing, |(name, count, check)| check.with(format!("{count} values of {name}{among}")))
}

#[cfg(test)]
mod tests {
    use super::super::statistics::gaussian::quantile;
    use super::*;

    /// As normal as can be.
    fn quantiles(count: usize) -> Vec<f64> {
        (0..count).map(|i| quantile((i as f64 + 0.5) / count as f64)).collect()
    }

    #[test]
    fn the_one_series_that_is_not_normal_is_named() {
        let checks = |small: Vec<f64>| normal("", &mut [("large", quantiles(100_000)), ("small", small)]);
        assert!(checks(quantiles(100)).iter().all(|check| check.passed));
        let half: Vec<f64> = quantiles(100).iter().map(|value| 0.5 * value).collect();
        let moved: Vec<f64> = quantiles(100).iter().map(|value| value + 0.7).collect();
        let sign: Vec<f64> = quantiles(100).iter().map(|value| value.signum()).collect();
        for (broken, which) in [(half, 0), (vec![0.0; 100], 0), (moved, 1), (sign, 2), (vec![f64::NAN; 100], 0)] {
            let check = &checks(broken)[which];
            assert!(!check.passed && check.detail == "100 values of small, the farthest of 2", "{check:?}");
        }
    }

    #[test]
    fn nothing_is_no_noise() {
        assert!(!deviation("a", &[]).passed);
        assert!(!deviation("a", &[("none", Moments::default())]).passed);
    }
}
