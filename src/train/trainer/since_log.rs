//! What has been observed since the last line of metrics.

use std::time::Instant;

use crate::privacy::clipping::ClipState;
use crate::privacy::release::Estimates;
use crate::ranks::{Ranks, RanksError};
use crate::train::engine::Shown;
use crate::train::metrics::{Estimated, Observed};
use crate::train::step::Released;
use crate::train::tensorboard::Norms;

/// What has been observed since the last line of metrics.
#[derive(Clone)]
pub(super) struct SinceLog {
    pub started: Instant,
    pub step: u64,
    /// Units whose norms were seen.
    units: u64,
    finite_losses: u64,
    nonfinite_losses: u64,
    loss: f64,
    clipped: u64,
    nonfinite: u64,
    /// Norms of the units' gradients before clipping, which are not private.
    pub norms: Norms,
    estimates: [f64; Estimates::COUNT],
}

impl SinceLog {
    pub fn new(step: u64) -> Self {
        Self {
            started: Instant::now(),
            step,
            units: 0,
            finite_losses: 0,
            nonfinite_losses: 0,
            loss: 0.0,
            clipped: 0,
            nonfinite: 0,
            norms: Norms::default(),
            estimates: [0.0; Estimates::COUNT],
        }
    }

    /// Puts what all ranks have observed in place of what this one has; of norms only where that is asked for.
    pub fn reduce(&mut self, ranks: &dyn Ranks, norms: bool) -> Result<(), RanksError> {
        if ranks.size() == 1 {
            return Ok(());
        }
        let counts = [
            &mut self.units,
            &mut self.finite_losses,
            &mut self.nonfinite_losses,
            &mut self.clipped,
            &mut self.nonfinite,
        ];
        let mut sums: Vec<f64> = counts.iter().map(|count| **count as f64).collect();
        sums.push(self.loss);
        ranks.sum_f64(&mut sums)?;
        self.loss = sums.pop().unwrap_or_default();
        counts.into_iter().zip(sums).for_each(|(count, sum)| *count = sum as u64);
        if norms {
            let own = serde_json::to_vec(&self.norms).unwrap_or_default();
            let all = ranks.gather(&own)?;
            self.norms = Norms::default();
            let read = all.iter().filter_map(|bytes| serde_json::from_slice(bytes).ok());
            read.for_each(|norms| self.norms.merge(&norms));
        }
        Ok(())
    }

    /// Adds what has been observed after this, on all ranks.
    pub fn merge(&mut self, later: &SinceLog) {
        self.units += later.units;
        self.finite_losses += later.finite_losses;
        self.nonfinite_losses += later.nonfinite_losses;
        self.loss += later.loss;
        self.clipped += later.clipped;
        self.nonfinite += later.nonfinite;
        self.norms.merge(&later.norms);
        self.estimates.iter_mut().zip(later.estimates).for_each(|(sum, value)| *sum += value);
    }

    pub fn release(&mut self, released: &Released) {
        let estimates = released.estimates.unwrap_or_default();
        self.estimates.iter_mut().zip(estimates).for_each(|(sum, value)| *sum += value);
    }

    /// What the noisy sums since the last line say at `step`.
    pub fn estimated(&self, step: u64) -> Estimated {
        let [units, loss] = self.estimates;
        Estimated {
            batch_size: units / step.saturating_sub(self.step).max(1) as f64,
            loss: (units > 0.0).then(|| loss / units),
        }
    }

    pub fn add(&mut self, shown: &Shown, clip: &ClipState, scale: f64) {
        let (finite, others): (Vec<f32>, Vec<f32>) = shown.loss.iter().partition(|loss| loss.is_finite());
        self.loss += finite.iter().map(|&loss| f64::from(loss)).sum::<f64>();
        self.finite_losses += finite.len() as u64;
        self.nonfinite_losses += others.len() as u64;
        if shown.norm.is_empty() {
            self.nonfinite += others.len() as u64;
        }
        self.units += shown.norm.len() as u64;
        for (norm, norms) in shown.norm.iter().zip(shown.group_norms.chunks_exact(clip.groups().max(1))) {
            self.norms.add(*norm);
            if !norm.is_finite() {
                self.nonfinite += 1;
            } else if clip.clips(norms, scale) {
                self.clipped += 1;
            }
        }
    }

    pub fn observed(&self) -> Observed {
        let fraction = |part: f64, whole: u64| (whole > 0).then(|| part / whole as f64);
        Observed {
            loss: fraction(self.loss, self.finite_losses),
            clipped_fraction: fraction(self.clipped as f64, self.units),
            nonfinite_units: (self.nonfinite > 0 || self.units > 0).then_some(self.nonfinite),
            nonfinite_losses: self.nonfinite_losses,
        }
    }
}
