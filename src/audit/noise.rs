//! The noise of a step: its size, its distribution, its independence, and what it is divided by.
//!
//! All of it is measured on what the compiled program releases, over the standard deviation `σS/L` that the claim asks
//! for. Bounds are those that a correct mechanism leaves with a probability of [`moments::ALARM`].

use super::AuditError;
use super::records::Records;
use super::report::Check;
use super::statistics::{moments, normality};
use super::subject::Rig;
use moments::{Moments, Products, deviations};

/// Values of noise to draw, if there are that few in a reasonable number of steps.
const VALUES: usize = 1 << 20;
/// The fewest and the most steps to draw them in.
const STEPS: [usize; 2] = [6, 48];
/// Elements of each half of a parameter whose correlations are looked at.
const WINDOW: usize = 2048;
/// How far the divisor may be from the expected batch size by rounding alone.
const DIVISOR: f64 = 1e-5;

/// The checks of the noise, with a `noisy` and a `quiet` rig of one subject. `std` is the claimed standard deviation of
/// what is released, and `divisor` the claimed divisor.
///
/// # Errors
/// When there is no noise, or a device fails.
pub fn checks(
    noisy: &mut Rig<'_>,
    quiet: &mut Rig<'_>,
    records: &Records,
    std: f64,
    divisor: f64,
) -> Result<Vec<Check>, AuditError> {
    let mut checks = empty(noisy, std)?;
    checks.extend(batches(noisy, quiet, records, std)?);
    checks.push(divided(quiet, records, divisor)?);
    Ok(checks)
}

/// Steps without records: all that they release is noise.
fn empty(noisy: &mut Rig<'_>, std: f64) -> Result<Vec<Check>, AuditError> {
    let elements: usize = noisy.sizes().iter().sum();
    let steps = (VALUES / elements.max(1)).clamp(STEPS[0], STEPS[1]);
    let mut sample = Vec::new();
    let mut windows: Vec<Vec<Vec<f32>>> = Vec::new();
    for step in 0..steps {
        let released = noisy.release(step as u64, &[])?;
        sample.extend(released.iter().map(|&value| f64::from(value) / std));
        windows.push(halves(&released, noisy.sizes()));
    }
    let mut moments = Moments::default();
    moments.extend(sample.iter().copied());
    let (count, margin) = (moments.count, deviations(1));
    let drawn = format!("{count} values of {steps} steps without records");
    let deviation =
        Check::near("standard deviation / σS", moments.deviation(), 1.0, margin / (2.0 * count as f64).sqrt());
    let mean = Check::near("mean / σS", moments.mean(), 0.0, margin / (count as f64).sqrt());
    let distance = normality::distance(&mut sample);
    let normal =
        Check::at_most("Kolmogorov–Smirnov distance from normal", distance, normality::bound(count, moments::ALARM));
    Ok(vec![deviation.with(drawn), mean, normal, between_tensors(&windows), between_steps(&windows)])
}

/// The first elements of both halves of every parameter.
fn halves(released: &[f32], sizes: &[usize]) -> Vec<Vec<f32>> {
    let mut halves = Vec::new();
    let mut rest = released;
    for &size in sizes {
        let (tensor, after) = rest.split_at(size);
        rest = after;
        let (first, second) = tensor.split_at(size.div_ceil(2));
        halves.extend([first, second].map(|half| half[..half.len().min(WINDOW)].to_vec()));
    }
    halves
}

/// The strongest correlation, over the same steps, of two halves of parameters.
fn between_tensors(steps: &[Vec<Vec<f32>>]) -> Check {
    let halves = steps.first().map_or(0, Vec::len);
    let pairs = (0..halves).flat_map(|a| (0..a).map(move |b| (b, a)));
    let products = pairs.map(|(a, b)| {
        let mut products = Products::default();
        steps.iter().for_each(|step| products.add(&step[a], &step[b]));
        products
    });
    strongest("correlation of tensors", products)
}

/// The strongest correlation of two steps.
fn between_steps(steps: &[Vec<Vec<f32>>]) -> Check {
    let pairs = (0..steps.len()).flat_map(|a| (0..a).map(move |b| (b, a)));
    let products = pairs.map(|(a, b)| {
        let mut products = Products::default();
        steps[a].iter().zip(&steps[b]).for_each(|(x, y)| products.add(x, y));
        products
    });
    strongest("correlation of steps", products)
}

fn strongest(name: &str, products: impl Iterator<Item = Products>) -> Check {
    // Fewer pairs of values say nothing about a correlation.
    let scores: Vec<f64> = products.filter(|p| p.count > 8).map(|products| products.score().abs()).collect();
    let strongest = scores.iter().copied().fold(0.0, f64::max);
    Check::at_most(name, strongest, deviations(scores.len()))
        .with(format!("in standard deviations, the strongest of {} pairs", scores.len()))
}

/// The noise of steps with records, which is what they release beyond what they release without noise: it must not
/// depend on how many records or physical batches there are.
fn batches(noisy: &mut Rig<'_>, quiet: &mut Rig<'_>, records: &Records, std: f64) -> Result<Vec<Check>, AuditError> {
    let elements: usize = noisy.sizes().iter().sum();
    let steps = (VALUES / 8 / elements.max(1)).clamp(STEPS[0] / 2, STEPS[1]) as u64;
    let all = &records.ordinary[..];
    let few = &all[..all.len().min(4)];
    let twice = [all, all].concat();
    let mut checks = Vec::new();
    for (what, batches) in [
        ("records of one physical batch", vec![few]),
        ("a physical batch for each record", few.chunks(1).collect()),
        ("as many records as expected", vec![all]),
        ("twice as many records", vec![&twice[..]]),
    ] {
        let mut moments = Moments::default();
        let without = quiet.release(0, &batches)?;
        for step in 0..steps {
            let with = noisy.release(step, &batches)?;
            moments.extend(with.iter().zip(&without).map(|(a, b)| (f64::from(*a) - f64::from(*b)) / std));
        }
        let margin = deviations(1) / (2.0 * moments.count as f64).sqrt();
        let check = Check::near("standard deviation / σS", moments.deviation(), 1.0, margin);
        checks.push(check.with(format!("{what}: {}", count(batches.iter().map(|b| b.len()).sum()))));
    }
    Ok(checks)
}

fn count(records: usize) -> String {
    format!("{records} record{}", if records == 1 { "" } else { "s" })
}

/// What the sum is divided by, in batches of all sizes.
fn divided(quiet: &mut Rig<'_>, records: &Records, divisor: f64) -> Result<Check, AuditError> {
    let all = &records.ordinary[..];
    let twice = [all, all].concat();
    let mut worst = 1.0_f64;
    for batch in [&all[..1], &all[..all.len().div_ceil(2)], all, &twice] {
        let (sum, released) = quiet.sum_and_release(0, &[batch])?;
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        let ratio = dot(&sum, &released) * divisor / dot(&sum, &sum);
        if ratio.is_nan() || (ratio - 1.0).abs() > (worst - 1.0).abs() {
            worst = ratio;
        }
    }
    Ok(Check::near("expected batch size / divisor", worst, 1.0, DIVISOR)
        .with("the farthest, in batches of 1 to twice as many"))
}
