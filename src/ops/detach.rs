//! A value that no gradient passes through.
//!
//! ONNX has no op for it: PyTorch's newer exporter, unoptimised, writes `x.detach()` as an
//! [Identity](https://onnx.ai/onnx/operators/onnx__Identity.html) whose metadata has the call. Other files leave no trace.

use super::elementwise::Elementwise;
use super::{Backward, OpRules, VjpError};
use crate::graph::{DType, NodeId, Type};
use crate::lower::{LowerError, Lowering};
use crate::onnx::OnnxNode;
use crate::passes::prove::{Import, Refusal, Rule, Value};

/// The operand, which gets no cotangent.
#[derive(Clone, Debug, PartialEq)]
pub struct Detach {}

pub(super) const IMPORTS: &[(&str, Rule)] = &[("Identity", identity)];

fn identity(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let detached = node.aten.as_ref().is_some_and(|call| call.operator == "detach");
    if !detached || cx.ty(x.node).dtype != DType::F32 {
        return Ok(vec![x]);
    }
    cx.note(format!("node `{}` detaches its operand: no gradient passes through it", node.name));
    Ok(vec![Value { node: cx.emit(node, Detach {}, &[x.node])?, axes: x.axes }])
}

impl OpRules for Detach {
    fn mnemonic(&self) -> String {
        "detach".into()
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        match operands {
            [x] if x.dtype == DType::F32 => Ok((*x).clone()),
            _ => Err("takes one float".into()),
        }
    }

    fn vjp(&self, _bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        Ok(vec![None])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        Elementwise::scale(1.0).lower(cx)
    }
}
