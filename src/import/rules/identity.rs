//! [Identity](https://onnx.ai/onnx/operators/onnx__Identity.html), which hands its operand on.
//!
//! PyTorch's newer exporter, unoptimised, writes `x.detach()` as one whose metadata has the call: there no gradient passes.
//! Other files leave no trace of it.

use crate::graph::DType;
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;
use crate::ops::detach::Detach;

pub(super) const RULES: &[(&str, Rule)] = &[("Identity", identity)];

fn identity(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let detached = node.aten.as_ref().is_some_and(|call| call.operator == "detach");
    if !detached || cx.ty(x.node).dtype != DType::F32 {
        return Ok(vec![x]);
    }
    cx.note(format!("node `{}` detaches its operand: no gradient passes through it", node.name));
    Ok(vec![Value { node: cx.emit(node, Detach {}, &[x.node])?, axes: x.axes }])
}
