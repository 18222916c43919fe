//! [Tile](https://onnx.ai/onnx/operators/onnx__Tile.html): a value repeated along its axes.

use crate::import::axes::{Axes, Axis, Factor};
use crate::import::rows::reshape;
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::{Int, OnnxNode};
use crate::ops::movement::Broadcast;

pub(super) const RULES: &[(&str, Rule)] = &[("Tile", tile)];

fn tile(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    const HELP: &str = "repeat along a record's axes only, or a value that has no batch to the batch size";
    let x = cx.value(node, 0)?;
    let Some(repeats) = cx.symbolic(node, 1).map(<[Int]>::to_vec) else {
        return Err(cx.unsupported(node, "repeats that are not known when the model is compiled"));
    };
    if repeats.len() != x.axes.rank() {
        return Err(cx.invalid(node, format!("{} repeats for axes {}", repeats.len(), x.axes)));
    }
    // Per axis of a record: how often it is repeated, and its size.
    let (mut axes, mut counts) = (Vec::new(), Vec::new());
    let batched = x.axes.batch_axis();
    for (k, (axis, repeat)) in x.axes.0.iter().zip(repeats).enumerate() {
        let size = axis.per_record();
        let (times, becomes) = match repeat {
            Int::Known(1) => (1, axis.clone()),
            _ if axis.is_batched() => {
                return Err(cx.mixes(node, format!("it repeats axis {k} of {}, which holds the batch", x.axes), HELP));
            }
            Int::Known(times @ 1..) if times < 1 << 31 => {
                (times as usize, Axis::size(size.saturating_mul(times as usize)))
            }
            // All records have the same.
            Int::Batch(factor @ 1..) if factor < 1 << 31 && size == 1 && batched.is_none() => {
                (factor as usize, Axis::of(&[Factor::Batch, Factor::Size(factor as usize)]))
            }
            Int::Batch(_) => return Err(cx.mixes(node, "it repeats as many times as there are records", HELP)),
            Int::Known(_) => return Err(cx.unsupported(node, "a result without elements")),
        };
        if !axis.is_batch() {
            counts.push((times, size));
        }
        axes.push(becomes);
    }
    let axes = Axes(axes);
    if axes.0.iter().filter(|axis| axis.is_batched()).count() > 1 {
        return Err(cx.mixes(node, "several axes would hold the batch", HELP));
    }
    let len = counts.iter().try_fold(1_usize, |n, &(times, size)| n.checked_mul(times)?.checked_mul(size));
    if len.is_none_or(|len| len >= 1 << 31) {
        return Err(cx.unsupported(node, "a result of more than 2³¹ elements"));
    }
    let mut y = x.node;
    for (at, &(times, size)) in counts.iter().enumerate().filter(|(_, (times, _))| *times > 1) {
        let mut dims = cx.ty(y).dims.clone();
        dims.insert(at, 1);
        y = reshape(cx, node, y, dims.clone())?;
        dims[at] = times;
        y = cx.emit(node, Broadcast { dims: dims.clone() }, &[y])?;
        dims.splice(at..at + 2, [times * size]);
        y = reshape(cx, node, y, dims)?;
    }
    Ok(vec![cx.relabel(node, y, axes)?])
}
