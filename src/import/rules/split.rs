//! Pieces of an axis: [Split](https://onnx.ai/onnx/operators/onnx__Split.html), and SplitToSequence with SequenceAt.

use crate::import::axes::Axis;
use crate::import::select::{ALONG_BATCH, run};
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;

pub(super) const RULES: &[(&str, Rule)] =
    &[("Split", split), ("SplitToSequence", |cx, n| Ok(vec![cx.value(n, 0)?])), ("SequenceAt", sequence_at)];

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
    Ok(vec![cx.relabel(node, part.node, axes)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_chunk_may_be_smaller() {
        assert_eq!(chunks(7, 3), [3, 3, 1]);
        assert_eq!(chunks(6, 3), [3, 3]);
    }
}
