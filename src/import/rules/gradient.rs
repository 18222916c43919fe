//! [Gradient](https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Gradient.html): the derivative of one value of the graph,
//! summed over its elements, with respect to others, by the sweep that training is differentiated with.

use crate::graph::Type;
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;
use crate::ops::leaf::Fill;
use crate::ops::reverse::pull_back;

pub(super) const RULES: &[(&str, Rule)] = &[("ai.onnx.preview.training.Gradient", gradient)];

fn gradient(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let names = node.strings("xs").map_err(|e| cx.attribute(node, e))?.unwrap_or_default();
    let of = node.require_string("y").map_err(|e| cx.attribute(node, e))?.to_owned();
    // The operands are the values at which the derivative is taken: here, those that the graph has.
    if names.is_empty() || names.iter().enumerate().any(|(i, name)| node.input(i) != Some(name)) {
        return Err(cx.unsupported(node, "a derivative at other values than those of the graph"));
    }
    let xs = (0..names.len()).map(|i| cx.value(node, i)).collect::<Result<Vec<_>, _>>()?;
    let y = match cx.named(&of) {
        Ok(Some(y)) => y,
        Ok(None) => return Err(cx.invalid(node, format!("`{of}` is no value before it"))),
        Err(why) => return Err(cx.invalid(node, why)),
    };
    let ty = cx.ty(y.node).clone();
    if let (true, Some((name, _))) = (ty.batched, names.iter().zip(&xs).find(|(_, x)| !cx.ty(x.node).batched)) {
        let why = format!("all records share `{name}`, by which it differentiates what is of each record");
        return Err(cx.mixes(node, why, "leave the derivatives with respect to parameters to dpc"));
    }
    let seed = cx.emit(node, Fill { ty, value: 1.0 }, &[])?;
    let of: Vec<_> = xs.iter().map(|x| x.node).collect();
    let found = pull_back(cx.graph_mut(), y.node, seed, &of).map_err(|errors| {
        let why: Vec<String> = errors.iter().map(ToString::to_string).collect();
        cx.unsupported(node, &why.join("; "))
    })?;
    let derivative = |x: Value| match found.get(&x.node) {
        Some(&derivative) => Ok(Value { node: derivative, axes: x.axes }),
        None => {
            let ty = Type { batched: false, ..cx.ty(x.node).clone() };
            Ok(Value { node: cx.emit(node, Fill { ty, value: 0.0 }, &[])?, axes: x.axes })
        }
    };
    xs.into_iter().map(derivative).collect()
}
