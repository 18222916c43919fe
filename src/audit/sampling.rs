//! The sampler: whether units enter batches as often, and as independently, as the claim says.

use super::AuditError;
use super::report::Check;
use super::statistics::moments::{Moments, deviations};
use crate::privacy::keys::RunKey;
use crate::privacy::plan::PrivacyPlan;
use crate::privacy::sampler::Sampler;

/// Steps that are drawn.
const STEPS: u64 = 2000;

/// The checks of sampling by `plan` among `units` units, each of which should enter each batch independently with
/// probability `rate`.
///
/// # Errors
/// Where the plan is for another number of units.
pub fn checks(plan: &PrivacyPlan, key: &RunKey, units: usize, rate: f64) -> Result<Vec<Check>, AuditError> {
    let sampler = Sampler::new(key, plan, units)?;
    let variance = rate * (1.0 - rate);
    let mut sizes = Moments::default();
    let mut entered = vec![0_u32; units];
    let (mut neighbours, mut successive) = (0.0, 0.0);
    let mut previous = vec![0.0; units];
    for step in 0..STEPS {
        let drawn = sampler.sample(step);
        sizes.add((drawn.len() as f64 - rate * units as f64) / (variance * units as f64).sqrt());
        let mut present = vec![-rate; units];
        for &unit in &drawn {
            entered[unit] += 1;
            present[unit] = 1.0 - rate;
        }
        neighbours += present.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>();
        successive += present.iter().zip(&previous).map(|(now, before)| now * before).sum::<f64>();
        previous = present;
    }
    let steps = STEPS as f64;
    let mut rates = Moments::default();
    rates.extend(entered.iter().map(|&count| (f64::from(count) - rate * steps) / (variance * steps).sqrt()));
    let scale = |pairs: f64| variance * pairs.sqrt();
    let margin = |count: f64| deviations(1) * (2.0 / count).sqrt();
    let drawn = format!("{STEPS} batches of {units} units at rate {rate}");
    Ok(vec![
        Check::near("mean batch size", sizes.mean() * steps.sqrt(), 0.0, deviations(1))
            .with(format!("in standard deviations from the expected size, {drawn}")),
        Check::near("variance of batch sizes / binomial", sizes.deviation().powi(2), 1.0, margin(steps)),
        Check::near("variance of a unit's inclusions / binomial", rates.deviation().powi(2), 1.0, margin(units as f64)),
        Check::near(
            "correlation of neighbouring units",
            neighbours / scale(steps * (units - 1) as f64),
            0.0,
            deviations(1),
        )
        .with("in standard deviations"),
        Check::near(
            "correlation of successive batches",
            successive / scale((steps - 1.0) * units as f64),
            0.0,
            deviations(1),
        )
        .with("in standard deviations"),
    ])
}
