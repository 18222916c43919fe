//! [Dropout](https://onnx.ai/onnx/operators/onnx__Dropout.html). Before opset 12 it has no training mode: it is
//! the identity.

use crate::graph::{NodeId, Origin};
use crate::import::rows::apply;
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::host_inputs;
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::dropout::{Dropout, keys_type};
use crate::ops::{Op, leaf};

pub(super) const RULES: &[(&str, Rule)] = &[("Dropout", dropout)];

fn dropout(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let ratio = cx.float(node, 1)?.unwrap_or(0.5);
    let training = match (node.input(2), cx.known(node, 2).and_then(|t| t.bools())) {
        (None, _) => false,
        (Some(_), Some([training])) => *training,
        _ => return Err(cx.unsupported(node, "a training_mode that is not known when the model is compiled")),
    };
    if !training && ratio != 0.0 {
        cx.silence_dropout(node);
    }
    if !training || ratio == 0.0 {
        let mask = node.output(1).map(|_| everything(cx, node, &x)).transpose()?;
        return Ok(std::iter::once(x).chain(mask).collect());
    }
    if !(0.0..1.0).contains(&ratio) {
        return Err(cx.invalid(node, format!("ratio {ratio} is not in [0, 1)")));
    }
    if !cx.ty(x.node).batched {
        return Err(cx.unsupported(node, "dropout of a value that does not depend on the record"));
    }
    let op = Dropout { ratio, layer: cx.next_dropout() };
    let keys = keys(cx, node)?;
    let y = cx.emit(node, op, &[x.node, keys])?;
    Ok(vec![Value { node: y, axes: x.axes }])
}

/// The mask of a dropout that is off: true for every element.
fn everything(cx: &mut Import<'_>, node: &OnnxNode, x: &Value) -> Result<Value, Refusal> {
    let own = apply(cx, node, Func::Equal, &[x.node, x.node])?;
    let other = apply(cx, node, Func::Not, &[own])?;
    Ok(Value { node: apply(cx, node, Func::Or, &[own, other])?, axes: x.axes.clone() })
}

/// The host input with the records' keys, one for the whole model.
pub(super) fn keys(cx: &mut Import<'_>, node: &OnnxNode) -> Result<NodeId, Refusal> {
    let name = host_inputs::DROPOUT_KEYS;
    let graph = cx.graph_mut();
    let found = graph.ids().find(|&id| matches!(graph.op(id), Op::Input(input) if input.name == name));
    if let Some(id) = found {
        return Ok(id);
    }
    let op = leaf::Input { name: name.into(), ty: keys_type() };
    graph.add(op, &[], Origin::value(name)).map_err(|e| cx.invalid(node, e.to_string()))
}
