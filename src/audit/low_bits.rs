//! An attack on the low bits of what a step releases (Mironov 2012, <https://doi.org/10.1145/2382196.2382264>).
//!
//! The same step is replayed with and without a canary, each time with other noise. Who knows the rest of the batch and the
//! canary's gradient, as the guarantee allows, knows the sum before the noise in both cases. To such a sum no float adds up to
//! every other float: where a released value is much smaller than its sum, the noise was as large as the sum, and has no
//! bits as low as those of what is released. So what is released refutes a case wherever a value is none that the sum of that
//! case and any float make, and the guess is the case that fewer values refute. How large σ is hardly matters.
//!
//! Of integers every sum is possible in both cases, and nothing is refuted by one alone. A Gaussian mechanism lets no test whatever
//! be right more often than `Φ(1/2σ)`.

use super::AuditError;
use super::canary::{Canary, others};
use super::claim::Claim;
use super::records::Records;
use super::report::{Check, percent};
use super::statistics::binomial;
use super::statistics::gaussian::cdf;
use super::statistics::moments::ALARM;
use super::subject::Rig;

/// The checks by `count` replays a side, by a `noisy` and a `quiet` rig of one subject: floats are shown to be open to the
/// attack, integers must not be.
///
/// # Errors
/// When there is no noise, or the device fails.
pub(super) fn checks(
    noisy: &mut Rig<'_>,
    quiet: &mut Rig<'_>,
    records: &Records,
    claim: &Claim,
    count: u64,
) -> Result<Vec<Check>, AuditError> {
    let right = guesses(noisy, quiet, records, claim.plan.divisor(), count)?;
    let (made, sigma) = (2 * count, claim.plan.multipliers(0).gradient);
    let possible = cdf(0.5 / sigma);
    let share = right as f64 / made as f64;
    let detail = format!("of {made}; {} is what noise of σ = {sigma} allows any test", percent(possible));
    let name = "right guesses by low bits";
    Ok(vec![match noisy.exact() {
        true => {
            let [_, most] = binomial::range(made, possible, ALARM);
            Check::at_most(name, share, most as f64 / made as f64).with(detail)
        }
        false => {
            Check::shown(name, share).with(format!("{detail}: no claim for floats covers it, `--noise exact` does"))
        }
    }])
}

/// How many guesses are right.
fn guesses(
    noisy: &mut Rig<'_>,
    quiet: &mut Rig<'_>,
    records: &Records,
    divisor: f64,
    count: u64,
) -> Result<u64, AuditError> {
    let others = others(quiet, records);
    let canary = Canary::longest(quiet, records)?;
    let (absent, _) = quiet.sum_and_release(0, &[others])?;
    let (present, _) = quiet.sum_and_release(0, &[&canary.batch])?;
    let inverse = (1.0 / divisor) as f32;
    let refuting = |sum: &[f32], released: &[f32]| {
        sum.iter().zip(released).filter(|(sum, released)| refutes(**sum, **released, inverse)).count()
    };
    let mut right = 0;
    for step in 0..2 * count {
        let is_present = step >= count;
        let released = noisy.release(step, &[if is_present { &canary.batch } else { others }])?;
        right += u64::from((refuting(&present, &released) <= refuting(&absent, &released)) == is_present);
    }
    Ok(right)
}

/// Whether no float that is added to `sum` makes `released` of it, by the factor `inverse`.
fn refutes(sum: f32, released: f32, inverse: f32) -> bool {
    let around = |value: f64| {
        let nearest = value as f32;
        [nearest.next_down(), nearest, nearest.next_up()].into_iter()
    };
    let mut totals = around(f64::from(released) / f64::from(inverse)).filter(|total| total * inverse == released);
    !totals.any(|total| around(f64::from(total) - f64::from(sum)).any(|noise| sum + noise == total))
}

#[cfg(test)]
mod tests {
    use super::super::subject::{Bench, Noise};
    use super::super::tests::{artifact_of, claim_of, settings};
    use super::super::{Records, Settings};
    use super::*;
    use crate::device::cpu::Cpu;
    use crate::options::NoiseKind;
    use crate::privacy::keys::RunKey;

    #[test]
    fn what_a_float_makes_is_not_refuted() {
        for (sum, noise) in [(0.0, 1.5), (3.25, -3.249_999), (1e-3, 0.7), (-0.125, 0.125_1), (2.0, -2.0)] {
            for inverse in [0.0625, 0.1, 1.0 / 3.0] {
                let released = (sum + noise) * inverse;
                assert!(!refutes(sum, released, inverse), "{sum} {noise} {inverse}");
            }
        }
        // Noise that leaves so little of 1 has no bits so low.
        assert!(refutes(1.0, 1e-3, 1.0));
        assert!(!refutes(1.0, f32::from_bits(0x3a80_0000), 1.0));
    }

    /// Of 200 guesses at σ = 2, where noise allows 60 % to be right: how many are.
    fn right(noise: NoiseKind) -> Check {
        let artifact = artifact_of("mnist_small", "cross-entropy", noise);
        let settings = Settings { noise_multiplier: 2.0, ..settings() };
        let records = Records::new(&artifact.manifest.schema, 4).unwrap();
        let claim = claim_of(&artifact, &settings);
        let subject = claim.of(artifact.program.clone());
        let bench = |noise| Bench::new(&Cpu, &artifact, &records, &subject, noise, RunKey::insecure(5)).unwrap();
        let (on, off) = (bench(Noise::On), bench(Noise::Off));
        let (mut noisy, mut quiet) = (on.rig(2).unwrap(), off.rig(2).unwrap());
        checks(&mut noisy, &mut quiet, &records, &claim, 100).unwrap().remove(0)
    }

    #[test]
    fn low_bits_of_floats_give_a_record_away_and_of_integers_do_not() {
        let (floats, integers) = (right(NoiseKind::Float), right(NoiseKind::Exact));
        assert!(floats.figure > 0.9 && floats.at_most.is_none(), "{floats:?}");
        assert!(integers.passed && integers.figure < 0.7, "{integers:?}");
    }
}
