//! The end of a logical step: noise, division and the optimizer's step, on the device.

use std::borrow::Cow;

use super::{Engine, EngineError};
use crate::device::Lent;
use crate::lower::kernels::Kernel;
use crate::lower::program::{Phase, Role};
use crate::lower::{host_inputs, host_outputs, hyper};
use crate::options::optimizer::{OptimizerSpec, bias_corrections};
use crate::train::finite;
use crate::train::lr_for::Rate;

impl Engine {
    /// Ends logical step number `step`, counted from 1: adds `noise` to the gradient sums, divides
    /// them by `divisor` and updates the parameters.
    pub fn update(
        &mut self,
        optimizer: &OptimizerSpec,
        step: u64,
        rate: impl Into<Rate>,
        divisor: f64,
        noise: Option<&[Vec<f32>]>,
    ) -> Result<(), EngineError> {
        self.set_hyper(optimizer, step, rate.into(), divisor)?;
        self.has(Phase::Update)?;
        let trained = self.parameters.iter().filter_map(|p| p.noise);
        let noise = trained.zip(noise.unwrap_or_default().iter().map(|values| bytemuck::cast_slice(values)));
        Ok(self.session.run_lent(Phase::Update, &noise.collect::<Vec<Lent>>())?)
    }

    /// The same for integer sums: adds `noise` in grid units, which have the sizes `units` in the clip groups. Where it is empty, the
    /// noise stays what it was, as [`Engine::clear_noise`] leaves it.
    pub fn release(
        &mut self,
        optimizer: &OptimizerSpec,
        step: u64,
        rate: impl Into<Rate>,
        divisor: f64,
        (noise, units): (&[Vec<i64>], &[f64]),
    ) -> Result<(), EngineError> {
        let missing = || EngineError::Incomplete { what: format!("input `{}`", host_inputs::GRID_UNITS) };
        let buffer = self.input(host_inputs::GRID_UNITS).ok_or_else(missing)?;
        self.session.write_f32(buffer, &units.iter().map(|&unit| unit as f32).collect::<Vec<_>>())?;
        self.set_hyper(optimizer, step, rate.into(), divisor)?;
        self.has(Phase::Release)?;
        let words: Vec<Cow<[u32]>> = noise.iter().map(|values| words_of(values)).collect();
        let noise = self.parameters.iter().filter_map(|p| p.noise).zip(words.iter().map(|words| &**words));
        Ok(self.session.run_lent(Phase::Release, &noise.collect::<Vec<Lent>>())?)
    }

    fn set_hyper(&mut self, optimizer: &OptimizerSpec, step: u64, rate: Rate, divisor: f64) -> Result<(), EngineError> {
        let mut numbers = [0.0; hyper::LEN];
        numbers[hyper::INVERSE_BATCH] = (1.0 / divisor) as f32;
        numbers[hyper::LEARNING_RATE] = (rate.base * rate.factor) as f32;
        if let OptimizerSpec::Adam(adam) | OptimizerSpec::AdamW(adam) = optimizer {
            let (first, second) = bias_corrections(adam, step);
            numbers[hyper::BIAS_CORRECTION_1] = first as f32;
            numbers[hyper::BIAS_CORRECTION_2] = second as f32;
        }
        let missing = || EngineError::Incomplete { what: format!("input `{}`", host_inputs::HYPER) };
        let buffer = self.input(host_inputs::HYPER).ok_or_else(missing)?;
        self.session.write_f32(buffer, &numbers)?;
        for &(buffer, own) in &self.own_rates {
            numbers[hyper::LEARNING_RATE] = (own * rate.factor) as f32;
            self.session.write_f32(buffer, &numbers)?;
        }
        Ok(())
    }

    /// What is not finite among the trained parameters and the optimizer's states, since the program was loaded: in words,
    /// none as a rule. The device looks after every update. Programs of artifacts that earlier versions compiled do not;
    /// there the host does, now.
    pub fn nonfinite(&mut self) -> Result<Vec<String>, EngineError> {
        let Some(&flags) = self.results.get(host_outputs::NONFINITE) else {
            return Ok(finite::nonfinite(&self.trained(), &self.parameters()?, &self.states()?));
        };
        let flags = self.session.read(flags)?;
        if flags.iter().all(|&flag| flag == 0) {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        let updates = [Phase::Update, Phase::Release].map(|phase| self.program.phase(phase));
        for dispatch in updates.into_iter().flatten() {
            let Kernel::Nonfinite(kernel) = &dispatch.kernel else { continue };
            let flag = flags.get(kernel.at).copied().unwrap_or(0);
            for (k, &buffer) in dispatch.buffers.iter().take(kernel.buffers).enumerate() {
                match &self.program.buffer(buffer).role {
                    Role::Parameter(name) if flag >> k & 1 == 1 => found.push(finite::parameter(name)),
                    Role::OptimizerState(name, state) if flag >> k & 1 == 1 => found.push(finite::state(name, state)),
                    _ => {}
                }
            }
        }
        Ok(found)
    }
}

/// The words of integers, the low one of each first.
fn words_of(values: &[i64]) -> Cow<'_, [u32]> {
    match cfg!(target_endian = "little") {
        // As they lie in memory.
        true => Cow::Borrowed(bytemuck::cast_slice(values)),
        false => values.iter().flat_map(|&value| [value as u32, (value >> 32) as u32]).collect(),
    }
}
