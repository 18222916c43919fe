//! Random numbers of each record, which depend on nothing but the record's key.

use super::dropout::keys_type;
use super::{Backward, OpRules, VjpError};
use crate::graph::{NodeId, Type};
use crate::lower::{LowerError, Lowering, kernels};

/// Numbers between 0 and 1; the operand is the records' keys, `i32[N, 2]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Uniform {
    /// Dims of one record's numbers.
    pub dims: Vec<usize>,
    /// Which use of the keys this is, dropouts among them: each has other numbers.
    pub layer: u32,
}

impl OpRules for Uniform {
    fn mnemonic(&self) -> String {
        "uniform".into()
    }

    fn attributes(&self) -> String {
        format!("layer={}", self.layer)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        match operands {
            [keys] if **keys == keys_type() => Ok(Type::batched(self.dims.clone())),
            _ => Err("takes the keys i32[N, 2]".into()),
        }
    }

    fn vjp(&self, _bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        Ok(vec![None])
    }

    fn is_function(&self) -> bool {
        false
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let kernel = kernels::Uniform { len: cx.ty().len(), layer: self.layer };
        let (keys, out) = (cx.operand(0), cx.output());
        cx.launch(kernel, &[keys], &[out]);
        Ok(())
    }
}
