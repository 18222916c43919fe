//! The exponential moving average of the trained parameters, on the host.
//!
//! It is a function of the released parameters alone, so it costs no privacy. The decay of update t is
//! min(decay, (1 + t)/(10 + t)), so that the values before training are soon forgotten.

use crate::tensors::Tensors;

/// The averages after some steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Average {
    decay: f64,
    values: Tensors,
}

impl Average {
    /// The averages that stand at `values`: those before training, or of a checkpoint.
    pub fn new(decay: f64, values: Tensors) -> Self {
        Self { decay, values }
    }

    /// The averages, of those parameters of `all` that are `trained`, as they stand before the first step.
    pub fn of(decay: f64, trained: &[String], all: &Tensors) -> Self {
        let values = trained.iter().filter_map(|name| all.get_key_value(name));
        Self::new(decay, values.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// What a certificate says of it.
    pub fn statement(decay: f64) -> String {
        format!("the trained model is the exponential moving average, of decay {decay}, of what the steps released")
    }

    /// The averages, of trained parameters only.
    pub fn values(&self) -> &Tensors {
        &self.values
    }

    /// Adds what the parameters are after `step` steps. Those that are not averaged are ignored.
    pub fn update(&mut self, step: u64, parameters: &Tensors) {
        let step = step as f64;
        let kept = self.decay.min((1.0 + step) / (10.0 + step));
        for (name, average) in &mut self.values {
            let Some(now) = parameters.get(name) else { continue };
            for (average, &now) in average.data.iter_mut().zip(&now.data) {
                let (before, now) = (f64::from(*average), f64::from(now));
                *average = (before + (1.0 - kept) * (now - before)) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::Tensor;

    #[test]
    fn the_decay_warms_up() {
        let tensors = |value| Tensors::from([("w".to_owned(), Tensor { dims: vec![1], data: vec![value] })]);
        let mut average = Average::new(0.5, tensors(0.0));
        average.update(1, &tensors(11.0));
        assert_eq!(average.values(), &tensors(9.0));
        average.update(1000, &tensors(11.0));
        assert_eq!(average.values(), &tensors(10.0));
    }
}
