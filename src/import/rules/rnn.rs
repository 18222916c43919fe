//! [RNN](https://onnx.ai/onnx/operators/onnx__RNN.html).

use super::recurrent::layer;
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::cells::Kind;
use crate::onnx::OnnxNode;

pub(super) const RULES: &[(&str, Rule)] = &[("RNN", rnn)];

fn rnn(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    layer(cx, node, Kind::Rnn, |cx, node, products| products.summed(cx, node))
}
