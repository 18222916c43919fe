//! Rows by id: [Gather](https://onnx.ai/onnx/operators/onnx__Gather.html). Ids that the data give address a shared
//! table; ids that are known when the model is compiled select from any value.

use crate::graph::{DType, NodeId};
use crate::import::axes::{Axes, Axis};
use crate::import::select::select;
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::{Int, OnnxNode};
use crate::ops::embedding::Gather;
use crate::ops::movement::Transpose;
use crate::ops::{Op, leaf};

pub(super) const RULES: &[(&str, Rule)] = &[("Gather", gather)];

fn gather(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let data = cx.value(node, 0)?;
    let rank = data.axes.rank();
    let axis = cx.axis(node, node.int("axis", 0).map_err(|e| cx.attribute(node, e))?, rank)?;
    let is_table = cx.ty(data.node).dtype == DType::F32 && data.axes.batch_axis().is_none();
    let padding = if is_table { padding(cx, node, cx.ty(data.node).dims[axis])? } else { None };
    if let Some((ids, dims)) = constant_ids(cx, node)? {
        let run = ids.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1]) && (pair[0] < 0) == (pair[1] < 0));
        if (run && padding.is_none()) || !is_table {
            return Ok(vec![select(cx, node, &data, axis, &ids, &dims)?]);
        }
    }
    if !is_table {
        return Err(cx.unsupported(node, "ids that depend on the record, into data that do as well"));
    }
    let ids = cx.value(node, 1)?;
    let table_rank = cx.ty(data.node).dims.len();
    let mut table = data.node;
    if axis != 0 {
        let perm = std::iter::once(axis).chain((0..table_rank).filter(|&k| k != axis)).collect();
        table = cx.emit(node, Transpose { perm }, &[table])?;
    }
    address(cx, node, ids.node, cx.ty(table).dims[0])?;
    let mut value = cx.emit(node, Gather { padding }, &[table, ids.node])?;
    if axis != 0 {
        let own = cx.ty(ids.node).dims.len();
        let perm = (own..own + axis).chain(0..own).chain(own + axis..own + table_rank - 1).collect();
        value = cx.emit(node, Transpose { perm }, &[value])?;
    }
    let mut axes: Vec<Axis> = data.axes.0;
    axes.splice(axis..=axis, ids.axes.0);
    Ok(vec![Value { node: value, axes: Axes(axes) }])
}

/// The row of a table of `rows` rows that gets no gradient: as the user says, or else as the call that the node stands for.
/// What else that call does to gradients is noted, as no rule can follow it.
fn padding(cx: &mut Import<'_>, node: &OnnxNode, rows: usize) -> Result<Option<usize>, Refusal> {
    let call = node.aten.as_ref().filter(|call| call.operator == "embedding");
    if call.is_some_and(|call| call.arguments.get(3).is_some_and(|flag| flag == "True")) {
        cx.note(format!(
            "node `{}`: scale_grad_by_freq=True, which divides a row's gradient by how often the batch has it, would let \
             records meet and is left out",
            node.name
        ));
    }
    let stated = cx.parameter(node, 0).and_then(|parameter| parameter.padding_idx);
    // PyTorch writes the row counted from the front, and -1 where there is none.
    let Some(row) = stated.or_else(|| call?.integer(2).filter(|row| *row >= 0)) else { return Ok(None) };
    let resolved = usize::try_from(if row < 0 { row + rows as i64 } else { row }).ok().filter(|row| *row < rows);
    match resolved {
        Some(row) => {
            cx.note(format!("node `{}`: row {row} of its table gets no gradient (padding_idx)", node.name));
            Ok(Some(row))
        }
        None => Err(cx.invalid(node, format!("padding_idx {row} is outside a table of {rows} rows"))),
    }
}

/// Ids, and their dims.
type ConstantIds = (Vec<i64>, Vec<usize>);

/// Ids that are known when the model is compiled.
fn constant_ids(cx: &Import<'_>, node: &OnnxNode) -> Result<Option<ConstantIds>, Refusal> {
    if let Some(tensor) = cx.known(node, 1) {
        return Ok(tensor.ints().map(|ids| (ids.to_vec(), tensor.dims.clone())));
    }
    match cx.symbolic(node, 1) {
        Some(ids) if ids.iter().any(|id| matches!(id, Int::Batch(_))) => {
            Err(cx.mixes(node, "its indices are computed from the batch size", "use constants instead"))
        }
        _ => Ok(None),
    }
}

/// Follows ids to where they come from: an input of the model is noted to address `rows` rows, and constants must lie
/// within them, counted from either end. The op itself counts from the end where an id is below zero.
pub(super) fn address(cx: &mut Import<'_>, node: &OnnxNode, ids: NodeId, rows: usize) -> Result<(), Refusal> {
    let mut open = vec![ids];
    while let Some(id) = open.pop() {
        match cx.graph().op(id) {
            Op::Input(input) => {
                let name = input.name.clone();
                cx.declare_ids(&name, rows);
            }
            Op::Constant(leaf::Constant { data: leaf::Data::I32(data), .. }) => {
                let rows = rows as i64;
                if !data.iter().all(|&id| (-rows..rows).contains(&i64::from(id))) {
                    return Err(cx.invalid(node, format!("a constant id is outside a table of {rows} rows")));
                }
            }
            Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) | Op::Concat(_) | Op::Broadcast(_) | Op::Rearrange(_) => {
                open.extend(cx.graph().operands(id));
            }
            _ => return Err(cx.unsupported(node, "ids that are computed from the data")),
        }
    }
    Ok(())
}
