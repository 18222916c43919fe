//! Values of one record as rows along some of its axes, and constant matrices along them.

use super::select::{ALONG_BATCH, selectable};
use super::{Import, Refusal, Value};
use crate::graph::{NodeId, product};
use crate::lower::kernels::{MAX_WINDOW, PoolKind, Window};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::contract::Contract;
use crate::ops::elementwise::Elementwise;
use crate::ops::leaf::{Constant, Data};
use crate::ops::movement::{Concat, Reshape, Slice, Transpose};
use crate::ops::pool::Pool;

/// Where an ONNX axis that an op works along stands among the dims of one record; one that holds the batch is refused.
pub(super) fn along(cx: &Import<'_>, node: &OnnxNode, x: &Value, axis: usize, does: &str) -> Result<usize, Refusal> {
    let at = x.axes.record_axis(axis).filter(|_| !x.axes.0[axis].is_batched());
    at.ok_or_else(|| {
        cx.mixes(node, format!("it {does} along axis {axis} of {}, which holds the batch", x.axes), ALONG_BATCH)
    })
}

/// A value under other dims.
pub(super) fn reshape(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    x: NodeId,
    dims: impl Into<Vec<usize>>,
) -> Result<NodeId, Refusal> {
    let dims = dims.into();
    if cx.ty(x).dims == dims { Ok(x) } else { cx.emit(node, Reshape { dims }, &[x]) }
}

/// A value with its axes in another order.
pub(super) fn transpose(cx: &mut Import<'_>, node: &OnnxNode, x: NodeId, perm: Vec<usize>) -> Result<NodeId, Refusal> {
    if perm.is_sorted() { Ok(x) } else { cx.emit(node, Transpose { perm }, &[x]) }
}

/// A value of one record as a matrix whose rows run over these of its axes, which are ascending.
pub(super) fn rows(cx: &mut Import<'_>, node: &OnnxNode, x: NodeId, along: &[usize]) -> Result<NodeId, Refusal> {
    let dims = cx.ty(x).dims.clone();
    let kept = (0..dims.len()).filter(|k| !along.contains(k));
    let perm: Vec<usize> = kept.clone().chain(along.iter().copied()).collect();
    let sizes = |axes: &[usize]| product(&axes.iter().map(|&axis| dims[axis]).collect::<Vec<_>>());
    let (outer, inner) = (sizes(&kept.collect::<Vec<_>>()), sizes(along));
    let x = transpose(cx, node, x, perm)?;
    reshape(cx, node, x, [outer, inner])
}

/// What [`rows`] made of a value of dims `dims` along the axis `at`, put back: the rows are that axis, of any size.
pub(super) fn unrows(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    y: NodeId,
    dims: &[usize],
    at: usize,
) -> Result<NodeId, Refusal> {
    let size = cx.ty(y).dims[1];
    let others: Vec<usize> = (0..dims.len()).filter(|&k| k != at).map(|k| dims[k]).chain([size]).collect();
    let last = dims.len() - 1;
    let perm = (0..last).collect::<Vec<_>>();
    let perm = [&perm[..at], &[last], &perm[at..]].concat();
    let y = reshape(cx, node, y, others)?;
    transpose(cx, node, y, perm)
}

/// A constant of floats.
pub(super) fn floats(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    dims: impl Into<Vec<usize>>,
    data: Vec<f32>,
) -> Result<NodeId, Refusal> {
    cx.emit(node, Constant { dims: dims.into(), data: Data::F32(data.into()) }, &[])
}

/// A constant of integers.
pub(super) fn integers(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    dims: impl Into<Vec<usize>>,
    data: Vec<i32>,
) -> Result<NodeId, Refusal> {
    cx.emit(node, Constant { dims: dims.into(), data: Data::I32(data.into()) }, &[])
}

/// A function of values whose dims for one record broadcast.
pub(super) fn apply(cx: &mut Import<'_>, node: &OnnxNode, func: Func, operands: &[NodeId]) -> Result<NodeId, Refusal> {
    cx.emit(node, Elementwise::call(func), operands)
}

/// A constant matrix, one row after the other, applied along the axis `at` of one record.
pub(super) fn matrix(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    x: NodeId,
    at: usize,
    matrix: Vec<f32>,
) -> Result<NodeId, Refusal> {
    let dims = cx.ty(x).dims.clone();
    let (size, out) = (dims[at], matrix.len() / dims[at].max(1));
    let matrix = floats(cx, node, [out, size], matrix)?;
    let x = rows(cx, node, x, &[at])?;
    let y = cx.emit(node, Contract::new(false, true), &[x, matrix])?;
    unrows(cx, node, y, &dims, at)
}

/// The largest element of each row of a matrix of floats, as a column. Its cotangent goes to the first of the largest.
pub(super) fn row_max(cx: &mut Import<'_>, node: &OnnxNode, x: NodeId) -> Result<NodeId, Refusal> {
    const MOST: usize = MAX_WINDOW;
    let mut x = x;
    loop {
        let (channels, size) = (cx.ty(x).dims[0], cx.ty(x).dims[1]);
        let kernel = size.min(MOST);
        let mut window = Window::point(1);
        (window.input[2], window.kernel[2], window.stride[2]) = (size, kernel, kernel);
        window.output[2] = size.div_ceil(kernel);
        x = cx.emit(node, Pool { kind: PoolKind::Max, channels, window }, &[x])?;
        if size <= MOST {
            return Ok(x);
        }
    }
}

/// Each row of a matrix folded by a function that is associative, as a column.
pub(super) fn folded(cx: &mut Import<'_>, node: &OnnxNode, x: NodeId, func: Func) -> Result<NodeId, Refusal> {
    let mut x = x;
    loop {
        let size = cx.ty(x).dims[1];
        if size < 2 {
            return Ok(x);
        }
        let half = size / 2;
        let part = |cx: &mut Import<'_>, start, len| cx.emit(node, Slice { axis: 1, start, len }, &[x]);
        let (left, right) = (part(cx, 0, half)?, part(cx, half, half)?);
        let rest = if size % 2 == 1 { Some(part(cx, size - 1, 1)?) } else { None };
        let both = apply(cx, node, func, &[left, right])?;
        x = match rest {
            Some(rest) => cx.emit(node, Concat { axis: 1 }, &[both, rest])?,
            None => both,
        };
    }
}

/// The position of the largest float in each row of a matrix, the first of several or the last, as a column of integers.
pub(super) fn row_argmax(cx: &mut Import<'_>, node: &OnnxNode, x: NodeId, last: bool) -> Result<NodeId, Refusal> {
    let size = cx.ty(x).dims[1];
    let largest = row_max(cx, node, x)?;
    let is_largest = apply(cx, node, Func::Equal, &[x, largest])?;
    first_of(cx, node, is_largest, size, last)
}

/// The positions of an axis of this size.
pub(super) fn positions(cx: &mut Import<'_>, node: &OnnxNode, size: usize) -> Result<NodeId, Refusal> {
    selectable(cx, node, size)?;
    integers(cx, node, [size], (0..size as i32).collect())
}

/// The first or the last position that is true in each row of `size` booleans, as a column of integers.
pub(super) fn first_of(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    found: NodeId,
    size: usize,
    last: bool,
) -> Result<NodeId, Refusal> {
    let positions = positions(cx, node, size)?;
    let none = integers(cx, node, [1], vec![if last { 0 } else { size as i32 - 1 }])?;
    let positions = apply(cx, node, Func::SelectI32, &[found, positions, none])?;
    folded(cx, node, positions, if last { Func::MaxI32 } else { Func::MinI32 })
}
