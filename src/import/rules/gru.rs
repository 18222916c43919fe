//! [GRU](https://onnx.ai/onnx/operators/onnx__GRU.html), with the reset before the recurrent product, or after it as PyTorch
//! has it.

use super::recurrent::{Products, layer};
use crate::graph::{NodeId, Type};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::cells::Kind;
use crate::onnx::OnnxNode;
use crate::ops::leaf::Fill;
use crate::ops::movement::{Concat, Slice};

pub(super) const RULES: &[(&str, Rule)] = &[("GRU", gru)];

fn gru(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    match node.int("linear_before_reset", 0).map_err(|e| cx.attribute(node, e))? {
        0 => layer(cx, node, Kind::Gru, |cx, node, products| products.summed(cx, node)),
        _ => layer(cx, node, Kind::GruResetAfter, reset_after),
    }
}

/// The columns z and r with all biases, the recurrent bias of n, and the rest of n.
fn reset_after(cx: &mut Import<'_>, node: &OnnxNode, products: &Products) -> Result<NodeId, Refusal> {
    let &Products { mut input, biases, steps, hidden, .. } = products;
    if let Some(biases) = biases {
        input = products.plus(cx, node, input, biases, 0, 3 * hidden)?;
    }
    let mut gates = cx.emit(node, Slice { axis: 1, start: 0, len: 2 * hidden }, &[input])?;
    let candidate = cx.emit(node, Slice { axis: 1, start: 2 * hidden, len: hidden }, &[input])?;
    let recurrent = match biases {
        Some(biases) => {
            gates = products.plus(cx, node, gates, biases, 3 * hidden, 2 * hidden)?;
            let own = cx.emit(node, Slice { axis: 0, start: 5 * hidden, len: hidden }, &[biases])?;
            products.at_all_steps(cx, node, own)?
        }
        None => cx.emit(node, Fill { ty: Type::shared([steps, hidden]), value: 0.0 }, &[])?,
    };
    cx.emit(node, Concat { axis: 1 }, &[gates, recurrent, candidate])
}
