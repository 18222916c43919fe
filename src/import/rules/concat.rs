//! [Concat](https://onnx.ai/onnx/operators/onnx__Concat.html).

use crate::graph::NodeId;
use crate::import::axes::Axis;
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;
use crate::ops::movement::Concat;

pub(super) const RULES: &[(&str, Rule)] = &[("Concat", concat)];

fn concat(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    const HELP: &str = "keep the batch on the same axis of every operand, and concatenate along another";
    let operands = (0..node.inputs.len()).map(|i| cx.value_or_nothing(node, i)).collect::<Result<Vec<_>, _>>()?;
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
    let nodes: Vec<NodeId> = operands.iter().filter(|v| !v.axes.hold_nothing()).map(|v| v.node).collect();
    let id = match nodes[..] {
        [] => operands[0].node,
        [only] => only,
        _ => cx.emit(node, Concat { axis: at }, &nodes)?,
    };
    Ok(vec![Value { node: id, axes }])
}
