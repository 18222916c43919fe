//! Elements by tuples of indices: [GatherND](https://onnx.ai/onnx/operators/onnx__GatherND.html). The batch is a batch
//! dimension of it, or the first index is the record's own number.

use super::gather::address;
use crate::graph::{DType, NodeId, product};
use crate::import::axes::Axes;
use crate::import::select::selectable;
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::{Expr, Func, Step, Value as Scalar};
use crate::onnx::OnnxNode;
use crate::ops::elementwise::Elementwise;
use crate::ops::embedding::Gather;
use crate::ops::leaf::{Constant, Data};
use crate::ops::movement::{Reshape, Slice};

pub(super) const RULES: &[(&str, Rule)] = &[("GatherND", gather_nd)];

fn gather_nd(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    const HELP: &str =
        "make the batch the first of its batch dimensions, or index each record's own row by Range(0, N)";
    let by_own_row = cx.indexes_own_row(node, 1);
    let (data, indices) = (cx.value(node, 0)?, cx.value_or_own_row(node, 1)?);
    let batch_dims = node.int("batch_dims", 0).map_err(|e| cx.attribute(node, e))?;
    let mut batch_dims = usize::try_from(batch_dims).unwrap_or(usize::MAX);
    let Some(tuple) = indices.axes.0.last() else {
        return Err(cx.invalid(node, "its indices are a scalar"));
    };
    if tuple.is_batched() {
        return Err(cx.mixes(node, format!("the tuples of its indices {} run over the batch", indices.axes), HELP));
    }
    let width = tuple.per_record();
    if batch_dims >= data.axes.rank().min(indices.axes.rank()) || batch_dims + width > data.axes.rank() || width == 0 {
        return Err(cx.invalid(node, format!("indices of axes {} do not fit data of axes {}", indices.axes, data.axes)));
    }
    // What each component of an index runs over, in the data of one record.
    let mut first = 0;
    let named = batch_dims + width;
    let behind = data.axes.batch_axis().is_some_and(|batch| batch >= named) && indices.axes.batch_axis().is_none();
    if data.axes.batch_axis().is_some() && !behind {
        let leads = data.axes.0[0].is_batch();
        let alone = leads && by_own_row && batch_dims == 0;
        let together = leads && !by_own_row && batch_dims > 0 && indices.axes.0[0].is_batch();
        if !alone && !together {
            let why = format!("indices of axes {} may pick records of {}", indices.axes, data.axes);
            return Err(cx.mixes(node, why, HELP));
        }
        first = usize::from(alone);
        batch_dims -= usize::from(together);
    } else if by_own_row || (!behind && batch_dims > 0 && indices.axes.0[0].is_batched()) {
        return Err(cx.mixes(node, format!("it picks rows of {} by the number of the record", data.axes), HELP));
    }
    let dims = cx.ty(data.node).dims.clone();
    let own = cx.ty(indices.node).dims.clone();
    let lead = own[..own.len() - 1].to_vec();
    if lead.len() < batch_dims || dims[..batch_dims] != lead[..batch_dims] {
        return Err(cx.invalid(node, format!("indices of axes {} do not fit data of axes {}", indices.axes, data.axes)));
    }
    let runs = batch_dims + width - first;
    let mut flat: Option<NodeId> = None;
    for k in 0..runs {
        let component = match k.checked_sub(batch_dims) {
            None => positions(cx, node, &lead, k)?,
            Some(k) => {
                let part = Slice { axis: own.len() - 1, start: first + k, len: 1 };
                let part = if width == 1 { indices.node } else { cx.emit(node, part, &[indices.node])? };
                let part = cx.emit(node, Reshape { dims: lead.clone() }, &[part])?;
                if runs == 1 { part } else { from_front(cx, node, part, dims[batch_dims + k])? }
            }
        };
        flat = Some(match flat {
            None => component,
            Some(before) => {
                let size = i32::try_from(dims[k]).map_err(|_| cx.unsupported(node, "an axis beyond 2³¹"))?;
                let steps = vec![
                    Step::Operand(0, DType::I32),
                    Step::Const(Scalar::I32(size)),
                    Step::Call(Func::MulI32, [0, 1, 0]),
                    Step::Operand(1, DType::I32),
                    Step::Call(Func::AddI32, [2, 3, 0]),
                ];
                emit(cx, node, steps, &[before, component])?
            }
        });
    }
    let Some(ids) = flat else {
        // The index is the record's own number and nothing else: its whole row.
        let mut axes = indices.axes.0[..indices.axes.rank() - 1].to_vec();
        axes.extend(data.axes.0[1..].iter().cloned());
        return if lead.is_empty() {
            Ok(vec![Value { axes: Axes(axes), ..data }])
        } else {
            Err(cx.unsupported(node, "a row repeated"))
        };
    };
    let rows = product(&dims[..runs]);
    let rest = &dims[runs..];
    address(cx, node, ids, rows)?;
    let table = cx.emit(node, Reshape { dims: [&[rows], rest].concat() }, &[data.node])?;
    let picked = cx.emit(node, Gather { padding: None }, &[table, ids])?;
    let mut axes = indices.axes.0[..indices.axes.rank() - 1].to_vec();
    axes.extend(data.axes.0[named..].iter().cloned());
    Ok(vec![Value { node: picked, axes: Axes(axes) }])
}

fn emit(cx: &mut Import<'_>, node: &OnnxNode, steps: Vec<Step>, operands: &[NodeId]) -> Result<NodeId, Refusal> {
    let expr = Expr::new(steps).map_err(|e| cx.unsupported(node, &e.to_string()))?;
    cx.emit(node, Elementwise { expr }, operands)
}

/// Ids that may be counted from the end, counted from the front.
fn from_front(cx: &mut Import<'_>, node: &OnnxNode, ids: NodeId, size: usize) -> Result<NodeId, Refusal> {
    let size = i32::try_from(size).map_err(|_| cx.unsupported(node, "an axis beyond 2³¹"))?;
    let steps = vec![
        Step::Operand(0, DType::I32),
        Step::Const(Scalar::I32(0)),
        Step::Call(Func::LessI32, [0, 1, 0]),
        Step::Const(Scalar::I32(size)),
        Step::Call(Func::AddI32, [0, 3, 0]),
        Step::Call(Func::SelectI32, [2, 4, 0]),
    ];
    emit(cx, node, steps, &[ids])
}

/// The positions along axis `k` of a value of these dims.
fn positions(cx: &mut Import<'_>, node: &OnnxNode, dims: &[usize], k: usize) -> Result<NodeId, Refusal> {
    let (inner, count) = (product(&dims[k + 1..]), product(dims));
    selectable(cx, node, count)?;
    let data: Vec<i32> = (0..count).map(|i| (i / inner % dims[k]) as i32).collect();
    cx.emit(node, Constant { dims: dims.to_vec(), data: Data::I32(data.into()) }, &[])
}
