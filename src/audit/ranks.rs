//! Several ranks: whether their sum is that of one process, and gets its noise once.
//!
//! The ranks are threads of this process, each with a program on the device and a share of the records; what they add up goes the
//! way that it goes in training. Broken ranks add noise of their own to what they give, on top of what is added to the sum.

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

/// The checks of steps that several ranks take together, with the benches of one subject with noise and without; where there are
/// `keys`, each rank but the first adds noise of its own.
///
/// # Errors
/// When there is no noise, or the device fails.
pub(super) fn checks(
    on: &Bench<'_>,
    off: &Bench<'_>,
    rows: usize,
    (records, claim): (&Records, &Claim),
    keys: Option<[RunKey; RANKS]>,
) -> Result<Vec<Check>, AuditError> {
    let mut quiet = off.rig(rows)?;
    let places = match keys {
        None => Threads::places(RANKS).into_iter().map(|place| Arc::new(place) as _).collect(),
        Some(keys) => {
            let scales = claim.noise_scales()?;
            let tensors = quiet.parameters().iter().zip(quiet.sizes());
            let of = |(name, &size): (&String, &usize)| Some((size, *scales.get(claim.group(name)?)?));
            let tensors: Vec<(usize, Scale)> = tensors.filter_map(of).collect();
            let noising = |(place, key): (Threads, &RunKey)| {
                let noise = Sampled::new(DiscreteNoise::new(key));
                Arc::new(Noising { place, noise, tensors: tensors.clone(), sums: AtomicU64::new(0) }) as _
            };
            Threads::places(RANKS).into_iter().zip(&keys).map(noising).collect()
        }
    };
    let mut noisy = on.among(rows, places)?;
    let all = &records.ordinary[..];
    let mut checks = Vec::new();
    for (what, batches) in [("of no records", vec![]), ("of records of all ranks", vec![all])] {
        checks.push(noise::with_records(&mut noisy, &mut quiet, claim.deviation(), what, &batches)?);
    }
    if quiet.exact() {
        let ([(found, _), (expected, _)], name) = (
            [noisy.integers_and_release(0, &[all])?, quiet.integers_and_release(0, &[all])?],
            "elements of the sum that differ from one process's",
        );
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
            let _ = self.noise.fill(sum, parameter, scale, &mut noise);
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
