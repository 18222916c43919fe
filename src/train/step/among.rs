//! A logical step of several ranks: what is theirs together of its first half, and whether they are still the same.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{StepError, Stepper};
use crate::ranks::Ranks;

impl Stepper<'_> {
    /// Takes the steps together with the others of `ranks`, each of which has made its own of the same setting and key.
    #[must_use]
    pub fn among(self, ranks: Arc<dyn Ranks>) -> Self {
        Self { ranks, ..self }
    }

    /// Makes each rank make a part of the noise, which goes into its sums before those of all are added up, where otherwise all make
    /// the same in full. What is released is the same to the bit. Does nothing where there is one rank.
    ///
    /// # Errors
    /// When noise has no parts: it is of floats, correlated, or there is none.
    pub fn sharing_noise(mut self) -> Result<Self, StepError> {
        if self.ranks.size() > 1 {
            let noise = self.noise.take().ok_or(StepError::Indivisible)?;
            self.noise = Some(noise.shared(&*self.ranks, &mut self.engine)?);
        }
        Ok(self)
    }

    /// The ranks that take the steps.
    pub fn ranks(&self) -> &Arc<dyn Ranks> {
        &self.ranks
    }

    /// Puts the sums of all ranks in place of this one's, which are over `drawn` units together, with the noise where each rank
    /// makes a part of it.
    ///
    /// # Errors
    /// When a rank has left, the sums are over other units or lack noise, there is none, or the device fails.
    pub fn reduce(&mut self, drawn: usize) -> Result<(), StepError> {
        let Self { ranks, engine, sums, setting, noise, clip, .. } = self;
        if ranks.size() == 1 {
            return Ok(());
        }
        let mut units = [sums.units as i64];
        if engine.exact() && !setting.plan.non_private {
            let mut integers = engine.grid_sums()?;
            let elements = integers.len();
            let made = match (noise, sums.step) {
                (Some(noise), Some(step)) => noise.add_part(&mut integers, engine, setting.plan, clip, step)?,
                _ => None,
            };
            integers.extend(made.map(|made| made as i64));
            integers.extend(units);
            ranks.sum_i64(&mut integers)?;
            units[0] = integers.pop().unwrap_or_default();
            if made.is_some() && integers.pop() != Some(elements as i64) {
                return Err(StepError::NoiseParts);
            }
            engine.set_grid_sums(&integers)?;
        } else {
            let mut floats: Vec<f64> = engine.gradient_sums()?.into_iter().map(f64::from).collect();
            ranks.sum_f64(&mut floats)?;
            ranks.sum_i64(&mut units)?;
            engine.set_gradient_sums(&floats.iter().map(|&sum| sum as f32).collect::<Vec<_>>())?;
        }
        if units != [drawn as i64] {
            return Err(StepError::Shares);
        }
        // What a rank estimates is on a grid of its own where sums are of integers, so that this sum is exact too.
        let mut beside = [&sums.counts[..], &sums.estimates].concat();
        ranks.sum_f64(&mut beside)?;
        let (counts, estimates) = beside.split_at(sums.counts.len());
        sums.counts.copy_from_slice(counts);
        sums.estimates.copy_from_slice(estimates);
        Ok(())
    }

    /// Checks that every rank has the same parameters and clip bounds after `step` steps.
    ///
    /// # Errors
    /// When one has others, or has left, or the device fails.
    pub fn check_replicas(&mut self, step: u64) -> Result<(), StepError> {
        if self.ranks.size() == 1 {
            return Ok(());
        }
        let mut hash = Sha256::new();
        for tensor in self.engine.parameters()?.values() {
            hash.update(bytemuck::cast_slice(&tensor.data));
        }
        self.clip.scaled(1.0).into_iter().for_each(|bound| hash.update(bound.to_le_bytes()));
        let all = self.ranks.gather(&hash.finalize())?;
        match all.iter().position(|digest| *digest != all[0]) {
            Some(rank) => Err(StepError::Replicas { rank, step }),
            None => Ok(()),
        }
    }
}
