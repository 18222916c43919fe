//! Correlated noise: whether the noise of steps is that of the matrix that is claimed.
//!
//! The integers that successive steps add are put together by the rows of the claimed matrix K again. What comes out
//! must be the fresh integers, as large, as normal and as independent over steps as by the claim: any other matrix
//! leaves correlations of steps, or another size. What rounding left is some millionth of the noise.

use super::AuditError;
use super::claim::Claim;
use super::noise::{steps, strongest};
use super::records::Records;
use super::report::Check;
use super::series;
use super::statistics::moments::Products;
use super::subject::Rig;
use crate::privacy::correlation::{Correlation, Strategy};

/// The bands of the noise that is looked at.
pub(super) const BANDS: u64 = 8;
/// The fewest steps.
const STEPS: usize = 4 * BANDS as usize;
/// Values of a tensor whose correlations over steps are looked at.
const WINDOW: usize = 4096;

/// What is claimed of steps with correlated noise.
pub(super) fn strategy() -> Strategy {
    Correlation::Banded { bands: BANDS }.strategy(BANDS, STEPS as u64)
}

/// The checks of a `noisy` rig of integer sums that has taken no step, against what is claimed.
///
/// # Errors
/// When there is no noise, or a device fails.
pub(super) fn checks(noisy: &mut Rig<'_>, records: &Records, claim: &Claim) -> Result<Vec<Check>, AuditError> {
    let (names, sizes) = (noisy.parameters().to_vec(), noisy.sizes().to_vec());
    let coefficients = match &claim.plan.correlation {
        Some(Strategy::Banded { coefficients }) => coefficients.clone(),
        _ => vec![1],
    };
    let scales = claim.noise_scales()?;
    let scale_of =
        |name: &String| claim.group(name).and_then(|group| scales.get(group)).map_or(f64::NAN, |s| s.to_f64());
    let mut fresh: Vec<(&str, Vec<f64>)> = names.iter().map(|name| (&**name, Vec::new())).collect();
    let mut windows: Vec<Vec<f32>> = Vec::new();
    let mut added: Vec<Vec<i64>> = Vec::new();
    let all = &records.ordinary[..];
    for step in 0..steps(&sizes).max(STEPS) {
        // With records and without: noise does not depend on them.
        let batches: &[&[usize]] = if step % 2 == 0 { &[all] } else { &[] };
        noisy.release(step as u64, batches)?;
        added.push(noisy.noise()?);
        let mut window = Vec::new();
        let mut start = 0;
        for ((name, (_, values)), &size) in names.iter().zip(&mut fresh).zip(&sizes) {
            let scale = scale_of(name);
            let of_tensor = (start..start + size).map(|at| {
                let rows = coefficients.iter().zip(added.iter().rev());
                let sum: i128 = rows.map(|(&k, noise)| i128::from(k) * i128::from(noise[at])).sum();
                sum as f64 / scale
            });
            let from = values.len();
            values.extend(of_tensor);
            window.extend(values[from..].iter().take(WINDOW).map(|&value| value as f32));
            start += size;
        }
        windows.push(window);
        if added.len() >= coefficients.len() {
            added.remove(0);
        }
    }
    let mut checks = series::normal(" of the fresh noise", &mut fresh);
    checks.push(between_steps(&windows));
    Ok(checks)
}

/// The strongest correlation of the fresh noise of two steps that the matrix puts together.
fn between_steps(steps: &[Vec<f32>]) -> Check {
    let lags = (1..2 * BANDS as usize).map(|lag| {
        let mut products = Products::default();
        steps.iter().zip(steps.iter().skip(lag)).for_each(|(a, b)| products.add(a, b));
        products
    });
    strongest("correlation of the fresh noise over steps", lags)
}
