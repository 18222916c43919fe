//! Reductions over axes of a record: [ReduceSum](https://onnx.ai/onnx/operators/onnx__ReduceSum.html), ReduceMean, ReduceMax,
//! ReduceMin, ReduceProd, ReduceL1, ReduceL2, ReduceSumSquare, ReduceLogSum, ReduceLogSumExp.

use crate::graph::{DType, NodeId};
use crate::import::axes::{Axes, Axis};
use crate::import::reduction::{OTHER_AXES, reduced};
use crate::import::rows::{apply, floats, folded, integers, reshape, row_max, rows};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::detach::Detach;
use crate::ops::movement::Broadcast;
use crate::ops::reduce::Sum;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("ReduceSum", |cx, n| reduce(cx, n, Reduction::Sum)),
    ("ReduceMean", |cx, n| reduce(cx, n, Reduction::Mean)),
    ("ReduceMax", |cx, n| reduce(cx, n, Reduction::Max)),
    ("ReduceMin", |cx, n| reduce(cx, n, Reduction::Min)),
    ("ReduceProd", |cx, n| reduce(cx, n, Reduction::Prod)),
    ("ReduceL1", |cx, n| reduce(cx, n, Reduction::L1)),
    ("ReduceL2", |cx, n| reduce(cx, n, Reduction::L2)),
    ("ReduceSumSquare", |cx, n| reduce(cx, n, Reduction::SumSquare)),
    ("ReduceLogSum", |cx, n| reduce(cx, n, Reduction::LogSum)),
    ("ReduceLogSumExp", |cx, n| reduce(cx, n, Reduction::LogSumExp)),
];

/// What becomes of the elements.
#[derive(Clone, Copy, PartialEq)]
enum Reduction {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    L1,
    L2,
    SumSquare,
    LogSum,
    LogSumExp,
}

use Reduction::*;

fn reduce(cx: &mut Import<'_>, node: &OnnxNode, reduction: Reduction) -> Result<Vec<Value>, Refusal> {
    let x = cx.value_or_nothing(node, 0)?;
    let rank = x.axes.rank();
    let listed = match cx.ints(node, 1)? {
        Some(axes) => Some(axes),
        None => node.ints("axes").map_err(|e| cx.attribute(node, e))?,
    };
    let keep = node.int("keepdims", 1).map_err(|e| cx.attribute(node, e))? != 0;
    let noop = node.int("noop_with_empty_axes", 0).map_err(|e| cx.attribute(node, e))? != 0;
    let mut axes = match listed.filter(|a| !a.is_empty()) {
        None if noop => vec![],
        None => (0..rank).collect(),
        Some(axes) => axes.iter().map(|&a| cx.axis(node, a, rank)).collect::<Result<Vec<_>, _>>()?,
    };
    axes.sort_unstable();
    axes.dedup();
    if axes.is_empty() && matches!(reduction, Sum | Mean | Max | Min | Prod) {
        return Ok(vec![cx.value(node, 0)?]);
    }
    let floats = cx.ty(x.node).dtype == DType::F32;
    if matches!(reduction, Sum | Mean) && floats && !x.axes.hold_nothing() {
        return Ok(vec![reduced(cx, node, x, axes, keep, reduction == Mean)?]);
    }
    if let Some(b) = x.axes.batch_axis().filter(|b| axes.contains(b)) {
        let why = format!("it reduces over axis {b} of {}, which holds the batch", x.axes);
        return Err(cx.mixes(node, why, OTHER_AXES));
    }
    let kept = x.axes.0.iter().enumerate().filter(|(k, _)| keep || !axes.contains(k));
    let size = |(k, axis): (usize, &Axis)| if axes.contains(&k) { Axis::size(1) } else { axis.clone() };
    let result = Axes(kept.map(size).collect());
    if x.axes.hold_nothing() {
        return Ok(vec![of_nothing(cx, node, result, reduction)?]);
    }
    let along: Vec<usize> = axes.iter().filter_map(|&a| x.axes.record_axis(a)).collect();
    let rows = rows(cx, node, x.node, &along)?;
    let column = match cx.ty(x.node).dtype {
        DType::F32 => of_floats(cx, node, rows, reduction)?,
        dtype => of_others(cx, node, rows, reduction, dtype)?,
    };
    Ok(vec![cx.relabel(node, column, result)?])
}

/// The reduction of each row of floats, as a column.
fn of_floats(cx: &mut Import<'_>, node: &OnnxNode, x: NodeId, reduction: Reduction) -> Result<NodeId, Refusal> {
    let sum = |cx: &mut Import<'_>, x: NodeId| cx.emit(node, Sum { axes: vec![1] }, &[x]);
    Ok(match reduction {
        Sum | Mean => sum(cx, x)?,
        Max => row_max(cx, node, x)?,
        Min => {
            let x = apply(cx, node, Func::Neg, &[x])?;
            let most = row_max(cx, node, x)?;
            apply(cx, node, Func::Neg, &[most])?
        }
        Prod => folded(cx, node, x, Func::Mul)?,
        L1 => {
            let x = apply(cx, node, Func::Abs, &[x])?;
            sum(cx, x)?
        }
        SumSquare | L2 => {
            let squares = apply(cx, node, Func::Mul, &[x, x])?;
            let sum = sum(cx, squares)?;
            if reduction == L2 { root(cx, node, sum)? } else { sum }
        }
        LogSum => {
            let sum = sum(cx, x)?;
            apply(cx, node, Func::Log, &[sum])?
        }
        LogSumExp => {
            // Shifted by the largest, so that nothing overflows; the derivative is that of the unshifted sum.
            let most = row_max(cx, node, x)?;
            let most = cx.emit(node, Detach {}, &[most])?;
            let most = apply(cx, node, Func::Guard, &[most, most])?;
            let shifted = apply(cx, node, Func::Sub, &[x, most])?;
            let powers = apply(cx, node, Func::Exp, &[shifted])?;
            let total = sum(cx, powers)?;
            let log = apply(cx, node, Func::Log, &[total])?;
            let rows = cx.ty(log).len();
            let most = reshape(cx, node, most, [rows])?;
            apply(cx, node, Func::Add, &[log, most])?
        }
    })
}

/// The square root of sums of squares, with the derivative 0 where that is 0, as PyTorch's norms have it.
pub(super) fn root(cx: &mut Import<'_>, node: &OnnxNode, squares: NodeId) -> Result<NodeId, Refusal> {
    let (zero, one) = (floats(cx, node, [], vec![0.0])?, floats(cx, node, [], vec![1.0])?);
    let is_zero = apply(cx, node, Func::Equal, &[squares, zero])?;
    let safe = apply(cx, node, Func::Select, &[is_zero, one, squares])?;
    let root = apply(cx, node, Func::Sqrt, &[safe])?;
    apply(cx, node, Func::Select, &[is_zero, zero, root])
}

/// The reduction of each row of integers or booleans, as a column.
fn of_others(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    x: NodeId,
    reduction: Reduction,
    dtype: DType,
) -> Result<NodeId, Refusal> {
    let (x, func) = match (reduction, dtype) {
        (Max, DType::Bool) => (x, Func::Or),
        (Min, DType::Bool) => (x, Func::And),
        (Sum, DType::I32) => (x, Func::AddI32),
        (Max, DType::I32) => (x, Func::MaxI32),
        (Min, DType::I32) => (x, Func::MinI32),
        (Prod, DType::I32) => (x, Func::MulI32),
        (L1, DType::I32) => (apply(cx, node, Func::AbsI32, &[x])?, Func::AddI32),
        (SumSquare, DType::I32) => (apply(cx, node, Func::MulI32, &[x, x])?, Func::AddI32),
        _ => return Err(cx.unsupported(node, "this reduction of values that are no floats")),
    };
    folded(cx, node, x, func)
}

/// The reduction of no elements, which is the same everywhere.
fn of_nothing(cx: &mut Import<'_>, node: &OnnxNode, axes: Axes, reduction: Reduction) -> Result<Value, Refusal> {
    if axes.hold_nothing() {
        return Err(cx.unsupported(node, &format!("its result of dims {axes} has no elements")));
    }
    let float = cx.output_elem(node, 0).is_none_or(|elem| elem.is_float());
    let constant = match (reduction, float) {
        (Sum | L1 | L2 | SumSquare, true) => floats(cx, node, [], vec![0.0])?,
        (Prod, true) => floats(cx, node, [], vec![1.0])?,
        (Mean, true) => floats(cx, node, [], vec![f32::NAN])?,
        (Max | LogSum | LogSumExp, true) => floats(cx, node, [], vec![f32::NEG_INFINITY])?,
        (Min, true) => floats(cx, node, [], vec![f32::INFINITY])?,
        (Sum | L1 | SumSquare, false) => integers(cx, node, [], vec![0])?,
        (Prod, false) => integers(cx, node, [], vec![1])?,
        _ => return Err(cx.unsupported(node, "this reduction of no elements")),
    };
    let node = cx.emit(node, Broadcast { dims: axes.per_record() }, &[constant])?;
    Ok(Value { node, axes })
}
