//! [Attention](https://onnx.ai/onnx/operators/onnx__Attention.html) of opset 23 and later: scaled dot products of queries and
//! keys, a mask, a softmax, and the product with the values, for heads of their own axis or folded into the last one.

use super::matmul::product;
use crate::graph::{DType, Type};
use crate::import::axes::{Axes, Axis};
use crate::import::broadcast::call;
use crate::import::formula::formula;
use crate::import::rows::positions;
use crate::import::select::selectable;
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::leaf::{Constant, Data, Fill};
use crate::ops::movement::{Broadcast, Concat, Reshape, Transpose};
use crate::ops::softmax::Softmax;

pub(super) const RULES: &[(&str, Rule)] = &[("Attention", attention)];

fn attention(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let int = |cx: &Import<'_>, name: &str| node.int(name, 0).map_err(|e| cx.attribute(node, e));
    let (causal, mode) = (int(cx, "is_causal")? != 0, int(cx, "qk_matmul_output_mode")?);
    let softcap = node.float("softcap", 0.0).map_err(|e| cx.attribute(node, e))?;
    let (query, folded) = heads(cx, node, 0, "q_num_heads")?;
    let (mut key, _) = heads(cx, node, 1, "kv_num_heads")?;
    let (mut values, _) = heads(cx, node, 2, "kv_num_heads")?;
    let lengths = cx.optional(node, 6)?;
    if lengths.is_some() && (causal || node.input(4).is_some()) {
        return Err(cx.unsupported(node, "keys of several lengths (nonpad_kv_seqlen) with a causal mask or a past"));
    }
    let mut past = 0;
    for (i, present) in [(4, &mut key), (5, &mut values)] {
        if let Some(before) = cx.optional(node, i)? {
            past = size(&before, 2);
            *present = after(cx, node, before, present.clone())?;
        }
    }
    let presents = [key.clone(), values.clone()];
    let (own, shared) = (size(&query, 1), size(&key, 1));
    if shared == 0 || own % shared != 0 {
        return Err(cx.invalid(node, format!("{own} heads of queries cannot share {shared} of keys")));
    }
    let key = repeated(cx, node, key, own / shared)?;
    let values = repeated(cx, node, values, own / shared)?;
    let width = size(&query, 3).max(1) as f32;
    let scale = node.float("scale", 0.0).map_err(|e| cx.attribute(node, e))?;
    let scale = if scale == 0.0 { 1.0 / width.sqrt() } else { scale };
    let key = transposed(cx, node, key, [0, 1, 3, 2])?;
    let product_of_both = product(cx, node, query, key)?;
    let scores = formula(cx, node, |f| f.of(product_of_both) * scale)?;
    let capped = match softcap {
        0.0 => scores.clone(),
        _ => formula(cx, node, |f| (f.of(scores.clone()) * (1.0 / softcap)).call(Func::Tanh) * softcap)?,
    };
    let mut masked = capped.clone();
    if causal {
        let mask = triangle(cx, node, size(&scores, 2), size(&scores, 3), past)?;
        masked = formula(cx, node, |f| f.of(masked) + f.of(mask))?;
    }
    if let Some(mask) = cx.optional(node, 3)? {
        let mask = added(cx, node, mask, size(&scores, 3))?;
        masked = formula(cx, node, |f| f.of(masked) + f.of(mask))?;
    }
    if let Some(lengths) = lengths {
        let mask = within(cx, node, lengths, size(&scores, 3))?;
        masked = formula(cx, node, |f| f.of(masked) + f.of(mask))?;
    }
    let Some(last) = masked.axes.record_axis(3) else {
        return Err(cx.invalid(node, format!("positions of {} are none of a record", masked.axes)));
    };
    let softmax = cx.emit(node, Softmax { axis: last, log: false }, &[masked.node])?;
    let weights = Value { node: softmax, axes: masked.axes.clone() };
    let result = product(cx, node, weights.clone(), values)?;
    let result = if folded { unfolded(cx, node, result)? } else { result };
    let shown = match mode {
        0 => scores,
        1 => capped,
        2 => masked,
        _ => weights,
    };
    let [key, values] = presents;
    Ok(vec![result, key, values, shown])
}

fn size(value: &Value, axis: usize) -> usize {
    value.axes.0[axis].per_record()
}

/// Operand `i` as `[batch, heads, positions, width]`, and whether its heads were folded into the last axis.
fn heads(cx: &mut Import<'_>, node: &OnnxNode, i: usize, count: &str) -> Result<(Value, bool), Refusal> {
    let x = cx.value(node, i)?;
    let apart = |axis: usize| x.axes.0[axis].is_batched();
    match x.axes.rank() {
        4 if !apart(1) && !apart(2) && !apart(3) => Ok((x, false)),
        3 if !apart(1) && !apart(2) => {
            let count = node.require_int(count).map_err(|e| cx.attribute(node, e))?;
            let count = usize::try_from(count).unwrap_or(0);
            let (positions, width) = (size(&x, 1), size(&x, 2));
            if count == 0 || !width.is_multiple_of(count) {
                return Err(cx.invalid(node, format!("a width of {width} cannot be cut into {count} heads")));
            }
            let cut = [positions, count, width / count].map(Axis::size);
            let axes = Axes([&[x.axes.0[0].clone()], &cut[..]].concat());
            let x = cx.relabel(node, x.node, axes)?;
            Ok((transposed(cx, node, x, [0, 2, 1, 3])?, true))
        }
        _ => {
            Err(cx.unsupported(node, &format!("operands of axes {}; the batch is the first of three or four", x.axes)))
        }
    }
}

/// Heads folded into the last axis again.
fn unfolded(cx: &mut Import<'_>, node: &OnnxNode, x: Value) -> Result<Value, Refusal> {
    let x = transposed(cx, node, x, [0, 2, 1, 3])?;
    let axes = Axes(vec![x.axes.0[0].clone(), x.axes.0[1].clone(), Axis::size(size(&x, 2) * size(&x, 3))]);
    cx.relabel(node, x.node, axes)
}

/// The value with its axes in another order, the first of which stays.
fn transposed(cx: &mut Import<'_>, node: &OnnxNode, x: Value, order: [usize; 4]) -> Result<Value, Refusal> {
    let perm = order.iter().filter_map(|&axis| x.axes.record_axis(axis)).collect();
    let id = cx.emit(node, Transpose { perm }, &[x.node])?;
    Ok(Value { node: id, axes: Axes(order.iter().map(|&axis| x.axes.0[axis].clone()).collect()) })
}

/// Two values one after the other along axis 2.
fn after(cx: &mut Import<'_>, node: &OnnxNode, first: Value, second: Value) -> Result<Value, Refusal> {
    let others = |x: &Value| [0, 1, 3].map(|axis| x.axes.0.get(axis).cloned());
    let (Some(at), true) = (second.axes.record_axis(2), others(&first) == others(&second)) else {
        return Err(cx.invalid(node, format!("{} does not continue {}", second.axes, first.axes)));
    };
    let id = cx.emit(node, Concat { axis: at }, &[first.node, second.node])?;
    let mut axes = second.axes.clone();
    axes.0[2] = Axis::size(size(&first, 2) + size(&second, 2));
    Ok(Value { node: id, axes })
}

/// Each head as often as queries share it, one after the other.
fn repeated(cx: &mut Import<'_>, node: &OnnxNode, x: Value, times: usize) -> Result<Value, Refusal> {
    if times == 1 {
        return Ok(x);
    }
    let dims = cx.ty(x.node).dims.clone();
    let Some(at) = x.axes.record_axis(1) else { return Err(cx.invalid(node, "it has no heads")) };
    let with = |size: usize| -> Vec<usize> { [&dims[..=at], &[size], &dims[at + 1..]].concat() };
    let single = cx.emit(node, Reshape { dims: with(1) }, &[x.node])?;
    let many = cx.emit(node, Broadcast { dims: with(times) }, &[single])?;
    let mut axes = x.axes.clone();
    axes.0[1] = Axis::size(dims[at] * times);
    cx.relabel(node, many, axes)
}

/// What is added to scores so that no position sees a later one.
fn triangle(cx: &mut Import<'_>, node: &OnnxNode, queries: usize, keys: usize, past: usize) -> Result<Value, Refusal> {
    selectable(cx, node, queries.saturating_mul(keys))?;
    let seen = |i: usize| if i % keys <= i / keys + past { 0.0 } else { f32::NEG_INFINITY };
    let data = Data::F32((0..queries * keys).map(seen).collect());
    let id = cx.emit(node, Constant { dims: vec![queries, keys], data }, &[])?;
    Ok(Value { node: id, axes: Axes::shared(&[queries, keys]) })
}

/// What is added to scores so that no key from a length on is seen, of each record its own.
fn within(cx: &mut Import<'_>, node: &OnnxNode, lengths: Value, keys: usize) -> Result<Value, Refusal> {
    if lengths.axes.rank() != 1 {
        return Err(cx.invalid(node, format!("lengths of axes {}", lengths.axes)));
    }
    let mut axes = lengths.axes.clone();
    axes.0.extend(vec![Axis::size(1); 3]);
    let lengths = cx.relabel(node, lengths.node, axes)?;
    let positions = positions(cx, node, keys)?;
    let positions = Value { node: positions, axes: Axes::shared(&[keys]) };
    let seen = call(cx, node, Func::LessI32, &[positions, lengths])?;
    formula(cx, node, |f| f.of(seen).choose(f.number(0.0), f.number(f32::NEG_INFINITY)))
}

/// A mask that sees none of so many keys after its own.
fn unseen(cx: &mut Import<'_>, node: &OnnxNode, mask: Value, keys: usize) -> Result<Value, Refusal> {
    let mut ty = cx.ty(mask.node).clone();
    let (last, axis) = (ty.dims.len() - 1, mask.axes.rank() - 1);
    ty.dims[last] = keys;
    let none = cx.emit(node, Fill { ty: Type { batched: false, ..ty }, value: f32::NEG_INFINITY }, &[])?;
    let node = cx.emit(node, Concat { axis: last }, &[mask.node, none])?;
    let mut axes = mask.axes;
    axes.0[axis] = Axis::size(axes.0[axis].per_record() + keys);
    Ok(Value { node, axes })
}

/// What is added to scores for a mask: the mask, or of booleans nothing where they are true. Keys beyond a mask that is too
/// short are not seen.
fn added(cx: &mut Import<'_>, node: &OnnxNode, mask: Value, keys: usize) -> Result<Value, Refusal> {
    let mask = match cx.ty(mask.node).dtype {
        DType::Bool => formula(cx, node, |f| f.of(mask).choose(f.number(0.0), f.number(f32::NEG_INFINITY)))?,
        _ => mask,
    };
    let last = mask.axes.rank().checked_sub(1).and_then(|axis| mask.axes.record_axis(axis));
    match last.map(|at| cx.ty(mask.node).dims[at]) {
        Some(own) if own == keys || own == 1 => Ok(mask),
        Some(own) if own < keys => unseen(cx, node, mask, keys - own),
        _ => Err(cx.invalid(node, format!("a mask of axes {} for {keys} keys", mask.axes))),
    }
}
