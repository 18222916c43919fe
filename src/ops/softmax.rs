//! Softmax and log-softmax along one axis.
//!
//! ONNX: [Softmax](https://onnx.ai/onnx/operators/onnx__Softmax.html),
//! [LogSoftmax](https://onnx.ai/onnx/operators/onnx__LogSoftmax.html): along one axis, and before opset 13 over all axes
//! from one on.

use super::movement::Reshape;
use super::{Backward, OpRules, VjpError};
use crate::graph::{DType, NodeId, Type};
use crate::lower::kernels::{self, SoftmaxRows};
use crate::lower::{LowerError, Lowering};
use crate::onnx::OnnxNode;
use crate::passes::prove::{Import, Refusal, Rule, Value};

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

pub(super) const IMPORTS: &[(&str, Rule)] =
    &[("Softmax", |cx, n| softmax(cx, n, false)), ("LogSoftmax", |cx, n| softmax(cx, n, true))];

fn softmax(cx: &mut Import<'_>, node: &OnnxNode, log: bool) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let over_rest = cx.opset() < 13;
    let default = if over_rest { 1 } else { -1 };
    let axis = cx.axis(node, node.int("axis", default).map_err(|e| cx.attribute(node, e))?, x.axes.rank())?;
    let last = if over_rest { x.axes.rank() - 1 } else { axis };
    if let Some(batch) = x.axes.batch_axis().filter(|batch| (axis..=last).contains(batch)) {
        let why = format!("it normalises over axis {batch} of {}, which holds the batch", x.axes);
        return Err(cx.mixes(node, why, "normalise over an axis of the record"));
    }
    let Some(at) = x.axes.record_axis(axis) else {
        return Err(cx.invalid(node, format!("axis {axis} of {} is none of a record", x.axes)));
    };
    let dims = cx.ty(x.node).dims.clone();
    let mut flat = dims.clone();
    let rest = flat.splice(at..=at + last - axis, []).product();
    flat.insert(at, rest);
    if flat == dims {
        let y = cx.emit(node, Softmax { axis: at, log }, &[x.node])?;
        return Ok(vec![Value { node: y, axes: x.axes }]);
    }
    let rows = cx.emit(node, Reshape { dims: flat }, &[x.node])?;
    let rows = cx.emit(node, Softmax { axis: at, log }, &[rows])?;
    Ok(vec![Value { node: cx.emit(node, Reshape { dims }, &[rows])?, axes: x.axes }])
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
