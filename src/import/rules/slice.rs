//! [Slice](https://onnx.ai/onnx/operators/onnx__Slice.html).

use crate::import::axes::Axis;
use crate::import::select::{ALONG_BATCH, run, selectable, take};
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::{Int, OnnxNode};

pub(super) const RULES: &[(&str, Rule)] = &[("Slice", slice)];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_take_what_onnx_says() {
        assert_eq!(positions(5, 1, i64::MAX, 2), [1, 3]);
        assert_eq!(positions(5, -1, i64::MIN, -1), [4, 3, 2, 1, 0]);
        assert_eq!(positions(5, -2, 9, 1), [3, 4]);
        assert_eq!(positions(5, 9, 1, -2), [4, 2]);
        assert!(positions(5, 3, 1, 1).is_empty());
        assert!(positions(0, 0, 9, -1).is_empty());
    }
}
