//! [LSTM](https://onnx.ai/onnx/operators/onnx__LSTM.html).

use super::recurrent::{layer, of_direction};
use crate::import::axes::Axes;
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::cells::Kind;
use crate::onnx::OnnxNode;
use crate::ops::movement::{Concat, is_zero};

pub(super) const RULES: &[(&str, Rule)] = &[("LSTM", lstm)];

fn lstm(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let coupled = node.int("input_forget", 0).map_err(|e| cx.attribute(node, e))? != 0;
    let peepholes = cx.optional(node, 7)?.filter(|p| !is_zero(cx.graph(), p.node) && !cx.stays_zero(node, 7));
    let Some(peepholes) = peepholes else {
        let kind = if coupled { Kind::LstmCoupled } else { Kind::Lstm };
        return layer(cx, node, kind, |cx, node, products| products.summed(cx, node));
    };
    let kind = if coupled { Kind::LstmCoupledPeepholes } else { Kind::LstmPeepholes };
    layer(cx, node, kind, |cx, node, products| {
        let len = 3 * products.hidden;
        let dims = cx.ty(peepholes.node).dims.clone();
        if dims.len() != 2 || dims[0] <= products.direction || dims[1] != len || peepholes.axes != Axes::shared(&dims) {
            return Err(cx.invalid(node, format!("peephole weights of axes {}", peepholes.axes)));
        }
        let gates = products.summed(cx, node)?;
        let own = of_direction(cx, node, peepholes.node, products.direction, vec![len])?;
        let own = products.at_all_steps(cx, node, own)?;
        cx.emit(node, Concat { axis: 1 }, &[gates, own])
    })
}
