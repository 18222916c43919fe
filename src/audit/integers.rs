//! The noise of integer sums, to the last bit: the integers that a step adds, and what is released of them with the sum.
//!
//! What a step releases is the sum of integers, turned into floats. So the low bits of these show nothing of the records if the
//! integers of the noise are those of the discrete Gaussian, low bits and tails included, and if nothing but the conversion
//! comes after.

use super::AuditError;
use super::claim::Claim;
use super::noise::steps;
use super::records::Records;
use super::report::Check;
use super::series::farthest;
use super::statistics::gaussian::{cdf, quantile};
use super::statistics::moments::ALARM;
use super::statistics::{binomial, chi_square};
use super::subject::Rig;
use crate::privacy::discrete::Scale;

/// How many values there are of each class at least.
const OF_CLASS: usize = 500;
/// How many values there are of each residue at least.
const OF_RESIDUE: usize = 8;
/// Most classes of the integers of a tensor.
const CLASSES: usize = 64;
/// What residues are looked at of.
const MODULI: [i64; 7] = [2, 3, 5, 7, 16, 61, 256];
/// In how many steps a scale must hold a modulus, for residues that are equally likely to every digit of a double.
const FLAT: f64 = 4.0;
/// Where the tails begin, in standard deviations.
const TAILS: [f64; 2] = [3.0, 4.0];
/// How far what is released may be from the integers by the roundings of their conversion.
const ROUNDING: f64 = 1e-6;

/// The checks of the integer noise of a `noisy` rig, against what is claimed.
///
/// # Errors
/// When there is no noise, or a device fails.
pub(super) fn checks(noisy: &mut Rig<'_>, records: &Records, claim: &Claim) -> Result<Vec<Check>, AuditError> {
    let (names, sizes) = (noisy.parameters().to_vec(), noisy.sizes().to_vec());
    let scales = claim.noise_scales()?;
    let scale_of = |name: &String| claim.group(name).and_then(|group| scales.get(group).copied());
    let mut drawn: Vec<(&str, Option<Scale>, Vec<i64>)> =
        names.iter().map(|name| (&**name, scale_of(name), Vec::new())).collect();
    let mut converted = (0.0, String::new());
    let all = &records.ordinary[..];
    for step in 0..steps(&sizes) {
        let batches: &[&[usize]] = if step < 2 { &[all] } else { &[] };
        let (sum, released) = noisy.integers_and_release(step as u64, batches)?;
        let noise = noisy.noise()?;
        let mut start = 0;
        for ((name, _, values), &size) in drawn.iter_mut().zip(&sizes) {
            let part = start..(start + size).min(noise.len());
            let noise = &noise[part.clone()];
            let sums = sum[part.clone()].iter().zip(noise).map(|(sum, noise)| sum.0.wrapping_add(*noise));
            let unit = claim.group(name).map_or(f64::NAN, |group| claim.units()[group]) / claim.plan.divisor();
            for (sum, released) in sums.zip(&released[part]) {
                let (expected, released) = (sum as f64 * unit, f64::from(*released));
                let apart = if released == expected { 0.0 } else { (released / expected - 1.0).abs() };
                if apart.is_nan() || apart > converted.0 {
                    converted = (if apart.is_nan() { f64::INFINITY } else { apart }, (*name).to_owned());
                }
            }
            values.extend(noise);
            start += size;
        }
    }
    let (apart, farthest_of) = converted;
    let mut checks = vec![
        Check::at_most("released, from the integers of sum and noise, relative", apart, ROUNDING).with(farthest_of),
        of_classes(&drawn),
        of_residues(&drawn),
    ];
    checks.extend(TAILS.map(|tail| of_tails(&drawn, tail)));
    Ok(checks)
}

/// Whether the integers of each tensor are of the discrete Gaussian, by classes that are about equally likely.
fn of_classes(drawn: &[(&str, Option<Scale>, Vec<i64>)]) -> Check {
    let name = "χ² of the noise's integers";
    let tested = drawn.iter().filter(|(_, _, values)| values.len() >= 2 * OF_CLASS).count();
    farthest(drawn.iter().map(|(tensor, scale, values)| {
        let Some(scale) = scale else { return (*tensor, values.len(), Check::at_most(name, f64::NAN, 0.0)) };
        let classes = (values.len() / OF_CLASS).min(CLASSES);
        if classes < 2 {
            return (*tensor, 0, Check::shown(name, 0.0));
        }
        let s = scale.to_f64();
        let edges: Vec<i64> = (1..classes).map(|k| (s * quantile(k as f64 / classes as f64)).ceil() as i64).collect();
        // The sum of the probabilities below an integer is the integral up to half a unit before it, but for a share of 1/24s².
        let below = edges.iter().map(|&edge| cdf((edge as f64 - 0.5) / s));
        let below: Vec<f64> = [0.0].into_iter().chain(below).chain([1.0]).collect();
        let expected: Vec<f64> = below.windows(2).map(|pair| (pair[1] - pair[0]) * values.len() as f64).collect();
        let mut counts = vec![0; classes];
        values.iter().for_each(|value| counts[edges.partition_point(|edge| edge <= value)] += 1);
        let bound = chi_square::most(classes, ALARM / tested as f64);
        (*tensor, values.len(), Check::at_most(name, chi_square::statistic(&counts, &expected), bound))
    }))
}

/// Whether no residue of the integers of all tensors is likelier than others.
fn of_residues(drawn: &[(&str, Option<Scale>, Vec<i64>)]) -> Check {
    let least = drawn.iter().filter_map(|(_, scale, _)| *scale).map(Scale::to_f64).fold(f64::INFINITY, f64::min);
    let count: usize = drawn.iter().map(|(_, _, values)| values.len()).sum();
    let shown = |m: &&i64| FLAT * **m as f64 <= least && count >= OF_RESIDUE * **m as usize;
    let names = MODULI.map(|modulus| format!("all tensors modulo {modulus}"));
    farthest(MODULI.iter().zip(&names).filter(|(m, _)| shown(m)).map(|(&modulus, name)| {
        let mut counts = vec![0; modulus as usize];
        let values = drawn.iter().flat_map(|(_, _, values)| values);
        values.for_each(|value| counts[value.rem_euclid(modulus) as usize] += 1);
        let expected = vec![count as f64 / modulus as f64; modulus as usize];
        let bound = chi_square::most(modulus as usize, ALARM / MODULI.len() as f64);
        let check = Check::at_most("χ² of the residues of the noise", chi_square::statistic(&counts, &expected), bound);
        (&**name, count, check)
    }))
}

/// Whether the tails of all tensors are as heavy as they should be.
fn of_tails(drawn: &[(&str, Option<Scale>, Vec<i64>)], tail: f64) -> Check {
    let (mut beyond, mut count, mut expected) = (0, 0, 0.0);
    for (_, scale, values) in drawn {
        let s = scale.map_or(f64::NAN, Scale::to_f64);
        let edge = (tail * s).ceil();
        beyond += values.iter().filter(|value| value.unsigned_abs() as f64 >= edge).count();
        count += values.len();
        expected += 2.0 * cdf((0.5 - edge) / s) * values.len() as f64;
    }
    let [least, most] = binomial::range(count as u64, expected / count as f64, ALARM).map(|bound| bound as f64);
    let name = format!("noise beyond {tail} standard deviations");
    Check::within(&name, beyond as f64, [least, most]).with(format!("of {count} values"))
}
