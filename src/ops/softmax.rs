//! Softmax and log-softmax along one axis.

use super::{Backward, OpRules, VjpError};
use crate::graph::{DType, NodeId, Type};
use crate::lower::kernels::{self, SoftmaxRows};
use crate::lower::{LowerError, Lowering};

/// Softmax along an axis, or its logarithm.
#[derive(Clone, Debug, PartialEq)]
pub struct Softmax {
    /// The axis.
    pub axis: usize,
    /// Whether the logarithm is taken.
    pub log: bool,
}

/// The cotangent of a softmax's operand, from its value `y` and the cotangent `dy` of that.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftmaxVjp {
    /// The axis.
    pub axis: usize,
    /// Whether the logarithm is taken.
    pub log: bool,
}

fn name(log: bool) -> &'static str {
    if log { "log_softmax" } else { "softmax" }
}

fn rows(ty: &Type, axis: usize, log: bool) -> SoftmaxRows {
    SoftmaxRows {
        batched: ty.batched,
        log,
        outer: ty.dims[..axis].iter().product(),
        len: ty.dims[axis],
        inner: ty.dims[axis + 1..].iter().product(),
    }
}

impl OpRules for Softmax {
    fn mnemonic(&self) -> String {
        name(self.log).into()
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
        let (y, dy) = (bw.value(), bw.cotangent());
        let dx = bw.emit(SoftmaxVjp { axis: self.axis, log: self.log }, &[y, dy])?;
        Ok(vec![Some(bw.sum_batch_to(0, dx)?)])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let kernel = kernels::Softmax(rows(cx.ty(), self.axis, self.log));
        let (read, out) = (cx.operand(0), cx.output());
        cx.launch(kernel, &[read], &[out]);
        Ok(())
    }
}

impl OpRules for SoftmaxVjp {
    fn mnemonic(&self) -> String {
        format!("{}_vjp", name(self.log))
    }

    fn attributes(&self) -> String {
        format!("axis={}", self.axis)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        match operands {
            [y, dy]
                if y.dtype == DType::F32 && dy.dtype == DType::F32 && y.dims == dy.dims && self.axis < y.dims.len() =>
            {
                Ok(Type { batched: y.batched || dy.batched, ..(*y).clone() })
            }
            _ => Err(format!("takes a float with an axis {} and its cotangent", self.axis)),
        }
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let kernel = kernels::SoftmaxVjp(rows(cx.ty(), self.axis, self.log));
        let reads = [cx.spread(0), cx.spread(1)];
        let out = cx.output();
        cx.launch(kernel, &reads, &[out]);
        Ok(())
    }
}
