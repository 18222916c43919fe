//! The noise of a step: its size, its distribution, its independence, and what it is divided by.
//!
//! All of it is measured on what the compiled program releases, over the standard deviation `σS/L` that the claim asks
//! for, in every tensor by itself: one that goes without noise gives its gradient away, however small it is. Bounds are
//! those that a correct mechanism leaves with a probability of [`moments::ALARM`].

use std::f64::consts::PI;

use super::AuditError;
use super::claim::Claim;
use super::records::Records;
use super::report::Check;
use super::series;
use super::statistics::moments;
use super::subject::Rig;
use moments::{ALARM, Moments, Products, deviations};

/// Values of noise to draw, if there are that few in a reasonable number of steps.
const VALUES: usize = 1 << 20;
/// Values of the smallest tensor to draw, if that takes no more than four times [`VALUES`] of all.
const OF_SMALLEST: usize = 512;
/// The fewest and the most steps to draw them in.
const STEPS: [usize; 2] = [6, 512];
/// Steps whose correlations are looked at.
const CORRELATED: usize = 48;
/// Elements of each half of a parameter whose correlations are looked at.
const WINDOW: usize = 2048;
/// How often an element may be what it was in the step before: one float, or one integer of a fine grid, in some ten million is
/// by chance.
const REPEATS: u8 = 2;
/// How far the divisor may be from the expected batch size by rounding alone.
const DIVISOR: f64 = 1e-5;

/// The checks of the noise, with a `noisy` and a `quiet` rig of one subject, against what is claimed.
///
/// # Errors
/// When there is no noise, or a device fails.
pub(super) fn checks(
    noisy: &mut Rig<'_>,
    quiet: &mut Rig<'_>,
    records: &Records,
    claim: &Claim,
) -> Result<Vec<Check>, AuditError> {
    let (std, divisor) = (claim.deviation(), claim.plan.divisor());
    let mut checks = empty(noisy, claim)?;
    let all = &records.ordinary[..];
    let few = &all[..all.len().min(4)];
    let twice = [all, all].concat();
    for (what, batches) in [
        ("one physical batch", vec![few]),
        ("a physical batch for each record", few.chunks(1).collect()),
        ("as many records as expected", vec![all]),
        ("twice as many records", vec![&twice[..]]),
    ] {
        checks.push(with_records(noisy, quiet, std, what, &batches)?);
    }
    checks.push(divided(quiet, records, divisor)?);
    Ok(checks)
}

/// The steps that show enough of the noise of tensors of `sizes` elements.
pub fn steps(sizes: &[usize]) -> usize {
    let elements = sizes.iter().sum::<usize>().max(1);
    let smallest = sizes.iter().copied().filter(|&size| size > 0).min().unwrap_or(1);
    let for_smallest = OF_SMALLEST.div_ceil(smallest).min(4 * VALUES / elements);
    (VALUES / elements).min(CORRELATED).max(for_smallest).clamp(STEPS[0], STEPS[1])
}

/// Steps without records: all that they release is noise.
fn empty(noisy: &mut Rig<'_>, claim: &Claim) -> Result<Vec<Check>, AuditError> {
    let std = claim.deviation();
    let (names, sizes) = (noisy.parameters().to_vec(), noisy.sizes().to_vec());
    let steps = steps(&sizes);
    let mut series: Vec<(&str, Vec<f64>)> = names.iter().map(|name| (&**name, Vec::new())).collect();
    let mut windows: Vec<Vec<Vec<f32>>> = Vec::new();
    let mut still = Still::new(claim, sizes.iter().sum(), steps)?;
    for step in 0..steps {
        let released = noisy.release(step as u64, &[])?;
        for (tensor, (_, values)) in tensors(&released, &sizes).zip(&mut series) {
            values.extend(tensor.iter().map(|&value| f64::from(value) / std));
        }
        if step < CORRELATED {
            windows.push(halves(&released, &sizes));
        }
        still.add(released);
    }
    let mut checks = series::normal("", &mut series);
    checks.push(still.check(&names, &sizes).with_default(format!("in {steps} steps without records")));
    checks.extend([between_tensors(&windows), between_steps(&windows)]);
    Ok(checks)
}

/// The parts of a gradient that lie end to end.
fn tensors<'a>(gradient: &'a [f32], sizes: &[usize]) -> impl Iterator<Item = &'a [f32]> {
    sizes.iter().scan(gradient, |rest, &size| {
        let (tensor, after) = rest.split_at(size);
        *rest = after;
        Some(tensor)
    })
}

/// Elements that have no noise of their own: what a kernel never reaches is 0, or what it was.
#[derive(Default)]
struct Still {
    previous: Vec<f32>,
    /// How often each element was what it was in the step before, or 0. A float that ever is 0 is past all bounds.
    repeats: Vec<u8>,
    /// How often it may be.
    most: u8,
    /// Whether noise is of integers, of which 0 is one.
    exact: bool,
}

impl Still {
    /// For `steps` steps of `elements` elements of what `claim` says.
    fn new(claim: &Claim, elements: usize, steps: usize) -> Result<Still, AuditError> {
        if claim.plan.grid.is_none() {
            return Ok(Still { most: REPEATS, ..Still::default() });
        }
        // Two integers of the scale s are the same with a probability of at most 1/(2s√π), and one is 0 with 1/(s√2π). Of r + 1
        // such events in n steps the probability is at most (n p)^(r+1)/(r+1)!, of any of the elements that many times as much.
        let least = claim.noise_scales()?.iter().map(|scale| scale.to_f64()).fold(f64::INFINITY, f64::min);
        let mean = steps as f64 * (1.0 / (2.0 * PI.sqrt()) + 1.0 / (2.0 * PI).sqrt()) / least;
        let (mut most, mut chance) = (0, elements as f64 * mean);
        while chance > ALARM && most < u8::MAX - 1 {
            most += 1;
            chance *= mean / f64::from(most + 1);
        }
        Ok(Still { most, exact: true, ..Still::default() })
    }

    fn add(&mut self, released: Vec<f32>) {
        self.repeats.resize(released.len(), 0);
        let previous = self.previous.iter().map(Some).chain(std::iter::repeat(None));
        for ((now, before), repeats) in released.iter().zip(previous).zip(&mut self.repeats) {
            if *now == 0.0 {
                *repeats = if self.exact { repeats.saturating_add(1) } else { u8::MAX };
            } else if before.is_some_and(|before| before.to_bits() == now.to_bits()) {
                *repeats = repeats.saturating_add(1);
            }
        }
        self.previous = released;
    }

    fn check(&self, names: &[String], sizes: &[usize]) -> Check {
        let still = |repeats: &u8| *repeats > self.most;
        let count = self.repeats.iter().filter(|repeats| still(repeats)).count();
        let check = Check::at_most("elements that are 0 or stay as they are", count as f64, 0.0);
        let mut at = self.repeats.iter().position(still).unwrap_or(usize::MAX);
        for (name, &size) in names.iter().zip(sizes) {
            if at < size {
                return check.with(format!("element {at} of {name} the first"));
            }
            at = at.saturating_sub(size);
        }
        check
    }
}

/// The first elements of both halves of every parameter.
fn halves(released: &[f32], sizes: &[usize]) -> Vec<Vec<f32>> {
    let of = |tensor: &[f32]| {
        let (first, second) = tensor.split_at(tensor.len().div_ceil(2));
        [first, second].map(|half| half[..half.len().min(WINDOW)].to_vec())
    };
    tensors(released, sizes).flat_map(of).collect()
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

/// The strongest of correlations of what should be independent.
pub fn strongest(name: &str, products: impl Iterator<Item = Products>) -> Check {
    let scores: Vec<f64> = products.map(|products| products.score()).collect();
    let strongest = scores.iter().copied().fold(0.0, f64::max);
    Check::at_most(name, strongest, deviations(scores.len()))
        .with(format!("in standard deviations, the strongest of {} pairs", scores.len()))
}

/// The noise of steps with records, which is what they release beyond what they release without noise: it must not
/// depend on how many records or physical batches there are.
///
/// # Errors
/// When there is no noise, or a device fails.
pub fn with_records(
    noisy: &mut Rig<'_>,
    quiet: &mut Rig<'_>,
    std: f64,
    what: &str,
    batches: &[&[usize]],
) -> Result<Check, AuditError> {
    let (names, sizes) = (noisy.parameters().to_vec(), noisy.sizes().to_vec());
    let elements: usize = sizes.iter().sum();
    let steps = (VALUES / 8 / elements.max(1)).clamp(STEPS[0] / 2, CORRELATED) as u64;
    let mut moments: Vec<(&str, Moments)> = names.iter().map(|name| (&**name, Moments::default())).collect();
    let without = quiet.release(0, batches)?;
    for step in 0..steps {
        let with = noisy.release(step, batches)?;
        let both = tensors(&with, &sizes).zip(tensors(&without, &sizes));
        for ((with, without), (_, moments)) in both.zip(&mut moments) {
            moments.extend(with.iter().zip(without).map(|(a, b)| (f64::from(*a) - f64::from(*b)) / std));
        }
    }
    Ok(series::deviation(&format!("standard deviation / σS, {what}"), &moments))
}

/// What the sum is divided by, in batches of all sizes.
///
/// # Errors
/// When the device fails.
pub fn divided(quiet: &mut Rig<'_>, records: &Records, divisor: f64) -> Result<Check, AuditError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_tensors_show_enough_values_and_large_models_take_few_steps() {
        assert_eq!(steps(&[20_000, 10]), 52);
        assert_eq!(steps(&[100, 1]), 512);
        assert_eq!(steps(&[10_000_000, 10]), 6);
        assert_eq!(steps(&[1 << 17, 10]), 31);
        assert_eq!(steps(&[]), 512);
    }

    #[test]
    fn one_element_that_stays_is_found() {
        let found = |tail: fn(usize) -> f32| {
            let mut still = Still { most: REPEATS, ..Still::default() };
            (0..6).for_each(|step| still.add(vec![step as f32 + 1.0, 0.5 - step as f32, tail(step)]));
            still.check(&["a".to_owned(), "b".to_owned()], &[2, 1])
        };
        assert!(found(|step| step as f32 + 3.0).passed);
        assert!(found(|step| if step < 2 { 7.0 } else { 7.0 + step as f32 }).passed);
        for tail in [|_| 7.0, |step| if step == 3 { 0.0 } else { 1.0 + step as f32 }] {
            let check = found(tail);
            assert!(!check.passed && check.figure == 1.0 && check.detail == "element 0 of b the first", "{check:?}");
        }
    }
}
