//! A value that no gradient passes through.

use super::elementwise::Elementwise;
use super::{Backward, OpRules, VjpError};
use crate::graph::{DType, NodeId, Type};
use crate::lower::{LowerError, Lowering};

/// The operand, which gets no cotangent.
#[derive(Clone, Debug, PartialEq)]
pub struct Detach {}

impl OpRules for Detach {
    fn mnemonic(&self) -> String {
        "detach".into()
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        match operands {
            [x] if x.dtype == DType::F32 => Ok((*x).clone()),
            _ => Err("takes one float".into()),
        }
    }

    fn vjp(&self, _bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        Ok(vec![None])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        Elementwise::scale(1.0).lower(cx)
    }
}
