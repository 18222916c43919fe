//! [LSTM](https://onnx.ai/onnx/operators/onnx__LSTM.html) in forward direction, with default activations and without
//! peepholes. The input's product with its weight and the biases are ops of their own before the recurrence, so their
//! gradients are those of a linear layer.

use crate::graph::{NodeId, Type};
use crate::import::axes::{Axes, Axis};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::cells::{Cell, Direction};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::contract::Contract;
use crate::ops::elementwise::Elementwise;
use crate::ops::leaf::Fill;
use crate::ops::movement::{Reshape, Slice, is_zero};
use crate::ops::recurrence::Recurrence;

pub(super) const RULES: &[(&str, Rule)] = &[("LSTM", lstm)];

fn lstm(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let layout = check_attributes(cx, node)?;
    let (x, w, r) = (cx.value(node, 0)?, cx.value(node, 1)?, cx.value(node, 2)?);
    let batch = if layout == 0 { 1 } else { 0 };
    check_batch(cx, node, &x, batch)?;
    let (w_dims, r_dims) = (cx.ty(w.node).dims.clone(), cx.ty(r.node).dims.clone());
    let (&[1, gates, inputs], &[1, _, hidden]) = (w_dims.as_slice(), r_dims.as_slice()) else {
        return Err(cx.invalid(node, format!("weights of dims {w_dims:?} and {r_dims:?}")));
    };
    let dims = x.axes.per_record();
    if x.axes.rank() != 3 || hidden == 0 || gates != 4 * hidden || r_dims[1] != gates || dims.last() != Some(&inputs) {
        let why = format!("weights of dims {w_dims:?} and {r_dims:?} do not fit an input of axes {}", x.axes);
        return Err(cx.invalid(node, why));
    }
    let steps = dims[0];
    if steps == 0 {
        return Err(cx.invalid(node, "a sequence of no steps"));
    }
    let w = cx.emit(node, Reshape { dims: vec![gates, inputs] }, &[w.node])?;
    let r = cx.emit(node, Reshape { dims: vec![gates, hidden] }, &[r.node])?;
    let mut pre = cx.emit(node, Contract::new(false, true), &[x.node, w])?;
    if let Some(bias) = cx.optional(node, 3)?.filter(|b| !is_zero(cx.graph(), b.node)) {
        if bias.axes != Axes::shared(&[1, 2 * gates]) {
            return Err(cx.invalid(node, format!("biases of axes {} for {hidden} hidden units", bias.axes)));
        }
        let bias = cx.emit(node, Reshape { dims: vec![2 * gates] }, &[bias.node])?;
        for start in [0, gates] {
            let half = cx.emit(node, Slice { axis: 0, start, len: gates }, &[bias])?;
            pre = cx.emit(node, Elementwise::call(Func::Add), &[pre, half])?;
        }
    }
    let mut operands = vec![pre, r];
    operands.extend(initial_states(cx, node, batch, hidden)?.into_iter().flatten());
    let (cell, direction) = (Cell::Lstm, Direction::Forward);
    let op = Recurrence { cell, direction, hidden, initial: operands.len() > 2 };
    if !cx.ty(pre).batched {
        return Err(cx.unsupported(node, "an input that does not depend on the record"));
    }
    let tape = cx.emit(node, op, &operands)?;
    let shape = |parts: [Axis; 3], steps: Option<usize>| {
        let mut axes = parts.to_vec();
        if let Some(steps) = steps {
            axes.insert(if layout == 0 { 0 } else { 1 }, Axis::size(steps));
        }
        Axes(axes)
    };
    let parts = || {
        let (one, h) = (Axis::size(1), Axis::size(hidden));
        if layout == 0 { [one, Axis::batch(), h] } else { [Axis::batch(), one, h] }
    };
    let mut out = Vec::new();
    // The states c and h are 0 and 1.
    for (k, plane) in [1, 1, 0].map(|state| op.plane(state)).into_iter().enumerate() {
        let mut value = cx.emit(node, Slice { axis: 0, start: plane, len: 1 }, &[tape])?;
        if k > 0 {
            value = cx.emit(node, Slice { axis: 1, start: steps - 1, len: 1 }, &[value])?;
        }
        out.push(cx.relabel(node, value, shape(parts(), (k == 0).then_some(steps)))?);
    }
    Ok(out)
}

/// Refuses forms of the layer that dpc lacks; returns the layout.
fn check_attributes(cx: &Import<'_>, node: &OnnxNode) -> Result<i64, Refusal> {
    let attribute = |e| cx.attribute(node, e);
    let direction = node.string("direction", "forward").map_err(attribute)?;
    if direction != "forward" {
        return Err(cx.unsupported(node, &format!("direction {direction}")));
    }
    if let Some(activations) = node.strings("activations").map_err(attribute)?
        && !activations.iter().map(|a| a.to_lowercase()).eq(["sigmoid", "tanh", "tanh"])
    {
        return Err(cx.unsupported(node, &format!("activations {}", activations.join(", "))));
    }
    if node.has("clip") || node.int("input_forget", 0).map_err(attribute)? != 0 {
        return Err(cx.unsupported(node, "clip or input_forget"));
    }
    for (i, name) in [(4, "sequence_lens"), (7, "peephole weights")] {
        if node.input(i).is_some() {
            return Err(cx.unsupported(node, name));
        }
    }
    match node.int("layout", 0).map_err(attribute)? {
        layout @ (0 | 1) => Ok(layout),
        layout => Err(cx.invalid(node, format!("layout {layout}"))),
    }
}

/// The batch rule: the batch is the layer's batch axis and nothing else.
fn check_batch(cx: &Import<'_>, node: &OnnxNode, x: &Value, batch: usize) -> Result<(), Refusal> {
    match x.axes.batch_axis() {
        Some(axis) if axis == batch && x.axes.0[axis].is_batch() => Ok(()),
        Some(axis) if axis == batch => {
            Err(cx.unsupported(node, &format!("the batch of {} is merged with another axis", x.axes)))
        }
        Some(axis) => {
            let why = format!("the batch is axis {axis} of {}; the layer takes axis {batch} for the batch", x.axes);
            Err(cx.mixes(node, why, "set batch_first to match the data, or transpose the input"))
        }
        None => Err(cx.unsupported(node, "an input without a batch axis")),
    }
}

/// `h0` and `c0` of dims `[H]`, or `None` where both are zero.
fn initial_states(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    batch: usize,
    hidden: usize,
) -> Result<Option<[NodeId; 2]>, Refusal> {
    let mut states = [None, None];
    for (state, i) in states.iter_mut().zip([5, 6]) {
        let Some(value) = cx.optional(node, i)?.filter(|v| !is_zero(cx.graph(), v.node)) else { continue };
        if cx.stays_zero(node, i) {
            continue;
        }
        // In a file for one record the state of all of them is that of one.
        if value.axes.batch_axis().is_some() || cx.fixed_batch() != Some(1) {
            check_batch(cx, node, &value, batch)?;
        }
        *state = Some(cx.emit(node, Reshape { dims: vec![hidden] }, &[value.node])?);
    }
    if states == [None, None] {
        return Ok(None);
    }
    let zero = cx.emit(node, Fill { ty: Type::shared([hidden]), value: 0.0 }, &[])?;
    Ok(Some(states.map(|s| s.unwrap_or(zero))))
}
