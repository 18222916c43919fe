//! The reverse order of elements along one axis.

use super::{Backward, OpRules, VjpError};
use crate::graph::{DType, NodeId, Type};
use crate::lower::kernels;
use crate::lower::{LowerError, Lowering};

/// The elements along an axis in reverse order.
#[derive(Clone, Debug, PartialEq)]
pub struct Flip {
    /// The axis.
    pub axis: usize,
}

impl OpRules for Flip {
    fn mnemonic(&self) -> String {
        "flip".into()
    }

    fn attributes(&self) -> String {
        format!("axis={}", self.axis)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        match operands {
            [x] if x.dtype == DType::F32 && self.axis < x.dims.len() => Ok((*x).clone()),
            _ => Err(format!("takes a float with an axis {}", self.axis)),
        }
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let dy = bw.cotangent();
        let dx = bw.emit(self.clone(), &[dy])?;
        Ok(vec![Some(bw.sum_batch_to(0, dx)?)])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let ty = cx.ty();
        let kernel = kernels::Flip {
            batched: ty.batched,
            outer: ty.dims[..self.axis].iter().product(),
            len: ty.dims[self.axis],
            inner: ty.dims[self.axis + 1..].iter().product(),
        };
        let (read, out) = (cx.operand(0), cx.output());
        cx.launch(kernel, &[read], &[out]);
        Ok(())
    }
}
