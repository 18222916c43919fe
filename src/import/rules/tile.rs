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
    let own = cx.ty(x.node).dims.clone();
    let (mut axes, mut apart, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    let batched = x.axes.batch_axis();
    for (k, (axis, repeat)) in x.axes.0.iter().zip(repeats).enumerate() {
        let size = axis.per_record();
        let times = match repeat {
            Int::Known(1) => 1,
            _ if axis.is_batched() => {
                return Err(cx.mixes(node, format!("it repeats axis {k} of {}, which holds the batch", x.axes), HELP));
            }
            Int::Known(times @ 1..) if times < 1 << 31 => times as usize,
            Int::Batch(factor @ 1..) if size == 1 && batched.is_none() => {
                // All records have the same.
                axes.push(Axis::of(&[Factor::Batch, Factor::Size(factor as usize)]));
                if factor != 1 {
                    apart.push(1);
                    whole.push(factor as usize);
                }
                continue;
            }
            Int::Batch(_) => return Err(cx.mixes(node, "it repeats as many times as there are records", HELP)),
            Int::Known(_) => return Err(cx.unsupported(node, "a result without elements")),
        };
        if times > 1 {
            apart.push(1);
            whole.push(times);
        }
        if !axis.is_batch() {
            apart.push(size);
            whole.push(size);
        }
        axes.push(if times == 1 { axis.clone() } else { Axis::size(size.saturating_mul(times)) });
    }
    let axes = Axes(axes);
    if axes.0.iter().filter(|axis| axis.is_batched()).count() > 1 {
        return Err(cx.mixes(node, "several axes would hold the batch", HELP));
    }
    if whole.iter().try_fold(1_usize, |n, &size| n.checked_mul(size)).is_none_or(|n| n >= 1 << 31) {
        return Err(cx.unsupported(node, "a result of more than 2³¹ elements"));
    }
    let mut y = x.node;
    if whole != own {
        y = reshape(cx, node, y, apart)?;
        y = cx.emit(node, Broadcast { dims: whole }, &[y])?;
    }
    Ok(vec![cx.relabel(node, y, axes)?])
}
