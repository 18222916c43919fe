//! [Expand](https://onnx.ai/onnx/operators/onnx__Expand.html).

use crate::import::axes::{Axes, Axis, Factor};
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::{Dim, OnnxNode};
use crate::ops::movement::{Broadcast, Reshape};

pub(super) const RULES: &[(&str, Rule)] = &[("Expand", expand)];

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
