//! Selection of positions of an axis of a record; nothing selects along the batch.

use super::axes::{Axes, Axis};
use super::rows::{integers, reshape};
use super::{Import, Refusal, Value};
use crate::graph::{DType, NodeId, Type};
use crate::onnx::OnnxNode;
use crate::ops::leaf::Fill;
use crate::ops::movement::{Concat, Rearrange, Slice};

/// What to do about a selection along the batch.
pub(super) const ALONG_BATCH: &str = "no op may select, drop or reorder records; leave the batch axis whole";

/// The elements at consecutive positions of an axis of one record.
pub(super) fn run(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    x: NodeId,
    axis: usize,
    start: usize,
    len: usize,
) -> Result<NodeId, Refusal> {
    match len {
        0 => nothing(cx, node, x, axis),
        _ if len == cx.ty(x).dims[axis] => Ok(x),
        _ => cx.emit(node, Slice { axis, start, len }, &[x]),
    }
}

/// No elements along an axis of one record: a part of a concatenation, perhaps, that adds nothing.
fn nothing(cx: &mut Import<'_>, node: &OnnxNode, x: NodeId, axis: usize) -> Result<NodeId, Refusal> {
    let mut ty = cx.ty(x).clone();
    ty.dims[axis] = 0;
    cx.emit(node, Fill { ty, value: 0.0 }, &[])
}

/// Refuses to list more elements than are worth it.
pub(super) fn selectable(cx: &Import<'_>, node: &OnnxNode, elements: usize) -> Result<(), Refusal> {
    const MOST: usize = 1 << 24;
    match elements <= MOST {
        true => Ok(()),
        false => Err(cx.unsupported(node, "a selection from more than 2²⁴ elements")),
    }
}

/// The elements at these positions of an axis of one record.
pub(super) fn take(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    x: NodeId,
    axis: usize,
    at: &[usize],
) -> Result<NodeId, Refusal> {
    let dims = cx.ty(x).dims.clone();
    let size = dims[axis];
    let Some(&first) = at.first() else {
        return nothing(cx, node, x, axis);
    };
    if at.iter().enumerate().all(|(k, &p)| p == first + k) {
        return run(cx, node, x, axis, first, at.len());
    }
    selectable(cx, node, cx.ty(x).len().max((cx.ty(x).len() / size).saturating_mul(at.len())))?;
    let mut seen = vec![false; size];
    if !at.iter().any(|&p| std::mem::replace(&mut seen[p], true)) {
        let inner: usize = dims[axis + 1..].iter().product();
        let outer: usize = dims[..axis].iter().product();
        let map = (0..outer)
            .flat_map(|o| at.iter().map(move |p| (o * size + p) * inner))
            .flat_map(|row| row..row + inner)
            .map(i32::try_from)
            .collect::<Result<_, _>>()
            .map_err(|_| cx.unsupported(node, "a selection from more than 2³¹ elements"))?;
        let from_len = cx.ty(x).len();
        let mut dims = dims;
        dims[axis] = at.len();
        return cx.emit(node, Rearrange { map, dims, from_len }, &[x]);
    }
    const FEW_RUNS: usize = 8;
    let runs: Vec<&[usize]> = at.chunk_by(|a, b| a + 1 == *b).collect();
    let mut parts = Vec::new();
    if runs.len() <= FEW_RUNS {
        for run in runs {
            parts.push(cx.emit(node, Slice { axis, start: run[0], len: run.len() }, &[x])?);
        }
        return cx.emit(node, Concat { axis }, &parts);
    }
    let (rounds, order) = rounds(cx, node, at, size)?;
    for round in &rounds {
        parts.push(take(cx, node, x, axis, round)?);
    }
    let all = cx.emit(node, Concat { axis }, &parts)?;
    take(cx, node, all, axis, &order)
}

/// Places that repeat, as rounds in each of which no place repeats, and where each of the places is in all rounds one after
/// the other. A permutation has a derivative that is one, where a selection with repetitions has not.
fn rounds(
    cx: &Import<'_>,
    node: &OnnxNode,
    places: &[usize],
    size: usize,
) -> Result<(Vec<Vec<usize>>, Vec<usize>), Refusal> {
    const MOST_ROUNDS: usize = 256;
    let mut seen = vec![0; size];
    let (mut rounds, mut at) = (Vec::<Vec<usize>>::new(), Vec::new());
    for &place in places {
        let round = seen[place];
        seen[place] += 1;
        if round == rounds.len() {
            rounds.push(vec![]);
        }
        at.push((round, rounds[round].len()));
        rounds[round].push(place);
    }
    if rounds.len() > MOST_ROUNDS {
        return Err(cx.unsupported(node, &format!("a selection that takes an element more than {MOST_ROUNDS} times")));
    }
    let starts: Vec<usize> = rounds
        .iter()
        .scan(0, |start, round| {
            *start += round.len();
            Some(*start - round.len())
        })
        .collect();
    let order = at.into_iter().map(|(round, k)| starts[round] + k).collect();
    Ok((rounds, order))
}

/// The elements of one record at these places, row-major, as a value of these dims; zero where there is no place.
pub(super) fn elements(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    x: NodeId,
    places: &[Option<usize>],
    dims: &[usize],
) -> Result<NodeId, Refusal> {
    selectable(cx, node, places.len().max(cx.ty(x).len()))?;
    let len = cx.ty(x).len();
    let mut flat = reshape(cx, node, x, [len])?;
    let zeros = places.iter().filter(|place| place.is_none()).count();
    if zeros > 0 {
        let zeros = match cx.ty(x).dtype {
            DType::F32 => cx.emit(node, Fill { ty: Type::shared([zeros]), value: 0.0 }, &[])?,
            _ => integers(cx, node, [zeros], vec![0; zeros])?,
        };
        flat = cx.emit(node, Concat { axis: 0 }, &[flat, zeros])?;
    }
    let mut zero = len..;
    let places: Vec<usize> = places.iter().map(|place| place.or_else(|| zero.next()).unwrap_or(len)).collect();
    let taken = take(cx, node, flat, 0, &places)?;
    reshape(cx, node, taken, dims)
}

/// The elements of a value at constant indices along an ONNX axis, which the dims of the indices replace.
pub(super) fn select(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    x: &Value,
    axis: usize,
    ids: &[i64],
    dims: &[usize],
) -> Result<Value, Refusal> {
    let Some(at) = x.axes.record_axis(axis).filter(|_| !x.axes.0[axis].is_batched()) else {
        return Err(cx.mixes(node, format!("it picks records by number along axis {axis} of {}", x.axes), ALONG_BATCH));
    };
    let size = x.axes.0[axis].per_record() as i64;
    let resolve = |&id: &i64| usize::try_from(if id < 0 { id + size } else { id }).ok().filter(|&p| (p as i64) < size);
    let Some(positions) = ids.iter().map(resolve).collect::<Option<Vec<_>>>() else {
        return Err(cx.invalid(node, format!("an index is outside an axis of size {size}")));
    };
    let id = take(cx, node, x.node, at, &positions)?;
    let mut axes = x.axes.0.clone();
    axes.splice(axis..=axis, dims.iter().map(|&d| Axis::size(d)));
    cx.relabel(node, id, Axes(axes))
}
