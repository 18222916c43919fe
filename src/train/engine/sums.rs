//! The sums of a logical step, read and put back as one row of numbers, so that ranks can add theirs up.

use super::{Engine, EngineError, Parameter};
use crate::lower::program::BufferId;

impl Engine {
    /// The integer sums of all trained parameters, one after another in the order of the program, in grid units.
    ///
    /// # Errors
    /// When the device fails.
    pub fn grid_sums(&mut self) -> Result<Vec<i64>, EngineError> {
        let words = self.session.read_all(&self.buffers(|parameter| parameter.grid_sum))?;
        let pairs = words.iter().flat_map(|words| words.as_chunks::<2>().0);
        Ok(pairs.map(|&[low, high]| (u64::from(high) << 32 | u64::from(low)) as i64).collect())
    }

    /// Puts `sums` in their place, in the same order.
    ///
    /// # Errors
    /// When the device fails.
    ///
    /// # Panics
    /// If there are fewer than the parameters have.
    pub fn set_grid_sums(&mut self, sums: &[i64]) -> Result<(), EngineError> {
        let mut rest = sums;
        for buffer in self.buffers(|parameter| parameter.grid_sum) {
            let (of_buffer, after) = rest.split_at(self.program.buffer(buffer).len.at(1) / 2);
            rest = after;
            self.words.clear();
            self.words.extend(of_buffer.iter().flat_map(|&sum| [sum as u32, (sum >> 32) as u32]));
            self.session.write(buffer, &self.words)?;
        }
        Ok(())
    }

    /// Makes the noise that [`Engine::release`] adds zero, where it is given none.
    ///
    /// # Errors
    /// When the device fails.
    pub fn clear_noise(&mut self) -> Result<(), EngineError> {
        for buffer in self.buffers(|parameter| parameter.noise) {
            self.words.clear();
            self.words.resize(self.program.buffer(buffer).len.at(1), 0);
            self.session.write(buffer, &self.words)?;
        }
        Ok(())
    }

    /// The same of sums of floats.
    ///
    /// # Errors
    /// When the device fails.
    pub fn gradient_sums(&mut self) -> Result<Vec<f32>, EngineError> {
        let words = self.session.read_all(&self.buffers(|parameter| parameter.sum))?;
        Ok(words.into_iter().flatten().map(f32::from_bits).collect())
    }

    /// Puts `sums` of floats in their place, in the same order.
    ///
    /// # Errors
    /// When the device fails.
    ///
    /// # Panics
    /// If there are fewer than the parameters have.
    pub fn set_gradient_sums(&mut self, sums: &[f32]) -> Result<(), EngineError> {
        let mut rest = sums;
        for buffer in self.buffers(|parameter| parameter.sum) {
            let (of_buffer, after) = rest.split_at(self.program.buffer(buffer).len.at(1));
            rest = after;
            self.session.write_f32(buffer, of_buffer)?;
        }
        Ok(())
    }

    fn buffers(&self, of: impl Fn(&Parameter) -> Option<BufferId>) -> Vec<BufferId> {
        self.parameters.iter().filter_map(of).collect()
    }
}
