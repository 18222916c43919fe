//! Dropout, with a mask for each record that depends on nothing but the record's key.
//!
//! ONNX: [Dropout](https://onnx.ai/onnx/operators/onnx__Dropout.html). Before opset 12 it has no training mode: it is
//! the identity.

use super::{Backward, OpRules, VjpError, leaf};
use crate::graph::{DType, NodeId, Origin, Type};
use crate::lower::{LowerError, Lowering, host_inputs, kernels};
use crate::onnx::OnnxNode;
use crate::ops::Op;
use crate::passes::prove::{Import, Refusal, Rule, Value};

/// `x · mask / (1 − ratio)`; the second operand is the records' keys, `i32[N, 2]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropout {
    /// The share of elements set to zero, in `[0, 1)`.
    pub ratio: f32,
    /// Which dropout of the model this is: dropouts have different masks.
    pub layer: u32,
}

pub(super) const IMPORTS: &[(&str, Rule)] = &[("Dropout", dropout)];

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
        return Ok(vec![x]);
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

/// The host input with the records' keys, one for the whole model.
fn keys(cx: &mut Import<'_>, node: &OnnxNode) -> Result<NodeId, Refusal> {
    let name = host_inputs::DROPOUT_KEYS;
    let graph = cx.graph_mut();
    let found = graph.ids().find(|&id| matches!(graph.op(id), Op::Input(input) if input.name == name));
    if let Some(id) = found {
        return Ok(id);
    }
    let op = leaf::Input { name: name.into(), ty: keys_type() };
    graph.add(op, &[], Origin::value(name)).map_err(|e| cx.invalid(node, e.to_string()))
}

fn keys_type() -> Type {
    Type::batched([2]).of(DType::I32)
}

impl OpRules for Dropout {
    fn mnemonic(&self) -> String {
        "dropout".into()
    }

    fn attributes(&self) -> String {
        format!("ratio={} layer={}", self.ratio, self.layer)
    }

    fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
        match operands {
            [x, keys] if x.dtype == DType::F32 && **keys == keys_type() => Ok(Type { batched: true, ..(*x).clone() }),
            _ => Err("takes a float and the keys i32[N, 2]".into()),
        }
    }

    fn vjp(&self, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
        let (d, keys) = (bw.cotangent(), bw.operand(1));
        let dx = bw.emit(self.clone(), &[d, keys])?;
        Ok(vec![Some(bw.sum_batch_to(0, dx)?), None])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<(), LowerError> {
        let kernel = kernels::Dropout { len: cx.ty().len(), ratio: self.ratio, layer: self.layer };
        let reads = [cx.spread(0), cx.operand(1)];
        let out = cx.output();
        cx.launch(kernel, &reads, &[out]);
        Ok(())
    }
}
