//! Rows by id: [Gather](https://onnx.ai/onnx/operators/onnx__Gather.html). Ids that the data give address a shared
//! table; ids that are known when the model is compiled select from any value.

use crate::graph::{DType, NodeId};
use crate::import::axes::{Axes, Axis};
use crate::import::select::{ALONG_BATCH, select};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::{Int, OnnxNode};
use crate::ops::embedding::Gather;
use crate::ops::movement::Transpose;
use crate::ops::{Graph, Op, leaf};

pub(super) const RULES: &[(&str, Rule)] = &[("Gather", gather)];

fn gather(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let data = cx.value(node, 0)?;
    let rank = data.axes.rank();
    let axis = cx.axis(node, node.int("axis", 0).map_err(|e| cx.attribute(node, e))?, rank)?;
    let is_table = data.axes.batch_axis().is_none();
    let floats = is_table && cx.ty(data.node).dtype == DType::F32;
    let padding = if floats { padding(cx, node, cx.ty(data.node).dims[axis])? } else { None };
    if let Some((ids, dims)) = constant_ids(cx, node)? {
        let run = ids.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1]) && (pair[0] < 0) == (pair[1] < 0));
        if (run && padding.is_none()) || !floats {
            return Ok(vec![select(cx, node, &data, axis, &ids, &dims)?]);
        }
    }
    let ids = cx.value(node, 1)?;
    let Some(at) = data.axes.record_axis(axis).filter(|_| !data.axes.0[axis].is_batched()) else {
        return Err(cx.mixes(
            node,
            format!("it picks records by number along axis {axis} of {}", data.axes),
            ALONG_BATCH,
        ));
    };
    if !is_table && ids.axes.batch_axis().is_some() {
        let why = format!(
            "both operands hold the batch ({} and {}), so that it pairs records with each other",
            data.axes, ids.axes
        );
        return Err(cx.mixes(
            node,
            why,
            "pick from each record's own values with GatherElements, or GatherND with batch_dims",
        ));
    }
    let table_rank = cx.ty(data.node).dims.len();
    let mut table = data.node;
    if at != 0 {
        let perm = std::iter::once(at).chain((0..table_rank).filter(|&k| k != at)).collect();
        table = cx.emit(node, Transpose { perm }, &[table])?;
    }
    address(cx, node, ids.node, cx.ty(table).dims[0])?;
    let mut value = cx.emit(node, Gather { padding }, &[table, ids.node])?;
    if at != 0 {
        let own = cx.ty(ids.node).dims.len();
        let perm = (own..own + at).chain(0..own).chain(own + at..own + table_rank - 1).collect();
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
/// within them, counted from either end. The op itself counts from the end where an id is below zero. Of ids that are
/// computed nothing is known but that those beyond the table take its last row.
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
            _ => match wrapped(cx.graph(), id, rows) {
                Some(ids) => open.push(ids),
                None => {
                    let sentence = format!(
                        "node `{}`: its indices are computed from the data; one beyond the {rows} rows takes the last of them",
                        node.name
                    );
                    cx.note(sentence);
                }
            },
        }
    }
    Ok(())
}

/// The ids of which `Where(ids < 0, ids + rows, ids)` is made, as Keras counts from the end.
fn wrapped(graph: &Graph, id: NodeId, rows: usize) -> Option<NodeId> {
    let call = |id: NodeId, func: Func| match graph.op(id) {
        Op::Elementwise(op) if op.expr.as_call() == Some(func) => Some(graph.operands(id)),
        _ => None,
    };
    let holds = |id: NodeId, number: i32| {
        matches!(graph.op(id), Op::Constant(leaf::Constant { data: leaf::Data::I32(data), .. })
            if data.iter().all(|&x| x == number))
    };
    let choice = call(id, Func::SelectI32)?;
    let (below, above) = (call(choice[0], Func::LessI32)?, call(choice[1], Func::AddI32)?);
    let ids = choice[2];
    let fits = below[0] == ids && holds(below[1], 0) && above[0] == ids && holds(above[1], i32::try_from(rows).ok()?);
    fits.then_some(ids)
}
