//! Squareplus: (x + √(x² + 4)) / 2 ([Barron 2021](https://arxiv.org/abs/2112.11687)).

use crate::import::formula::formula;
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;

pub(super) const RULES: &[(&str, Rule)] = &[("Squareplus", squareplus)];

fn squareplus(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let x = cx.value(node, 0)?;
    let y = formula(cx, node, |f| {
        let x = f.of(x);
        (x + (x * x + 4.0).sqrt()) * 0.5
    })?;
    Ok(vec![y])
}
