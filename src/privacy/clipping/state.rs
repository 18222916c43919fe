//! The bounds during a run.

use serde::{Deserialize, Serialize};

use super::{Adaptive, ClipFunction, ClipGroup, ClipRule, LARGEST_BOUND, SMALLEST_BOUND, l2};

/// The current bounds of the clip groups of a model, which checkpoints keep.
///
/// An adaptive rule moves them by noisy counts (Andrew et al. 2021, Algorithm 1): each unit adds `b − ½` to the count of
/// each group, `b` being 1 where its norm is at most the bound and 0 where it is more or not finite, so that a unit moves
/// all counts together by [`super::count_sensitivity`] at most. [`ClipState::count`] sums them over a logical batch, the
/// caller adds the noise, and [`ClipState::update`] moves the bounds. The counts are divided by the *expected* batch
/// size, so that nothing depends on how many units came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipState {
    bounds: Vec<f64>,
    function: ClipFunction,
    adaptive: Option<Adaptive>,
}

impl ClipState {
    /// The state before the first step.
    pub fn new(rule: &ClipRule, groups: &[ClipGroup]) -> ClipState {
        let bounds = groups.iter().map(|group| group.bound).collect();
        ClipState { bounds, function: rule.function(), adaptive: rule.adaptive() }
    }

    /// Number of clip groups, K.
    pub fn groups(&self) -> usize {
        self.bounds.len()
    }

    /// How the bounds move, if they do.
    pub fn adaptive(&self) -> Option<Adaptive> {
        self.adaptive
    }

    /// The bound of each group times the clip schedule's factor, as devices take it: rounded down.
    pub fn bounds(&self, scale: f64) -> Vec<f32> {
        self.scaled(scale).iter().map(|&bound| rounded_down(bound)).collect()
    }

    /// The L2 sensitivity of the sum of gradients clipped to [`ClipState::bounds`] to adding or removing one unit.
    pub fn sensitivity(&self, scale: f64) -> f64 {
        l2(&self.scaled(scale))
    }

    /// The bound of each group times the clip schedule's factor.
    pub fn scaled(&self, scale: f64) -> Vec<f64> {
        self.bounds.iter().map(|bound| within_range(bound * scale)).collect()
    }

    /// Whether a unit whose norms in the K groups are `norms` is clipped anywhere.
    pub fn clips(&self, norms: &[f32], scale: f64) -> bool {
        self.bounds(scale).iter().zip(norms).any(|(&bound, &norm)| self.function.factor(norm, bound) < 1.0)
    }

    /// Adds to `counts`, one for each group, the terms of the units whose norms are `norms`, K a unit. A clip schedule
    /// does not enter: the quantile is that of the unscaled bound.
    pub fn count(&self, norms: &[f32], counts: &mut [f64]) {
        for unit in norms.chunks_exact(self.groups().max(1)) {
            for ((&norm, &bound), count) in unit.iter().zip(&self.bounds).zip(counts.iter_mut()) {
                *count += if f64::from(norm) <= bound { 0.5 } else { -0.5 };
            }
        }
    }

    /// Moves the bounds by the noisy counts of a step; does nothing for a rule with constant bounds.
    pub fn update(&mut self, noisy_counts: &[f64], expected_batch: f64) {
        let Some(Adaptive { quantile, rate, .. }) = self.adaptive else { return };
        for (bound, count) in self.bounds.iter_mut().zip(noisy_counts) {
            let below = count / expected_batch + 0.5;
            *bound = within_range(*bound * (-rate * (below - quantile)).exp());
        }
    }
}

/// The nearest bound that may be; the smallest for a NaN.
fn within_range(bound: f64) -> f64 {
    if bound >= SMALLEST_BOUND { bound.min(LARGEST_BOUND) } else { SMALLEST_BOUND }
}

/// The largest float that is at most `x`, a number in the range of floats.
fn rounded_down(x: f64) -> f32 {
    let nearest = x as f32;
    if f64::from(nearest) > x { nearest.next_down() } else { nearest }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state(rule: &str, names: &[&str]) -> ClipState {
        let rule: ClipRule = rule.parse().unwrap();
        ClipState::new(&rule, &rule.resolve(names.iter().copied()).unwrap())
    }

    #[test]
    fn constant_bounds_stay() {
        let mut flat = state("flat:0.5", &["a"]);
        flat.update(&[1e6], 10.0);
        assert_eq!(flat.bounds(1.0), [0.5]);
        assert_eq!(flat.bounds(0.5), [0.25]);
        assert_eq!(flat.sensitivity(0.5), 0.25);
    }

    #[test]
    fn bounds_follow_the_counts() {
        let mut adaptive = state("flat:2,adaptive,quantile=0.75,rate=0.2", &["a"]);
        let mut counts = [0.0];
        adaptive.count(&[1.0, 2.0, 2.1, f32::NAN, f32::INFINITY, 0.0], &mut counts);
        assert_eq!(counts, [0.0]);
        adaptive.count(&[1.0, 1.0, 1.0], &mut counts);
        assert_eq!(counts, [1.5]);
        adaptive.update(&counts, 10.0);
        // 1.5/10 + 1/2 = 0.65 of the expected units were below, 0.1 too few.
        assert!((adaptive.sensitivity(1.0) - 2.0 * 0.02f64.exp()).abs() < 1e-12);
        let json = serde_json::to_string(&adaptive).unwrap();
        assert_eq!(serde_json::from_str::<ClipState>(&json).unwrap(), adaptive);
    }

    #[test]
    fn groups_are_counted_apart() {
        let mut adaptive = state("per-group:a=1;b=10,adaptive", &["a", "b"]);
        let mut counts = [0.0; 2];
        adaptive.count(&[2.0, 2.0, 0.5, 20.0, 2.0, 2.0], &mut counts);
        assert_eq!(counts, [-0.5, 0.5]);
        adaptive.update(&[-2.0, 2.0], 4.0);
        let bounds = adaptive.bounds(1.0);
        assert!(bounds[0] > 1.0 && bounds[1] < 10.0, "{bounds:?}");
        assert!(adaptive.clips(&[0.0, 10.0], 1.0) && !adaptive.clips(&[0.0, 10.0], 2.0));
    }

    #[test]
    fn bounds_find_the_quantile() {
        let norms: Vec<f32> = (1..=100).map(|i| i as f32).collect();
        let mut adaptive = state("flat:1,adaptive,quantile=0.9", &["a"]);
        for _ in 0..500 {
            let mut counts = [0.0];
            adaptive.count(&norms, &mut counts);
            adaptive.update(&counts, 100.0);
        }
        let bound = adaptive.sensitivity(1.0);
        assert!((89.0..=92.0).contains(&bound), "{bound}");
    }

    proptest! {
        #[test]
        fn devices_never_take_more_than_the_sensitivity(
            bounds in prop::collection::vec(1e-12..1e30f64, 1..5), small in 1e-3..2.0f64, scale in 1e-3..10.0f64,
            counts in prop::collection::vec(-1e9..1e9f64, 5),
        ) {
            let text: Vec<String> = bounds.iter().enumerate().map(|(k, b)| format!("p{k}={:?}", b.min(small))).collect();
            let names: Vec<String> = (0..bounds.len()).map(|k| format!("p{k}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut state = state(&format!("per-group:{},adaptive", text.join(";")), &names);
            for _ in 0..2 {
                let device = state.bounds(scale);
                prop_assert!(device.iter().all(|&bound| bound > 0.0 && bound.is_finite()));
                let norm = l2(&device.iter().map(|&bound| f64::from(bound)).collect::<Vec<_>>());
                prop_assert!(norm <= state.sensitivity(scale));
                prop_assert!(norm >= state.sensitivity(scale) * (1.0 - 1e-6));
                state.update(&counts, 3.0);
            }
        }
    }
}
