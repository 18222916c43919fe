//! Several ranks: whether their sum is that of one process, and gets its noise once.
//!
//! The ranks are threads of this process, each with a program on the device and a share of the records; what they add up goes the
//! way that it goes in training. Noise is made in full by every rank, or in part by each. Broken ranks add noise of their own to what
//! they give, on top of what is due; or one leaves its part out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::AuditError;
use super::claim::Claim;
use super::noise;
use super::records::Records;
use super::report::Check;
use super::subject::Bench;
use crate::privacy::discrete::{DiscreteNoise, Scale};
use crate::privacy::grid_noise::{IntegerNoise, Sampled};
use crate::privacy::keys::RunKey;
use crate::ranks::{Ranks, RanksError, Threads};

/// How many ranks there are.
const RANKS: usize = 3;
/// Numbers of parameters from those of one rank's own noise to those of the next.
const OTHERS: u32 = 1 << 16;

/// How ranks are broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Each but the first adds noise of its own to what it gives.
    Noise,
    /// One leaves out its part of the noise.
    NoPart,
}

/// The checks of steps that several ranks take together, with the benches of one subject with noise and without: where each makes all
/// of the noise, which is added to the sum, and where each adds a part of it to what it gives. `key` is of noise that broken
/// ranks add.
///
/// # Errors
/// When there is no noise, or the device fails.
pub(super) fn checks(
    benches: (&Bench<'_>, &Bench<'_>),
    rows: usize,
    (records, claim): (&Records, &Claim),
    broken: Option<(Fault, &RunKey)>,
) -> Result<Vec<Check>, AuditError> {
    let mut checks = Vec::new();
    let (on, off) = benches;
    let exact = off.rig(rows)?.exact();
    for share in [false, true] {
        // Noise of floats has no parts, and all of it no part to leave out.
        let possible = if share { exact } else { broken.is_none_or(|(fault, _)| fault != Fault::NoPart) };
        if possible {
            checks.extend(of(on, off, rows, (records, claim), (share, broken))?);
        }
    }
    Ok(checks)
}

fn of(
    on: &Bench<'_>,
    off: &Bench<'_>,
    rows: usize,
    (records, claim): (&Records, &Claim),
    (share, broken): (bool, Option<(Fault, &RunKey)>),
) -> Result<Vec<Check>, AuditError> {
    let mut quiet = off.rig(rows)?;
    let scales = if broken.is_some() { claim.noise_scales()? } else { Vec::new() };
    let tensors = quiet.parameters().iter().zip(quiet.sizes());
    let tensor = |(name, &size): (&String, &usize)| Some((size, *scales.get(claim.group(name)?)?));
    let tensors: Vec<(usize, Scale)> = tensors.filter_map(tensor).collect();
    let rank = |place: Threads| -> (Arc<dyn Ranks>, &Bench<'_>) {
        match broken {
            Some((Fault::Noise, key)) => {
                let noise = Sampled::new(DiscreteNoise::new(key));
                let (tensors, sums) = (tensors.clone(), AtomicU64::new(0));
                (Arc::new(Noising { place, noise, tensors, sums }), on)
            }
            Some((Fault::NoPart, _)) if place.rank() == 1 => (Arc::new(place), off),
            _ => (Arc::new(place), on),
        }
    };
    let mut noisy = on.among(rows, Threads::places(RANKS).into_iter().map(rank).collect(), share)?;
    let all = &records.ordinary[..];
    let mut checks = Vec::new();
    let way = if share { ", noise in parts" } else { "" };
    for (what, batches) in [("of no records", vec![]), ("of records of all ranks", vec![all])] {
        let what = format!("{what}{way}");
        checks.push(noise::with_records(&mut noisy, &mut quiet, claim.deviation(), &what, &batches)?);
    }
    if quiet.exact() {
        let (expected, name) = match share {
            false => (quiet.integers_and_release(0, &[all])?.0, "elements of the sum that differ from one process's"),
            true => {
                let mut alone = on.rig(rows)?;
                let (mut sum, _) = alone.integers_and_release(0, &[all])?;
                sum.iter_mut().zip(alone.noise()?).for_each(|(sum, noise)| sum.0 = sum.0.wrapping_add(noise));
                (sum, "elements of sum and noise that differ from one process's")
            }
        };
        let (found, _) = noisy.integers_and_release(0, &[all])?;
        let differ = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
        checks.push(Check::at_most(name, differ as f64, 0.0).with(format!("by {RANKS} ranks")));
    }
    Ok(checks)
}

/// A rank that adds noise to what it gives.
struct Noising {
    place: Threads,
    noise: Sampled,
    /// The elements of each trained parameter, and how much noise they get.
    tensors: Vec<(usize, Scale)>,
    sums: AtomicU64,
}

impl std::fmt::Debug for Noising {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Noising({:?})", self.place)
    }
}

impl Ranks for Noising {
    fn rank(&self) -> usize {
        self.place.rank()
    }

    fn size(&self) -> usize {
        self.place.size()
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, RanksError> {
        self.place.gather(own)
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<(), RanksError> {
        self.place.broadcast(bytes)
    }

    fn sum_i64(&self, values: &mut [i64]) -> Result<(), RanksError> {
        let sum = self.sums.fetch_add(1, Ordering::Relaxed);
        let mut rest = &mut *values;
        for (parameter, &(size, scale)) in (0..).zip(&self.tensors).filter(|_| !self.is_first()) {
            let (tensor, after) = std::mem::take(&mut rest).split_at_mut(size);
            let mut noise = vec![0; size];
            // Noise that there is no room for is none, which shows as such.
            let _ = self.noise.fill(sum, (parameter + self.rank() as u32 * OTHERS, 0), scale, &mut noise);
            tensor.iter_mut().zip(noise).for_each(|(value, noise)| *value += noise);
            rest = after;
        }
        self.place.sum_i64(values)
    }

    fn sum_f64(&self, values: &mut [f64]) -> Result<(), RanksError> {
        self.place.sum_f64(values)
    }

    fn leave(&self, why: &str) {
        self.place.leave(why);
    }
}
