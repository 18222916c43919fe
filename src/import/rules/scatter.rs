//! Elements replaced by number: [ScatterElements](https://onnx.ai/onnx/operators/onnx__ScatterElements.html),
//! [ScatterND](https://onnx.ai/onnx/operators/onnx__ScatterND.html), by indices that are known when the model is compiled, or
//! that name elements of the record's own ([`own_elements`]).

use super::gather_elements::{coordinates, flat, from_front, indexed, known_indices, place};
use crate::graph::{DType, NodeId, Type, product};
use crate::import::axes::Axis;
use crate::import::rows::{apply, integers, reshape};
use crate::import::select::{ALONG_BATCH, selectable, take};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::embedding::Scatter;
use crate::ops::leaf::Fill;
use crate::ops::movement::Concat;

pub(super) const RULES: &[(&str, Rule)] =
    &[("ScatterElements", scatter_elements), ("Scatter", scatter_elements), ("ScatterND", scatter_nd)];

fn indices(cx: &Import<'_>, node: &OnnxNode) -> Result<(Vec<i64>, Vec<usize>), Refusal> {
    known_indices(cx, node, 1)
        .ok_or_else(|| cx.unsupported(node, "indices that are not known when the model is compiled"))
}

fn scatter_elements(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let (data, updates) = (cx.value(node, 0)?, cx.value(node, 2)?);
    let rank = data.axes.rank();
    let axis = cx.axis(node, node.int("axis", 0).map_err(|e| cx.attribute(node, e))?, rank)?;
    let (ids, dims) = indices(cx, node)?;
    if let Some(value) = [&data, &updates].into_iter().find(|value| value.axes.batch_axis().is_some()) {
        let why = format!("its indices are constants, and so tell records of {} by number", value.axes);
        return Err(cx.mixes(node, why, ALONG_BATCH));
    }
    let own = data.axes.per_record();
    if updates.axes.per_record() != dims || dims.len() != rank {
        return Err(cx.invalid(node, format!("indices of dims {dims:?} do not fit {}", updates.axes)));
    }
    selectable(cx, node, ids.len().max(cx.ty(data.node).len()))?;
    let mut targets = Vec::with_capacity(ids.len());
    for (mut target, &id) in coordinates(&dims).zip(&ids) {
        target[axis] = from_front(cx, node, id, own[axis])?;
        if target.iter().zip(&own).any(|(at, size)| at >= size) {
            return Err(cx.invalid(node, format!("indices of dims {dims:?} do not fit {}", data.axes)));
        }
        targets.push(flat(&target, &own));
    }
    scattered(cx, node, data, &updates, &targets, 1)
}

fn scatter_nd(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let (data, updates) = (cx.value(node, 0)?, cx.value(node, 2)?);
    if let Some(step) = cx.offset(node, 1) {
        return own_elements(cx, node, data, &updates, step);
    }
    let (ids, dims) = indices(cx, node)?;
    let sizes = indexed(cx, node, &data, &dims, 0)?;
    let rest = &data.axes.0[sizes.len()..];
    let inner = product(&rest.iter().map(Axis::per_record).collect::<Vec<_>>());
    let picked = dims[..dims.len() - 1].iter().map(|&dim| Axis::size(dim));
    if !picked.chain(rest.iter().cloned()).eq(updates.axes.0.iter().cloned()) {
        let why = format!("updates of axes {} do not replace parts of {}", updates.axes, data.axes);
        let batched = data.axes.batch_axis().or(updates.axes.batch_axis()).is_some();
        return Err(if batched { cx.mixes(node, why, ALONG_BATCH) } else { cx.invalid(node, why) });
    }
    let targets = ids.chunks(sizes.len()).map(|id| place(cx, node, id, &sizes)).collect::<Result<Vec<_>, _>>()?;
    scattered(cx, node, data, &updates, &targets, inner)
}

/// Elements of all records in a row, of which each record replaces its own: the indices count on by `step` with each record.
fn own_elements(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    data: Value,
    updates: &Value,
    step: usize,
) -> Result<Vec<Value>, Refusal> {
    let ids = cx.value_or_own_row(node, 1)?;
    let fits = match (&data.axes.0[..], &ids.axes.0[..], &updates.axes.0[..]) {
        ([all], [each, one], [update]) => {
            let led = all.leads_with_batch() && all.per_record() == step;
            led && each == update && each.leads_with_batch() && *one == Axis::size(1)
        }
        _ => false,
    };
    if !fits {
        let why = format!(
            "its indices of axes {} count on by {step} with each record, which are not the record's own of {}",
            ids.axes, data.axes
        );
        return Err(cx.mixes(node, why, ALONG_BATCH));
    }
    if [data.node, updates.node].iter().any(|&id| cx.ty(id).dtype != DType::F32) {
        return Err(cx.unsupported(node, "a combination of values that are no floats"));
    }
    let reduction = node.string("reduction", "none").map_err(|e| cx.attribute(node, e))?;
    let count = updates.axes.0[0].per_record();
    let (table, old) = (vec![step], reshape(cx, node, data.node, [step])?);
    let (ids, new) = (reshape(cx, node, ids.node, [count])?, reshape(cx, node, updates.node, [count])?);
    let put = cx.emit(node, Scatter { table: table.clone() }, &[ids, new])?;
    let result = match reduction {
        "add" => apply(cx, node, Func::Add, &[old, put])?,
        "none" => {
            let ones = cx.emit(node, Fill { ty: Type::shared([count]), value: 1.0 }, &[])?;
            let hits = cx.emit(node, Scatter { table }, &[ids, ones])?;
            let half = cx.emit(node, Fill { ty: Type::shared([]), value: 0.5 }, &[])?;
            let hit = apply(cx, node, Func::Less, &[half, hits])?;
            apply(cx, node, Func::Select, &[hit, put, old])?
        }
        other => return Err(cx.unsupported(node, &format!("reduction `{other}` of indices that depend on the data"))),
    };
    cx.note(format!("node `{}` takes its indices from the data: where two are equal, their updates add up", node.name));
    Ok(vec![cx.relabel(node, result, data.axes)?])
}

/// The data, as rows of `inner` elements, with each row of the updates put in the place of its target's, or combined with it.
fn scattered(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    data: Value,
    updates: &Value,
    targets: &[usize],
    inner: usize,
) -> Result<Vec<Value>, Refusal> {
    const MOST_ROUNDS: usize = 256;
    let reduction = node.string("reduction", "none").map_err(|e| cx.attribute(node, e))?;
    let count = cx.ty(data.node).len() / inner.max(1);
    let (table, rows) =
        (reshape(cx, node, data.node, [count, inner])?, reshape(cx, node, updates.node, [targets.len(), inner])?);
    if reduction == "none" {
        let mut at: Vec<usize> = (0..count).collect();
        // Of several updates of a row the last one stays.
        targets.iter().enumerate().for_each(|(k, &target)| at[target] = count + k);
        let all = cx.emit(node, Concat { axis: 0 }, &[table, rows])?;
        let taken = take(cx, node, all, 0, &at)?;
        return Ok(vec![cx.relabel(node, taken, data.axes)?]);
    }
    if cx.ty(table).dtype != DType::F32 {
        return Err(cx.unsupported(node, "a combination of values that are no floats"));
    }
    let rounds = rounds(targets);
    if rounds.len() > MOST_ROUNDS {
        return Err(cx.unsupported(node, &format!("more than {MOST_ROUNDS} updates of an element")));
    }
    selectable(cx, node, count)?;
    let mut result = table;
    for round in rounds {
        let missing = count - round.len();
        let mut source = rows;
        if missing > 0 {
            let nothing = cx.emit(node, Fill { ty: Type::shared([missing, inner]), value: 0.0 }, &[])?;
            source = cx.emit(node, Concat { axis: 0 }, &[rows, nothing])?;
        }
        let mut at: Vec<Option<usize>> = vec![None; count];
        round.iter().for_each(|&k| at[targets[k]] = Some(k));
        let hit = at.iter().map(|k| i32::from(k.is_some())).collect();
        let mut none = targets.len()..;
        let at: Vec<usize> = at.into_iter().map(|k| k.or_else(|| none.next()).unwrap_or(0)).collect();
        let update = take(cx, node, source, 0, &at)?;
        let combined = combined(cx, node, reduction, result, update)?;
        let hit = integers(cx, node, [count, 1], hit)?;
        let hit = apply(cx, node, Func::I32ToBool, &[hit])?;
        result = apply(cx, node, Func::Select, &[hit, combined, result])?;
    }
    Ok(vec![cx.relabel(node, result, data.axes)?])
}

/// The updates in rounds, in none of which two have the same target.
fn rounds(targets: &[usize]) -> Vec<Vec<usize>> {
    let mut seen = std::collections::HashMap::new();
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    for (k, &target) in targets.iter().enumerate() {
        let round = seen.entry(target).or_insert(0);
        if *round == rounds.len() {
            rounds.push(vec![]);
        }
        rounds[*round].push(k);
        *round += 1;
    }
    rounds
}

fn combined(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    reduction: &str,
    old: NodeId,
    new: NodeId,
) -> Result<NodeId, Refusal> {
    let less = match reduction {
        "add" => return apply(cx, node, Func::Add, &[old, new]),
        "mul" => return apply(cx, node, Func::Mul, &[old, new]),
        "max" => apply(cx, node, Func::Less, &[old, new])?,
        "min" => apply(cx, node, Func::Less, &[new, old])?,
        other => return Err(cx.invalid(node, format!("reduction `{other}` is not one of ONNX's"))),
    };
    apply(cx, node, Func::Select, &[less, new, old])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_round_has_a_target_twice() {
        assert_eq!(rounds(&[4, 1, 4, 4, 1]), [vec![0, 1], vec![2, 4], vec![3]]);
    }
}
