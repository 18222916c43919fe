//! Elements by number: [GatherElements](https://onnx.ai/onnx/operators/onnx__GatherElements.html).

use crate::graph::{DType, product};
use crate::import::axes::{Axes, Axis};
use crate::import::rows::{along, apply, floats, integers, positions, reshape, rows, unrows};
use crate::import::select::{ALONG_BATCH, elements, run, selectable};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::reduce::Sum;

pub(super) const RULES: &[(&str, Rule)] = &[("GatherElements", gather_elements)];

/// Indices that are known when the model is compiled, and their dims.
pub(super) fn known_indices(cx: &Import<'_>, node: &OnnxNode, i: usize) -> Option<(Vec<i64>, Vec<usize>)> {
    let tensor = cx.known(node, i)?;
    Some((tensor.ints()?.to_vec(), tensor.dims.clone()))
}

/// An index counted from the front.
pub(super) fn from_front(cx: &Import<'_>, node: &OnnxNode, id: i64, size: usize) -> Result<usize, Refusal> {
    let at = usize::try_from(if id < 0 { id + size as i64 } else { id }).ok().filter(|&at| at < size);
    at.ok_or_else(|| cx.invalid(node, format!("index {id} is outside an axis of size {size}")))
}

/// For each element of a value of dims `dims`, row-major, its place along the axes.
pub(super) fn coordinates(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    (0..product(dims)).map(move |mut element: usize| {
        let mut at = vec![0; dims.len()];
        for (at, &size) in at.iter_mut().zip(dims).rev() {
            *at = element % size;
            element /= size;
        }
        at
    })
}

/// The number of an element in row-major order.
pub(super) fn flat(at: &[usize], dims: &[usize]) -> usize {
    at.iter().zip(dims).fold(0_usize, |flat, (&at, &size)| flat.saturating_mul(size).saturating_add(at))
}

fn gather_elements(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let data = cx.value(node, 0)?;
    let rank = data.axes.rank();
    let axis = cx.axis(node, node.int("axis", 0).map_err(|e| cx.attribute(node, e))?, rank)?;
    let at = along(cx, node, &data, axis, "picks elements")?;
    let size = data.axes.0[axis].per_record();
    if let (Some((ids, dims)), None) = (known_indices(cx, node, 1), data.axes.batch_axis()) {
        let own = data.axes.per_record();
        let fits = dims.len() == rank && (0..rank).all(|k| k == axis || dims[k] <= own[k]);
        if !fits {
            return Err(cx.invalid(node, format!("indices of dims {dims:?} do not fit {}", data.axes)));
        }
        selectable(cx, node, ids.len())?;
        let mut places = Vec::with_capacity(ids.len());
        for (mut place, &id) in coordinates(&dims).zip(&ids) {
            place[axis] = from_front(cx, node, id, size)?;
            places.push(Some(flat(&place, &own)));
        }
        let taken = elements(cx, node, data.node, &places, &dims)?;
        return Ok(vec![Value { node: taken, axes: Axes::shared(&dims) }]);
    }
    let ids = cx.value(node, 1)?;
    let (own, of_ids) = (data.axes.batch_axis(), ids.axes.batch_axis());
    if ids.axes.rank() != rank {
        return Err(cx.invalid(node, format!("indices of axes {} do not fit {}", ids.axes, data.axes)));
    }
    if own != of_ids || own.is_some_and(|b| data.axes.0[b] != ids.axes.0[b]) {
        let why = format!("it picks records of {} by number, with indices of axes {}", data.axes, ids.axes);
        return Err(cx.mixes(node, why, ALONG_BATCH));
    }
    if cx.ty(data.node).dtype != DType::F32 || cx.ty(ids.node).dtype != DType::I32 {
        return Err(cx.unsupported(node, "a selection by the data from values that are no floats"));
    }
    // Of the other axes only the part that the indices have.
    let mut whole = data.node;
    for k in (0..rank).filter(|&k| k != axis && !ids.axes.0[k].is_batched()) {
        let (len, have) = (ids.axes.0[k].per_record(), data.axes.0[k].per_record());
        let Some(k) = data.axes.record_axis(k).filter(|_| len <= have) else {
            return Err(cx.invalid(node, format!("indices of axes {} do not fit {}", ids.axes, data.axes)));
        };
        whole = run(cx, node, whole, k, 0, len)?;
    }
    let dims = cx.ty(ids.node).dims.clone();
    let picked = dims[at];
    selectable(cx, node, cx.ty(ids.node).len().saturating_mul(size))?;
    let (table, ids_of) = (rows(cx, node, whole, &[at])?, rows(cx, node, ids.node, &[at])?);
    let outer = cx.ty(table).dims[0];
    let table = reshape(cx, node, table, [outer, 1, size])?;
    let id = reshape(cx, node, ids_of, [outer, picked, 1])?;
    let (zero, end) = (integers(cx, node, [], vec![0])?, integers(cx, node, [], vec![size as i32])?);
    let below = apply(cx, node, Func::LessI32, &[id, zero])?;
    let from_end = apply(cx, node, Func::AddI32, &[id, end])?;
    let id = apply(cx, node, Func::SelectI32, &[below, from_end, id])?;
    let positions = positions(cx, node, size)?;
    let here = apply(cx, node, Func::EqualI32, &[id, positions])?;
    let none = floats(cx, node, [], vec![0.0])?;
    let found = apply(cx, node, Func::Select, &[here, table, none])?;
    let found = cx.emit(node, Sum { axes: vec![2] }, &[found])?;
    Ok(vec![Value { node: unrows(cx, node, found, &dims, at)?, axes: ids.axes }])
}

/// What constant indices that name several axes address.
pub(super) struct Indexed {
    /// Axes that data and indices share.
    pub lead: usize,
    /// How many there are.
    pub picked: usize,
    /// Sizes of the axes that an index names.
    pub sizes: Vec<usize>,
}

/// The axes of `data` that indices of dims `dims` name, after `lead` axes that both have; none of them may hold the batch.
pub(super) fn indexed(
    cx: &Import<'_>,
    node: &OnnxNode,
    data: &Value,
    dims: &[usize],
    lead: i64,
) -> Result<Indexed, Refusal> {
    let rank = data.axes.rank();
    let lead = usize::try_from(lead).ok().filter(|&lead| lead < dims.len() && lead < rank);
    let (Some(lead), Some((&width, picked))) = (lead, dims.split_last()) else {
        return Err(cx.invalid(node, format!("indices of dims {dims:?} do not fit {}", data.axes)));
    };
    let named = lead.saturating_add(width);
    let sizes: Vec<usize> = data.axes.0.iter().map(Axis::per_record).collect();
    if width == 0 || named > rank || sizes[..lead] != dims[..lead] {
        return Err(cx.invalid(node, format!("indices of dims {dims:?} do not fit {}", data.axes)));
    }
    if let Some(batch) = data.axes.batch_axis().filter(|&batch| batch < named) {
        let why = format!("it picks records by number along axis {batch} of {}", data.axes);
        return Err(cx.mixes(node, why, ALONG_BATCH));
    }
    let picked = product(picked);
    selectable(cx, node, picked)?;
    Ok(Indexed { lead, picked, sizes: sizes[lead..named].to_vec() })
}

/// The number, in row-major order, of what an index of several axes names.
pub(super) fn place(cx: &Import<'_>, node: &OnnxNode, id: &[i64], sizes: &[usize]) -> Result<usize, Refusal> {
    let at = id.iter().zip(sizes).map(|(&id, &size)| from_front(cx, node, id, size)).collect::<Result<Vec<_>, _>>()?;
    Ok(flat(&at, sizes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_counted_row_major() {
        let dims = [2, 3];
        assert!(coordinates(&dims).map(|at| flat(&at, &dims)).eq(0..6));
        assert_eq!(coordinates(&dims).nth(4), Some(vec![1, 1]));
    }
}
