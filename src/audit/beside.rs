//! What a step releases beside the gradient: noisy counts, which steer adaptive clip bounds, and noisy estimates of the
//! batch size and the loss. Each is a Gaussian mechanism with a sensitivity of its own, and all of them with the gradient
//! must cost no more than the step is charged for.

use super::AuditError;
use super::claim::{Built, Claim};
use super::noise::strongest;
use super::records::Records;
use super::report::Check;
use super::statistics::chi_square;
use super::statistics::moments::{ALARM, Moments, Products};
use super::subject::{Rig, Step};
use super::{Settings, series};
use crate::privacy::ClipRule;
use crate::privacy::adjacency::Unit;
use crate::privacy::clipping::{Adaptive, ClipFunction, InvalidClipRule, count_sensitivity};
use crate::privacy::release::Estimates;

/// Values of noise on the gradient to draw, if that takes a reasonable number of steps.
const VALUES: usize = 1 << 22;
/// The fewest and the most steps to draw them in.
const STEPS: [usize; 2] = [32, 256];
/// How much more than its sensitivity a sum may change by rounding alone.
const ROUNDING: f64 = 1e-9;
/// The names of the estimates.
const ESTIMATES: [&str; Estimates::COUNT] = ["the batch size", "the sum of losses"];

/// `clip` with bounds that adapt: it as it is where they do, else by counts that take a tenth of a step's privacy. None
/// where such a rule's program would be another.
///
/// # Errors
/// Where σ is no number to divide.
pub fn adaptive(clip: &ClipRule, noise_multiplier: f64) -> Result<Option<ClipRule>, InvalidClipRule> {
    if clip.adaptive().is_some() {
        return Ok(Some(clip.clone()));
    }
    if clip.function() != ClipFunction::Threshold {
        return Ok(None);
    }
    let adaptive = Adaptive { count_noise: Some(noise_multiplier * 10.0_f64.sqrt()), ..Adaptive::default() };
    ClipRule::new(clip.scope().clone(), clip.function(), Some(adaptive)).map(Some)
}

/// What is claimed of steps by the rule `clip` that release estimates too.
///
/// # Errors
/// Where the counts leave nothing for the gradient.
pub(super) fn claim(clip: ClipRule, built: &Built, settings: &Settings) -> Result<Claim, AuditError> {
    Claim::new(clip, built, Unit::Record, settings)?.with_estimates()
}

/// The checks of a subject by a `noisy` and a `quiet` rig of it, against what is claimed.
///
/// # Errors
/// When there is no noise, or a device fails.
pub(super) fn checks(
    noisy: &mut Rig<'_>,
    quiet: &mut Rig<'_>,
    records: &Records,
    claim: &Claim,
) -> Result<Vec<Check>, AuditError> {
    let parts = Parts::of(claim);
    let mut checks = empty(noisy, claim, &parts)?;
    checks.extend(moved(quiet, records, &parts)?);
    Ok(checks)
}

/// What is released beside the gradient: names, sensitivities, and the shares that are claimed of what a step costs.
struct Parts {
    names: Vec<String>,
    /// The number of counts, which come first.
    counts: usize,
    /// What a unit may add to each; to all counts together √K as much.
    sensitivities: Vec<f64>,
    /// The claimed standard deviations.
    deviations: Vec<f64>,
}

impl Parts {
    fn of(claim: &Claim) -> Parts {
        let multipliers = claim.plan.multipliers(0);
        let counts = if multipliers.counts.is_some() { claim.groups.len() } else { 0 };
        let of_count = multipliers.counts.map_or(0.0, |multiplier| multiplier * count_sensitivity(counts));
        let estimates = claim.plan.estimates.map_or([0.0; Estimates::COUNT], |estimates| estimates.sensitivities());
        let of_estimate = multipliers.estimate.unwrap_or(0.0);
        let names = claim.groups[..counts].iter().map(|group| format!("the count of {}", group.name));
        Parts {
            names: names.chain(ESTIMATES.map(str::to_owned)).collect(),
            counts,
            sensitivities: vec![count_sensitivity(1); counts].into_iter().chain(estimates).collect(),
            deviations: vec![of_count; counts]
                .into_iter()
                .chain(estimates.map(|sensitivity| sensitivity * of_estimate))
                .collect(),
        }
    }

    /// What `step` released.
    fn values(step: &Step) -> Vec<f64> {
        let counts = step.released.counts.iter().flatten();
        counts.chain(step.released.estimates.iter().flatten()).copied().collect()
    }

    fn over<'a>(&'a self, values: &[f64], scale: &[f64]) -> Vec<(&'a str, f64)> {
        let scaled = values.iter().zip(scale).map(|(value, scale)| value / scale);
        self.names.iter().map(String::as_str).zip(scaled.chain(std::iter::repeat(f64::NAN))).collect()
    }
}

/// Steps without records: all that they release is noise.
fn empty(noisy: &mut Rig<'_>, claim: &Claim, parts: &Parts) -> Result<Vec<Check>, AuditError> {
    let sizes = noisy.sizes().to_vec();
    let elements = sizes.iter().sum::<usize>().max(1);
    let steps = (VALUES / elements).clamp(STEPS[0], STEPS[1]);
    let mut series: Vec<(&str, Vec<f64>)> = parts.names.iter().map(|name| (&**name, Vec::new())).collect();
    let mut gradient = Moments::default();
    let std = claim.deviation();
    // The element of each tensor that the noise of each part would be if it came from the same stream.
    let mut same: Vec<Vec<Vec<f32>>> = vec![vec![Vec::new(); sizes.len()]; parts.names.len()];
    for step in 0..steps {
        let found = noisy.step(step as u64, &[])?;
        for ((_, values), (_, value)) in series.iter_mut().zip(parts.over(&Parts::values(&found), &parts.deviations)) {
            values.push(value);
        }
        gradient.extend(found.gradient.iter().map(|&value| f64::from(value) / std));
        let mut start = 0;
        for (tensor, &size) in sizes.iter().enumerate().filter(|(_, size)| **size > 0) {
            for (part, same) in same.iter_mut().enumerate() {
                let at = if part < parts.counts { part } else { part - parts.counts };
                same[tensor].push(found.gradient[start + at.min(size - 1)]);
            }
            start += size;
        }
    }
    let narrow: Vec<Vec<f32>> =
        series.iter().map(|(_, values)| values.iter().map(|&value| value as f32).collect()).collect();
    let tensors = narrow.iter().zip(&same).flat_map(|(part, same)| same.iter().map(move |tensor| (part, tensor)));
    let each_other = (0..narrow.len()).flat_map(|a| (0..a).map(move |b| (a, b))).map(|(a, b)| (&narrow[a], &narrow[b]));
    let products = tensors.chain(each_other).map(|(a, b)| {
        let mut products = Products::default();
        products.add(a, b);
        products
    });
    let independent = strongest("correlation with the gradient and each other", products);
    let spent = spent(&gradient, &series, claim, parts);
    let mut checks = series::normal("", &mut series);
    checks.extend([independent, spent]);
    Ok(checks)
}

/// What all parts cost together, by the noise that they were found to have, over what the step is charged for.
fn spent(gradient: &Moments, series: &[(&str, Vec<f64>)], claim: &Claim, parts: &Parts) -> Check {
    let multipliers = parts.deviations.iter().zip(&parts.sensitivities).map(|(std, most)| std / most);
    let moments = series.iter().map(|(_, values)| values.iter().copied().collect());
    let all: Vec<(Moments, f64)> = [(*gradient, claim.plan.multipliers(0).gradient)]
        .into_iter()
        .chain(moments.zip(multipliers))
        .map(|(moments, multiplier)| (moments, (claim.plan.noise_multiplier / multiplier).powi(2)))
        .collect();
    let found = all.iter().map(|(moments, share)| share / moments.deviation().powi(2)).sum();
    // How much more than its share a part may seem to cost by chance.
    let chance = all.iter().map(|(moments, share)| {
        let [least, _] = chi_square::root_mean_square(moments.count, ALARM / all.len() as f64);
        share * (least.powi(-2) - 1.0)
    });
    Check::at_most("what all parts cost / what is charged", found, 1.0 + chance.sum::<f64>())
        .with("σ² Σ (sensitivity / standard deviation)²")
}

/// What each adversarial record adds, without noise.
fn moved(quiet: &mut Rig<'_>, records: &Records, parts: &Parts) -> Result<Vec<Check>, AuditError> {
    let others = &records.ordinary[..records.ordinary.len().min(quiet.rows() - 1)];
    let mut farthest: [(f64, String); 2] = Default::default();
    let nobody = Parts::values(&quiet.step(0, &[])?);
    let beside = Parts::values(&quiet.step(0, &[others])?);
    for &(kind, record) in &records.adversaries {
        let with = [others, &[record]].concat();
        for (batch, without) in [(&[record][..], &nobody), (&with, &beside)] {
            let with = Parts::values(&quiet.step(0, &[batch])?);
            let change: Vec<f64> = with.iter().zip(without).map(|(with, without)| with - without).collect();
            let over = parts.over(&change, &parts.sensitivities);
            let counts = over[..parts.counts].iter().map(|(_, value)| value * value).sum::<f64>();
            let counts = (counts / parts.counts.max(1) as f64).sqrt();
            let estimates = over[parts.counts..].iter().map(|(_, value)| value.abs());
            let estimates =
                estimates.fold(0.0, |most: f64, value| if value > most || value.is_nan() { value } else { most });
            for (most, found) in farthest.iter_mut().zip([counts, estimates]) {
                if found.is_nan() || found > most.0 {
                    *most = (found, kind.to_owned());
                }
            }
        }
    }
    let [counts, estimates] = farthest;
    Ok(vec![
        Check::at_most("change of counts / (√K/2)", counts.0, 1.0 + ROUNDING).with(counts.1),
        Check::at_most("change of an estimate / its sensitivity", estimates.0, 1.0 + ROUNDING).with(estimates.1),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::records::Records;
    use super::super::subject::{Bench, Noise, Subject};
    use super::super::tests::{KINDS, artifact_of, settings};
    use super::*;
    use crate::device::cpu::Cpu;
    use crate::options::NoiseKind;
    use crate::privacy::keys::RunKey;
    use crate::privacy::plan::{PlanSpec, PrivacyPlan};

    /// The names of the checks that fail where another plan is followed than is claimed.
    fn failing(noise: NoiseKind, change: impl FnOnce(&mut PlanSpec)) -> Vec<String> {
        let (artifact, settings) = (artifact_of("mlp", "cross-entropy", noise), settings());
        let records = Records::new(&artifact.manifest.schema, 4).unwrap();
        let clip = adaptive(&artifact.manifest.clip, settings.noise_multiplier).unwrap().unwrap();
        let claim = claim(clip, &Built::of(&artifact), &settings).unwrap();
        let mut spec = PlanSpec::from(claim.plan.clone());
        change(&mut spec);
        let plan = PrivacyPlan::new(spec).unwrap();
        let subject = Subject { plan, ..claim.of(artifact.program.clone()) };
        let bench = |noise| Bench::new(&Cpu, &artifact, &records, &subject, noise, RunKey::insecure(5)).unwrap();
        let (on, off) = (bench(Noise::On), bench(Noise::Off));
        let found = checks(&mut on.rig(4).unwrap(), &mut off.rig(4).unwrap(), &records, &claim).unwrap();
        assert_eq!(found.len(), 7);
        found.into_iter().filter(|check| !check.passed).map(|check| check.name).collect()
    }

    #[test]
    fn what_is_claimed_passes() {
        for noise in KINDS {
            assert_eq!(failing(noise, |_| ()), [""; 0]);
        }
    }

    #[test]
    fn quiet_counts_and_estimates_fail() {
        let spent = "what all parts cost / what is charged".to_owned();
        let half_the_counts_noise = failing(NoiseKind::Exact, |spec| {
            let half = Adaptive { count_noise: Some(1.6), ..Adaptive::default() };
            spec.clip = ClipRule::new(spec.clip.scope().clone(), ClipFunction::Threshold, Some(half)).unwrap();
        });
        assert!(half_the_counts_noise[0].starts_with("standard deviation"), "{half_the_counts_noise:?}");
        let large_share =
            failing(NoiseKind::Exact, |spec| spec.estimates = Some(Estimates { share: 0.5, ..Estimates::default() }));
        assert!(large_share[0].starts_with("standard deviation"), "{large_share:?}");
        let half = failing(NoiseKind::Exact, |spec| spec.noise_multiplier *= 0.5);
        assert!(half.contains(&spent), "{half:?}");
    }

    #[test]
    fn estimates_of_a_larger_bound_fail() {
        let loud = failing(NoiseKind::Exact, |spec| {
            spec.estimates = Some(Estimates { loss_bound: 100.0, ..Estimates::default() })
        });
        assert!(loud.contains(&"change of an estimate / its sensitivity".to_owned()), "{loud:?}");
    }
}
