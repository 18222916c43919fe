use super::*;

const ADDED: Sampling = Sampling::Poisson { rate: 0.25 };
const FIXED: Sampling = Sampling::FixedSize { units: 256, batch: 64 };

#[test]
fn keeps_every_number_through_json() {
    let spec = PlanSpec {
        sampling: Sampling::Poisson { rate: 93.0 / 60000.0 },
        public_units: Some(60000),
        expected_batch: 93.0,
        noise_multiplier: 1.0 / 3.0,
        noise_schedule: "exponential:factor=0.999".parse().unwrap(),
        ..example()
    };
    let plan = PrivacyPlan::new(spec.clone()).unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<PrivacyPlan>(&text).unwrap(), plan);
    assert_eq!(*plan, spec);
    assert_eq!(plan.divisor(), 93.0);
    assert_eq!(plan.multipliers(0).gradient, 1.0 / 3.0);
    assert_eq!(plan.multipliers(1).gradient, 1.0 / 3.0 * 0.999);
}

#[test]
fn reports_every_problem_at_once() {
    let error = PrivacyPlan::new(PlanSpec {
        sampling: Sampling::Poisson { rate: 1.5 },
        expected_batch: 0.0,
        noise_multiplier: f64::NAN,
        delta: None,
        ..example()
    })
    .unwrap_err();
    assert_eq!(error.problems.len(), 4, "{error}");
}

#[test]
fn refuses_each_number_out_of_range() {
    let rate = |rate| PlanSpec { sampling: Sampling::Poisson { rate }, ..example() };
    let fixed = PlanSpec { public_units: Some(256), adjacency: Adjacency::ReplaceOne, sampling: FIXED, ..example() };
    let rejected = [
        rate(0.0),
        rate(-0.1),
        rate(f64::NAN),
        PlanSpec { expected_batch: f64::INFINITY, ..example() },
        PlanSpec { noise_multiplier: -1.0, ..example() },
        PlanSpec { noise_multiplier: f64::INFINITY, ..example() },
        PlanSpec { delta: Some(0.0), ..example() },
        PlanSpec { delta: Some(1.0), ..example() },
        PlanSpec { delta: Some(f64::NAN), ..example() },
        PlanSpec { public_units: Some(255), ..example() },
        PlanSpec { public_units: Some(0), ..example() },
        PlanSpec { views: 0, ..example() },
        PlanSpec { non_private: true, ..example() },
        PlanSpec { non_private: true, delta: None, ..example() },
        PlanSpec { public_units: None, ..fixed.clone() },
        PlanSpec { adjacency: Adjacency::AddRemove, ..fixed.clone() },
        PlanSpec { sampling: Sampling::Shuffle { units: 256, batch: 257 }, ..fixed.clone() },
        PlanSpec { sampling: Sampling::TruncatedPoisson { rate: 0.25, units: 256, max_batch: 0 }, ..fixed.clone() },
    ];
    for spec in rejected {
        assert!(PrivacyPlan::new(spec.clone()).is_err(), "{spec:?}");
        let text = serde_json::to_string(&spec).unwrap();
        assert!(serde_json::from_str::<PrivacyPlan>(&text).is_err());
    }
    let accepted = [
        rate(1.0),
        PlanSpec { noise_multiplier: 0.0, ..example() },
        PlanSpec { public_units: Some(256), ..example() },
        PlanSpec { non_private: true, delta: None, noise_multiplier: 0.0, ..example() },
        PlanSpec { sampling: ADDED, ..fixed.clone() },
        fixed,
    ];
    for spec in accepted {
        assert!(PrivacyPlan::new(spec.clone()).is_ok(), "{spec:?}");
    }
}

#[test]
fn loud_counts_leave_nothing_for_the_gradient() {
    let with = |clip: &str, clip_groups| {
        let plan = PrivacyPlan::new(PlanSpec { clip: clip.parse().unwrap(), clip_groups, ..example() });
        plan.map(|plan| plan.multipliers(0).gradient)
    };
    // σ = 1.5; by default s = L/(10√K) = 6.4.
    let expected = (f64::powi(1.5, -2) - f64::powi(6.4, -2)).powf(-0.5);
    assert!((with("flat:1,adaptive", 1).unwrap() - expected).abs() < 1e-12);
    assert!(with("per-layer:1,adaptive", 4).unwrap() > expected);
    assert!(with("flat:1,adaptive,count-noise=1.5", 1).is_err());
    assert_eq!(with("flat:1", 1).unwrap(), 1.5);
}

#[test]
fn planned_steps_follow_the_schedule() {
    let schedule: Schedule = "table:0=2,2=1,4=3".parse().unwrap();
    let multipliers = |sampling, steps| -> Vec<(f64, u64)> {
        planned(0.5, &schedule, sampling, 0..steps).iter().map(|m| (m.noise_multiplier, m.steps)).collect()
    };
    assert_eq!(multipliers(ADDED, 7), [(1.0, 2), (0.5, 2), (1.5, 3)]);
    assert_eq!(multipliers(FIXED, 3), [(1.0, 2), (0.5, 1)]);
    let shuffle = Sampling::Shuffle { units: 10, batch: 3 };
    assert_eq!(multipliers(shuffle, 9), [(0.5, 2), (1.5, 1)]);
    assert_eq!(multipliers(shuffle, 10), [(0.5, 2), (1.5, 2)]);
    let rest = planned(0.5, &schedule, shuffle, 3..9);
    assert_eq!(rest.iter().map(|m| (m.noise_multiplier, m.steps)).collect::<Vec<_>>(), [(0.5, 1), (1.5, 1)]);
    assert_eq!(planned(0.5, &schedule, ADDED, 1..5).iter().map(|m| m.steps).collect::<Vec<_>>(), [1, 2, 1]);
    assert_eq!(planned(0.5, &schedule, ADDED, 5..5), []);
    assert_eq!(planned(0.5, &schedule, shuffle, 4..4), []);
}

#[test]
fn warns_of_a_delta_that_allows_publishing_a_record() {
    let plan = PrivacyPlan::new(example()).unwrap();
    assert_eq!(plan.warnings(1000), []);
    assert_eq!(plan.warnings(200_000), [PlanWarning::LargeDelta { delta: 1e-5 }]);
}
