//! Sums over axes of one record.

use super::movement::{Broadcast, Reshape};
use super::{Backward, OpRules, VjpError};
use crate::graph::{DType, NodeId, Type, strides};
use crate::lower::kernels::{self, Records, Walk};
use crate::lower::program::Extent;
use crate::lower::{LowerError, Lowering};

/// The sum over some axes of one record, which are dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum {
    /// The axes, ascending.
    pub axes: Vec<usize>,
}

impl OpRules for Sum {
    fn mnemonic(&self) -> String {
        "sum".into()
    }

    fn attributes(&self) -> String {
        format!("axes={:?}", self.axes)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        let [x] = operands else { return Err("takes one operand".into()) };
        if x.dtype != DType::F32 || self.axes.iter().any(|&a| a >= x.dims.len()) {
            return Err(format!("axes {:?} of {x} cannot be summed", self.axes));
        }
        let dims: Vec<usize> =
            x.dims.iter().enumerate().filter(|(k, _)| !self.axes.contains(k)).map(|(_, d)| *d).collect();
        Ok(x.with_dims(dims))
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let x = bw.ty(bw.operand(0));
        let ones: Vec<usize> =
            x.dims.iter().enumerate().map(|(k, &d)| if self.axes.contains(&k) { 1 } else { d }).collect();
        let d = bw.cotangent();
        let d = bw.emit(Reshape { dims: ones }, &[d])?;
        let d = bw.emit(Broadcast { dims: x.dims.clone() }, &[d])?;
        Ok(vec![Some(bw.sum_batch_to(0, d)?)])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let x = cx.operand_ty(0).clone();
        let own = strides(&x.dims);
        let walk = |summed: bool| -> Vec<Walk> {
            (0..x.dims.len())
                .filter(|k| self.axes.contains(k) == summed)
                .map(|k| Walk { size: x.dims[k], stride: own[k] })
                .collect()
        };
        let (read, out) = (cx.operand(0), cx.output());
        let records = Records::Each(Extent::of(1, x.batched));
        let kernel =
            kernels::Reduce { records, record: x.len(), kept: walk(false), reduced: walk(true), square: false };
        cx.launch(kernel, &[read], &[out]);
        Ok(())
    }
}
