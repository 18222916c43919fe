//! The parameters and the optimizer's states, read and set by their names.

use super::{Engine, EngineError, Parameter};
use crate::device::Session;
use crate::lower::program::BufferId;
use crate::tensors::{Tensor, Tensors};

impl Engine {
    /// The parameters' values now.
    pub fn parameters(&mut self) -> Result<Tensors, EngineError> {
        let mut out = Tensors::new();
        for parameter in &self.parameters {
            let data = self.session.read_f32(parameter.value)?;
            let dims = parameter.dims.clone();
            out.insert(parameter.name.clone(), Tensor { dims, data });
        }
        Ok(out)
    }

    /// The optimizer's states now, by `PARAMETER/STATE`.
    pub fn states(&mut self) -> Result<Tensors, EngineError> {
        let mut out = Tensors::new();
        for parameter in &self.parameters {
            for (state, buffer) in &parameter.states {
                let data = self.session.read_f32(*buffer)?;
                let dims = parameter.dims.clone();
                out.insert(state_name(&parameter.name, state), Tensor { dims, data });
            }
        }
        Ok(out)
    }

    /// Sets every parameter that `values` has.
    pub fn set_parameters(&mut self, values: &Tensors) -> Result<(), EngineError> {
        for parameter in &self.parameters {
            if let Some(tensor) = values.get(&parameter.name) {
                parameter.write(&mut *self.session, &parameter.name, parameter.value, tensor)?;
            }
        }
        Ok(())
    }

    /// Sets every optimizer state that `values` has, by `PARAMETER/STATE`.
    pub fn set_states(&mut self, values: &Tensors) -> Result<(), EngineError> {
        for parameter in &self.parameters {
            for (state, buffer) in &parameter.states {
                let name = state_name(&parameter.name, state);
                if let Some(tensor) = values.get(&name) {
                    parameter.write(&mut *self.session, &name, *buffer, tensor)?;
                }
            }
        }
        Ok(())
    }
}

impl Parameter {
    fn write(
        &self,
        session: &mut dyn Session,
        name: &str,
        buffer: BufferId,
        tensor: &Tensor,
    ) -> Result<(), EngineError> {
        let expected = self.dims.iter().product();
        if tensor.data.len() != expected {
            return Err(EngineError::Parameter { name: name.to_owned(), found: tensor.data.len(), expected });
        }
        Ok(session.write_f32(buffer, &tensor.data)?)
    }
}

fn state_name(parameter: &str, state: &str) -> String {
    format!("{parameter}/{state}")
}
