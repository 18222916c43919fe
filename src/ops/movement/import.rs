//! Import of data movement: Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Slice, Split, SplitToSequence with
//! SequenceAt, Concat, Expand, and selection by constant indices.
//!
//! The batch rules keep the batch factor whole: it may move to another axis, may be merged with other factors and cut off
//! again, and nothing may select or reorder along it.

use super::fixed_batch::freed;
use super::{Broadcast, Concat, Rearrange, Reshape, Slice, Transpose};
use crate::graph::NodeId;
use crate::graph::axes::{Axes, Axis, Factor};
use crate::onnx::{Dim, Int, OnnxNode};
use crate::passes::prove::{Import, Refusal, Rule, Value};

pub(in crate::ops) const IMPORTS: &[(&str, Rule)] = &[
    ("Reshape", reshape),
    ("Flatten", reshape),
    ("Squeeze", reshape),
    ("Unsqueeze", reshape),
    ("Transpose", transpose),
    ("Slice", slice),
    ("Split", split),
    ("SplitToSequence", |cx, n| Ok(vec![cx.value(n, 0)?])),
    ("SequenceAt", sequence_at),
    ("Concat", concat),
    ("Expand", expand),
];

const ALONG_BATCH: &str = "no op may select, drop or reorder records; leave the batch axis whole";

/// The value under axes that hold the same elements in the same order for one record.
pub(in crate::ops) fn relabel(cx: &mut Import<'_>, node: &OnnxNode, id: NodeId, axes: Axes) -> Result<Value, Refusal> {
    let dims = axes.per_record();
    let id = if cx.ty(id).dims == dims { id } else { cx.emit(node, Reshape { dims }, &[id])? };
    Ok(Value { node: id, axes })
}

fn reshape(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    const HELP: &str = "keep the batch axis whole: reshape each record to its own shape";
    let x = cx.value(node, 0)?;
    let dims = match cx.output_dims(node, 0) {
        Ok(dims) => dims,
        Err(_) if x.axes.batch_axis().is_some() && cx.symbolic(node, 1).is_some() => {
            return Err(cx.mixes(node, format!("it cuts the batch axis of {} into pieces", x.axes), HELP));
        }
        Err(refusal) => return Err(refusal),
    };
    let dims = freed(cx, node, &x.axes, dims);
    let Some(axes) = recut(&x.axes, &dims) else {
        let dims: Vec<String> = dims.iter().map(Dim::to_string).collect();
        let why = format!("{} becomes [{}]", x.axes, dims.join(", "));
        if x.axes.batch_axis().is_none() {
            return Err(cx.invalid(node, why));
        }
        return Err(cx.mixes(node, format!("{why}, which cuts the batch into pieces"), HELP));
    };
    Ok(vec![relabel(cx, node, x.node, axes)?])
}

/// The factors of `axes`, in row-major order, cut anew into axes of these dims; `None` if a cut would go through the
/// batch factor or the sizes do not match.
fn recut(axes: &Axes, dims: &[Dim]) -> Option<Axes> {
    let flat = axes.flatten();
    let mut rest = flat.factors().iter().copied();
    let mut front = rest.next();
    let mut out = Vec::new();
    for &dim in dims {
        let (mut size, mut batch) = match dim {
            Dim::Known(size) => (size, false),
            Dim::Batch(size) => (size, true),
        };
        let mut factors = Vec::new();
        while size != 1 || batch {
            match front? {
                Factor::Batch if batch => {
                    batch = false;
                    factors.push(Factor::Batch);
                    front = rest.next();
                }
                Factor::Size(n) if n > 1 && size > 0 && size.is_multiple_of(n) => {
                    size /= n;
                    factors.push(Factor::Size(n));
                    front = rest.next();
                }
                Factor::Size(n) if size > 1 && n.is_multiple_of(size) => {
                    factors.push(Factor::Size(size));
                    front = Some(Factor::Size(n / size));
                    size = 1;
                }
                _ => return None,
            }
        }
        out.push(Axis::of(&factors));
    }
    front.is_none().then_some(Axes(out))
}

fn transpose(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let rank = x.axes.rank();
    let perm = match node.ints("perm").map_err(|e| cx.attribute(node, e))? {
        Some(perm) => perm.iter().map(|&p| cx.axis(node, p, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).rev().collect(),
    };
    if perm.len() != rank || (0..rank).any(|axis| !perm.contains(&axis)) {
        return Err(cx.invalid(node, format!("perm {perm:?} does not fit a value of rank {rank}")));
    }
    let axes = Axes(perm.iter().map(|&p| x.axes.0[p].clone()).collect());
    let perm: Vec<usize> = perm.iter().filter_map(|&p| x.axes.record_axis(p)).collect();
    let moved = !perm.is_sorted();
    let id = if moved { cx.emit(node, Transpose { perm }, &[x.node])? } else { x.node };
    Ok(vec![Value { node: id, axes }])
}

/// The bounds of a slice of an axis, by the rules of ONNX: those below zero count from the end, and those outside are
/// moved to the border.
fn clamped(size: usize, start: i64, end: i64, step: i64) -> (i64, i64) {
    let size = size as i64;
    let from_end = |bound: i64| if bound < 0 { bound.saturating_add(size) } else { bound };
    let (least, most) = if step > 0 { (0, size) } else { (-1, size - 1) };
    (from_end(start).clamp(least, most), from_end(end).clamp(least, most))
}

/// The positions of an axis that a slice takes.
fn positions(size: usize, start: i64, end: i64, step: i64) -> Vec<usize> {
    let (start, end) = clamped(size, start, end, step);
    let mut out = Vec::new();
    let mut at = start;
    while at >= 0 && if step > 0 { at < end } else { at > end } {
        out.push(at as usize);
        at = at.saturating_add(step);
    }
    out
}

/// What a slice takes of each of its axes.
struct SliceBounds {
    starts: Vec<Int>,
    ends: Vec<Int>,
    axes: Vec<i64>,
    steps: Vec<i64>,
}

/// The bounds of a slice: operands, and before opset 10 attributes.
fn slice_bounds(cx: &Import<'_>, node: &OnnxNode) -> Result<SliceBounds, Refusal> {
    let (starts, ends, axes, steps) = if cx.opset() < 10 {
        let list = |name: &str| node.require_ints(name).map_err(|e| cx.attribute(node, e));
        let known = |bounds: Vec<i64>| bounds.into_iter().map(Int::Known).collect();
        let axes = node.ints("axes").map_err(|e| cx.attribute(node, e))?;
        (known(list("starts")?), known(list("ends")?), axes, None)
    } else {
        let bounds = |i: usize| match cx.symbolic(node, i) {
            Some(bounds) => Ok(bounds.to_vec()),
            None => Err(cx.unsupported(node, "a slice whose bounds are not known when the model is compiled")),
        };
        (bounds(1)?, bounds(2)?, cx.ints(node, 3)?, cx.ints(node, 4)?)
    };
    let count = starts.len();
    let axes = axes.unwrap_or_else(|| (0..count as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; count]);
    Ok(SliceBounds { starts, ends, axes, steps })
}

fn slice(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let rank = x.axes.rank();
    let SliceBounds { starts, ends, axes, steps } = slice_bounds(cx, node)?;
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() || steps.contains(&0) {
        return Err(cx.invalid(node, "starts, ends, axes and steps do not fit each other"));
    }
    let mut value = x;
    for (((start, end), axis), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
        let axis = cx.axis(node, axis, rank)?;
        let size = value.axes.0[axis].per_record();
        let Some(at) = value.axes.record_axis(axis).filter(|_| !value.axes.0[axis].is_batched()) else {
            let to_end = match end {
                Int::Known(end) => {
                    let whole = cx.fixed_batch().and_then(|batch| i64::try_from(batch.checked_mul(size)?).ok());
                    end >= whole.unwrap_or(i64::from(i32::MAX))
                }
                Int::Batch(factor) => factor >= size as i64,
            };
            if start == Int::Known(0) && to_end && step == 1 {
                continue;
            }
            let why = format!("it takes some records of axis {axis} of {}, or reorders them", value.axes);
            return Err(cx.mixes(node, why, ALONG_BATCH));
        };
        let (Int::Known(start), Int::Known(end)) = (start, end) else {
            return Err(cx.mixes(node, "its bounds are computed from the batch size", "use constants instead"));
        };
        if step == 1 {
            let (start, end) = clamped(size, start, end, step);
            let (start, len) = (start as usize, (end - start).max(0) as usize);
            value.node = run(cx, node, value.node, at, start, len)?;
            value.axes.0[axis] = Axis::size(len);
            continue;
        }
        selectable(cx, node, size)?;
        let taken = positions(size, start, end, step);
        value.node = take(cx, node, value.node, at, &taken)?;
        value.axes.0[axis] = Axis::size(taken.len());
    }
    Ok(vec![value])
}

/// The elements at consecutive positions of an axis of one record.
fn run(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    x: NodeId,
    axis: usize,
    start: usize,
    len: usize,
) -> Result<NodeId, Refusal> {
    match len {
        0 => Err(cx.unsupported(node, "a selection of no elements")),
        _ if len == cx.ty(x).dims[axis] => Ok(x),
        _ => cx.emit(node, Slice { axis, start, len }, &[x]),
    }
}

/// Refuses to list more elements than are worth it.
fn selectable(cx: &Import<'_>, node: &OnnxNode, elements: usize) -> Result<(), Refusal> {
    const MOST: usize = 1 << 24;
    match elements <= MOST {
        true => Ok(()),
        false => Err(cx.unsupported(node, "a selection from more than 2²⁴ elements")),
    }
}

/// The elements at these positions of an axis of one record.
fn take(cx: &mut Import<'_>, node: &OnnxNode, x: NodeId, axis: usize, at: &[usize]) -> Result<NodeId, Refusal> {
    let dims = cx.ty(x).dims.clone();
    let size = dims[axis];
    let Some(&first) = at.first() else {
        return Err(cx.unsupported(node, "a selection of no elements"));
    };
    if at.iter().enumerate().all(|(k, &p)| p == first + k) {
        return run(cx, node, x, axis, first, at.len());
    }
    selectable(cx, node, cx.ty(x).len())?;
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
    let mut parts = Vec::new();
    for run in at.chunk_by(|a, b| a + 1 == *b) {
        parts.push(cx.emit(node, Slice { axis, start: run[0], len: run.len() }, &[x])?);
    }
    cx.emit(node, Concat { axis }, &parts)
}

/// The elements of a value at constant indices along an ONNX axis, which the dims of the indices replace.
pub(in crate::ops) fn select(
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
    relabel(cx, node, id, Axes(axes))
}

/// `len` elements from `start` on along an ONNX axis.
fn piece(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    x: &Value,
    axis: usize,
    start: usize,
    len: usize,
) -> Result<Value, Refusal> {
    let Some(at) = x.axes.record_axis(axis).filter(|_| !x.axes.0[axis].is_batched()) else {
        return Err(cx.mixes(node, format!("it splits axis {axis} of {}, which holds the batch", x.axes), ALONG_BATCH));
    };
    let mut axes = x.axes.clone();
    axes.0[axis] = Axis::size(len);
    Ok(Value { node: run(cx, node, x.node, at, start, len)?, axes })
}

/// Where each of the pieces of these sizes starts along an axis of size `size`, which they make up.
fn starts(cx: &Import<'_>, node: &OnnxNode, size: usize, sizes: &[usize]) -> Result<Vec<usize>, Refusal> {
    let mut starts = Vec::with_capacity(sizes.len());
    let total = sizes.iter().try_fold(0_usize, |start, &len| {
        starts.push(start);
        start.checked_add(len)
    });
    match total == Some(size) {
        true => Ok(starts),
        false => Err(cx.invalid(node, format!("pieces of sizes {sizes:?} do not make up an axis of size {size}"))),
    }
}

/// `size` cut into pieces of `chunk`, the last one possibly smaller.
fn chunks(size: usize, chunk: usize) -> Vec<usize> {
    (0..size).step_by(chunk.max(1)).map(|at| chunk.max(1).min(size - at)).collect()
}

fn sizes(cx: &Import<'_>, node: &OnnxNode, given: &[i64]) -> Result<Vec<usize>, Refusal> {
    let sizes = given.iter().map(|&n| usize::try_from(n)).collect::<Result<_, _>>();
    sizes.map_err(|_| cx.invalid(node, format!("{given:?} are no sizes")))
}

fn split(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let axis = cx.axis(node, node.int("axis", 0).map_err(|e| cx.attribute(node, e))?, x.axes.rank())?;
    let size = x.axes.0[axis].per_record();
    let given = match cx.opset() < 13 {
        true => node.ints("split").map_err(|e| cx.attribute(node, e))?,
        false => cx.ints(node, 1)?,
    };
    let sizes = match given {
        Some(given) => sizes(cx, node, &given)?,
        None => {
            let count = node.outputs.len();
            let stated = node.int("num_outputs", count as i64).map_err(|e| cx.attribute(node, e))?;
            if stated != count as i64 || count == 0 {
                return Err(cx.invalid(node, format!("num_outputs is {stated}, and there are {count} outputs")));
            }
            chunks(size, size.div_ceil(count))
        }
    };
    let starts = starts(cx, node, size, &sizes)?;
    starts.iter().zip(sizes).map(|(&start, len)| piece(cx, node, &x, axis, start, len)).collect()
}

/// How a sequence's elements are cut off.
enum Cut {
    /// All of this size, the last one possibly smaller.
    Even(usize),
    /// Of these sizes.
    Into(Vec<usize>),
}

/// An element of a sequence that SplitToSequence made; until here the sequence stands for the whole value.
fn sequence_at(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let whole = cx.value(node, 0)?;
    let Some(maker) = cx.producer(node, 0).filter(|n| n.op_type == "SplitToSequence") else {
        return Err(cx.unsupported(node, "a sequence that is not made by SplitToSequence"));
    };
    let axis = cx.axis(maker, maker.int("axis", 0).map_err(|e| cx.attribute(maker, e))?, whole.axes.rank())?;
    let size = whole.axes.0[axis].per_record();
    let (cut, squeeze) = match cx.ints(maker, 1)? {
        None => {
            let keep = maker.int("keepdims", 1).map_err(|e| cx.attribute(maker, e))? != 0;
            (Cut::Even(1), !keep)
        }
        Some(given) => {
            let given = sizes(cx, maker, &given)?;
            let even = cx.input_dims(maker, 1).is_some_and(|dims| dims.is_empty());
            (if even { Cut::Even(given.first().copied().unwrap_or(0).max(1)) } else { Cut::Into(given) }, false)
        }
    };
    let Some([at]) = cx.ints(node, 1)?.as_deref().map(<[i64]>::to_vec).and_then(|v| <[i64; 1]>::try_from(v).ok())
    else {
        return Err(cx.unsupported(node, "a position that is not known when the model is compiled"));
    };
    let (start, len) = match cut {
        Cut::Even(chunk) => {
            let start = cx.axis(node, at, size.div_ceil(chunk))? * chunk;
            (start, chunk.min(size - start))
        }
        Cut::Into(sizes) => {
            let starts = starts(cx, maker, size, &sizes)?;
            let at = cx.axis(node, at, sizes.len())?;
            (starts[at], sizes[at])
        }
    };
    let part = piece(cx, node, &whole, axis, start, len)?;
    if !squeeze {
        return Ok(vec![part]);
    }
    let mut axes = part.axes.clone();
    axes.0.remove(axis);
    Ok(vec![relabel(cx, node, part.node, axes)?])
}

fn concat(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    const HELP: &str = "keep the batch on the same axis of every operand, and concatenate along another";
    let operands = (0..node.inputs.len()).map(|i| cx.value(node, i)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = operands.first() else {
        return Err(cx.invalid(node, "it has no operands"));
    };
    let rank = first.axes.rank();
    let axis = cx.axis(node, node.require_int("axis").map_err(|e| cx.attribute(node, e))?, rank)?;
    let mut axes = first.axes.clone();
    let mut size = 0;
    for value in &operands {
        if value.axes.rank() != rank {
            return Err(cx.invalid(node, "the operands differ in rank"));
        }
        if value.axes.0[axis].is_batched() {
            let why = format!("it concatenates along axis {axis} of {}, which holds the batch", value.axes);
            return Err(cx.mixes(node, why, HELP));
        }
        size = value.axes.0[axis].per_record().saturating_add(size);
        for (k, (own, axis_of_first)) in value.axes.0.iter().zip(&first.axes.0).enumerate() {
            if k != axis && own != axis_of_first {
                let why =
                    format!("axes {} and {} do not continue each other along axis {axis}", first.axes, value.axes);
                let batched = own.is_batched() || axis_of_first.is_batched();
                return Err(if batched { cx.mixes(node, why, HELP) } else { cx.invalid(node, why) });
            }
        }
    }
    let Some(at) = axes.record_axis(axis) else {
        return Err(cx.invalid(node, "it has no axis to concatenate along"));
    };
    axes.0[axis] = Axis::size(size);
    let nodes: Vec<NodeId> = operands.iter().map(|v| v.node).collect();
    let id = if nodes.len() == 1 { nodes[0] } else { cx.emit(node, Concat { axis: at }, &nodes)? };
    Ok(vec![Value { node: id, axes }])
}

fn expand(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    const HELP: &str = "expand a record's axes only, or a value that has no batch to the batch size";
    let x = cx.value(node, 0)?;
    let dims = cx.output_dims(node, 0)?;
    let Some(lead) = dims.len().checked_sub(x.axes.rank()) else {
        return Err(cx.invalid(node, "the result has fewer axes than the operand"));
    };
    let (mut axes, mut own) = (Vec::new(), Vec::new());
    for (k, &dim) in dims.iter().enumerate() {
        let from = k.checked_sub(lead).map_or(Axis::size(1), |j| x.axes.0[j].clone());
        let axis = match dim {
            Dim::Known(size) if !from.is_batched() => Axis::size(size),
            Dim::Batch(size) if from.is_batched() && from.per_record() == size => from.clone(),
            Dim::Known(size)
                if cx.fixed_batch().is_some_and(|batch| from.per_record().checked_mul(batch) == Some(size)) =>
            {
                from.clone()
            }
            Dim::Batch(size) if from.per_record() == 1 && x.axes.batch_axis().is_none() => {
                Axis::of(&[Factor::Batch, Factor::Size(size)])
            }
            _ => {
                let why = format!("axis {from} of {} becomes {dim}, so the batch would meet itself", x.axes);
                return Err(cx.mixes(node, why, HELP));
            }
        };
        if !axis.is_batch() {
            own.push(from.per_record());
        }
        axes.push(axis);
    }
    let axes = Axes(axes);
    if axes.0.iter().filter(|a| a.is_batched()).count() > 1 {
        return Err(cx.mixes(node, format!("the batch is on two axes of {axes}"), HELP));
    }
    let mut id = x.node;
    if cx.ty(id).dims != own {
        id = cx.emit(node, Reshape { dims: own.clone() }, &[id])?;
    }
    let dims = axes.per_record();
    if dims != own {
        id = cx.emit(node, Broadcast { dims }, &[id])?;
    }
    Ok(vec![Value { node: id, axes }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use Factor::{Batch, Size};

    fn axes(axes: &[&[Factor]]) -> Axes {
        Axes(axes.iter().map(|f| Axis::of(f)).collect())
    }

    fn recut_text(from: &[&[Factor]], to: &[Dim]) -> Option<String> {
        recut(&axes(from), to).map(|a| a.to_string())
    }

    #[test]
    fn a_reshape_merges_the_batch_and_cuts_it_off_again() {
        let cut = recut_text(&[&[Size(5)], &[Batch], &[Size(6)]], &[Dim::Known(5), Dim::Batch(2), Dim::Known(3)]);
        assert_eq!(cut.as_deref(), Some("[5, N·2, 3]"));
        let cut = recut_text(&[&[Size(5)], &[Batch], &[Size(6)]], &[Dim::Batch(5), Dim::Known(6)]);
        assert_eq!(cut.as_deref(), Some("[5·N, 6]"));
        let cut = recut_text(&[&[Size(5), Batch], &[Size(6)]], &[Dim::Known(5), Dim::Batch(1), Dim::Known(6)]);
        assert_eq!(cut.as_deref(), Some("[5, N, 6]"));
        let cut = recut_text(&[&[Batch], &[Size(6)], &[Size(4)]], &[Dim::Batch(1), Dim::Known(8), Dim::Known(3)]);
        assert_eq!(cut.as_deref(), Some("[N, 8, 3]"));
        let cut = recut_text(&[&[Batch], &[Size(1)]], &[Dim::Known(1), Dim::Batch(1)]);
        assert_eq!(cut.as_deref(), Some("[1, N]"));
    }

    #[test]
    fn a_reshape_that_cuts_the_batch_is_refused() {
        assert_eq!(recut_text(&[&[Batch], &[Size(2)]], &[Dim::Known(2), Dim::Batch(1)]), None);
        assert_eq!(recut_text(&[&[Size(2)], &[Batch], &[Size(3)]], &[Dim::Batch(1), Dim::Known(6)]), None);
        assert_eq!(recut_text(&[&[Size(4)], &[Batch]], &[Dim::Known(6), Dim::Batch(1)]), None);
        assert_eq!(recut_text(&[&[Batch], &[Size(4)]], &[Dim::Batch(1), Dim::Known(2)]), None);
        assert_eq!(recut_text(&[&[Size(0)], &[Batch]], &[Dim::Known(0), Dim::Batch(1)]), None);
    }

    #[test]
    fn slices_take_what_onnx_says() {
        assert_eq!(positions(5, 1, i64::MAX, 2), [1, 3]);
        assert_eq!(positions(5, -1, i64::MIN, -1), [4, 3, 2, 1, 0]);
        assert_eq!(positions(5, -2, 9, 1), [3, 4]);
        assert_eq!(positions(5, 9, 1, -2), [4, 2]);
        assert!(positions(5, 3, 1, 1).is_empty());
        assert!(positions(0, 0, 9, -1).is_empty());
    }

    #[test]
    fn the_last_chunk_may_be_smaller() {
        assert_eq!(chunks(7, 3), [3, 3, 1]);
        assert_eq!(chunks(6, 3), [3, 3]);
    }
}
