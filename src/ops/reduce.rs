//! Sums over axes of one record.
//!
//! ONNX: [ReduceSum](https://onnx.ai/onnx/operators/onnx__ReduceSum.html),
//! [ReduceMean](https://onnx.ai/onnx/operators/onnx__ReduceMean.html),
//! [GlobalAveragePool](https://onnx.ai/onnx/operators/onnx__GlobalAveragePool.html).

use super::elementwise::Elementwise;
use super::movement::{Broadcast, Reshape};
use super::{Backward, OpRules, VjpError};
use crate::graph::axes::{Axes, Axis};
use crate::graph::{DType, NodeId, Type, strides};
use crate::lower::kernels::{self, Records, Walk};
use crate::lower::program::Extent;
use crate::lower::{LowerError, Lowering};
use crate::onnx::OnnxNode;
use crate::passes::prove::{Import, Refusal, Rule, Value};

/// The sum over some axes of one record, which are dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum {
    /// The axes, ascending.
    pub axes: Vec<usize>,
}

pub(super) const IMPORTS: &[(&str, Rule)] = &[
    ("ReduceSum", |cx, n| reduce(cx, n, false)),
    ("ReduceMean", |cx, n| reduce(cx, n, true)),
    ("GlobalAveragePool", |cx, n| {
        let x = cx.value(n, 0)?;
        let axes = (2..x.axes.rank()).collect();
        reduce_axes(cx, n, x, axes, true, true)
    }),
];

fn reduce(cx: &mut Import<'_>, node: &OnnxNode, mean: bool) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let rank = x.axes.rank();
    let listed = match cx.ints(node, 1)? {
        Some(axes) => Some(axes),
        None => node.ints("axes").map_err(|e| cx.attribute(node, e))?,
    };
    let keep = node.int("keepdims", 1).map_err(|e| cx.attribute(node, e))? != 0;
    let noop = node.int("noop_with_empty_axes", 0).map_err(|e| cx.attribute(node, e))? != 0;
    let listed = match listed.filter(|a| !a.is_empty()) {
        None if noop => return Ok(vec![x]),
        None => (0..rank as i64).collect(),
        Some(axes) => axes,
    };
    let mut axes = listed.iter().map(|&a| cx.axis(node, a, rank)).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    axes.dedup();
    reduce_axes(cx, node, x, axes, keep, mean)
}

fn reduce_axes(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    x: Value,
    axes: Vec<usize>,
    keep: bool,
    mean: bool,
) -> Result<Vec<Value>, Refusal> {
    if let Some(b) = x.axes.batch_axis().filter(|b| axes.contains(b)) {
        let why = format!("it reduces over axis {b} of {}, which holds the batch", x.axes);
        return Err(cx.mixes(node, why, "reduce over other axes, so that each record is treated alone"));
    }
    let record_axes: Vec<usize> = axes.iter().filter_map(|&a| x.axes.record_axis(a)).collect();
    let count: usize = axes.iter().map(|&a| x.axes.0[a].per_record()).product();
    let mut value = cx.emit(node, Sum { axes: record_axes }, &[x.node])?;
    if mean {
        value = cx.emit(node, Elementwise::scale(1.0 / count as f32), &[value])?;
    }
    let axes = Axes(
        x.axes
            .0
            .iter()
            .enumerate()
            .filter(|(k, _)| keep || !axes.contains(k))
            .map(|(k, a)| if axes.contains(&k) { Axis::size(1) } else { a.clone() })
            .collect(),
    );
    if keep {
        value = cx.emit(node, Reshape { dims: axes.per_record() }, &[value])?;
    }
    Ok(vec![Value { node: value, axes }])
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
