//! [RotaryEmbedding](https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html): pairs of features turned by angles that
//! depend on the position.

use super::gather::address;
use crate::graph::NodeId;
use crate::import::axes::{Axes, Axis};
use crate::import::broadcast::call;
use crate::import::rows::{along, reshape};
use crate::import::select::{run, take};
use crate::import::{Import, Refusal, Rule, Value};
use crate::lower::scalar::Func;
use crate::onnx::OnnxNode;
use crate::ops::embedding::Gather;
use crate::ops::movement::Concat;

pub(super) const RULES: &[(&str, Rule)] = &[("RotaryEmbedding", rotary)];

fn rotary(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let whole = cx.value(node, 0)?;
    let int = |name: &str| node.int(name, 0).map_err(|e| cx.attribute(node, e));
    let (interleaved, turned, heads) = (int("interleaved")? != 0, int("rotary_embedding_dim")?, int("num_heads")?);
    let rank = whole.axes.rank();
    // `[N, heads, positions, features]`, or `[N, positions, heads · features]`.
    let x = match rank {
        4 => whole.clone(),
        3 => {
            let (size, heads) = (whole.axes.0[2].per_record(), usize::try_from(heads).unwrap_or(0));
            if heads == 0 || whole.axes.0[2].is_batched() || !size.is_multiple_of(heads) {
                return Err(cx.invalid(node, format!("{heads} heads do not fit {}", whole.axes)));
            }
            let mut axes = whole.axes.clone();
            axes.0.splice(2..3, [Axis::size(heads), Axis::size(size / heads)]);
            cx.relabel(node, whole.node, axes)?
        }
        _ => return Err(cx.invalid(node, format!("{} has neither three axes nor four", whole.axes))),
    };
    let at = along(cx, node, &x, 3, "turns features")?;
    let size = x.axes.0[3].per_record();
    let turned = if turned == 0 { size } else { usize::try_from(turned).unwrap_or(0) };
    if turned == 0 || turned > size || turned % 2 == 1 {
        return Err(cx.invalid(node, format!("{turned} features cannot be turned in pairs")));
    }
    let half = turned / 2;
    let of_heads = if rank == 4 { 1 } else { 2 };
    let cos = angles(cx, node, 1, half, of_heads)?;
    let sin = angles(cx, node, 2, half, of_heads)?;
    let mut axes = x.axes.clone();
    axes.0[3] = Axis::size(half);
    let pair = |cx: &mut Import<'_>, k: usize| -> Result<Value, Refusal> {
        let places: Vec<usize> = match interleaved {
            true => (0..half).map(|i| 2 * i + k).collect(),
            false => (0..half).map(|i| half * k + i).collect(),
        };
        Ok(Value { node: take(cx, node, x.node, at, &places)?, axes: axes.clone() })
    };
    let (first, second) = (pair(cx, 0)?, pair(cx, 1)?);
    let turn = |cx: &mut Import<'_>, func: Func, by: [&Value; 2]| -> Result<Value, Refusal> {
        let [a, b] = by.map(Clone::clone);
        let left = call(cx, node, Func::Mul, &[a, first.clone()])?;
        let right = call(cx, node, Func::Mul, &[b, second.clone()])?;
        call(cx, node, func, &[left, right])
    };
    let (real, imaginary) = (turn(cx, Func::Sub, [&cos, &sin])?, turn(cx, Func::Add, [&sin, &cos])?);
    let fits = real.axes == axes && imaginary.axes == axes;
    if !fits {
        return Err(cx.invalid(node, format!("its angles do not fit {}", whole.axes)));
    }
    let mut result = joined(cx, node, [real.node, imaginary.node], at, interleaved)?;
    if turned < size {
        let rest = run(cx, node, x.node, at, turned, size - turned)?;
        result = cx.emit(node, Concat { axis: at }, &[result, rest])?;
    }
    Ok(vec![cx.relabel(node, result, whole.axes)?])
}

/// The cosines or sines, operand `i`, of each position, with an axis for the heads: by the positions that operand 3 names,
/// or as they are.
fn angles(cx: &mut Import<'_>, node: &OnnxNode, i: usize, half: usize, of_heads: usize) -> Result<Value, Refusal> {
    let table = cx.value(node, i)?;
    let mut value = match cx.optional(node, 3)? {
        None => table,
        Some(ids) => {
            if table.axes.rank() != 2 || cx.ty(table.node).batched || table.axes.batch_axis().is_some() {
                return Err(cx.invalid(node, format!("{} is no table of angles", table.axes)));
            }
            address(cx, node, ids.node, cx.ty(table.node).dims[0])?;
            let rows = cx.emit(node, Gather::default(), &[table.node, ids.node])?;
            let mut axes = ids.axes;
            axes.0.push(table.axes.0[1].clone());
            Value { node: rows, axes }
        }
    };
    if value.axes.rank() != 3 || value.axes.0[2] != Axis::size(half) {
        return Err(cx.invalid(node, format!("angles of axes {} for {half} pairs of features", value.axes)));
    }
    let mut axes = std::mem::take(&mut value.axes.0);
    axes.insert(of_heads, Axis::size(1));
    cx.relabel(node, value.node, Axes(axes))
}

/// The two features of all pairs along the last axis of one record, one pair after the other where they are interleaved.
fn joined(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    features: [NodeId; 2],
    at: usize,
    interleaved: bool,
) -> Result<NodeId, Refusal> {
    if !interleaved {
        return cx.emit(node, Concat { axis: at }, &features);
    }
    let mut dims = cx.ty(features[0]).dims.clone();
    dims.push(1);
    let [real, imaginary] = features.map(|feature| reshape(cx, node, feature, dims.clone()));
    let pairs = cx.emit(node, Concat { axis: at + 1 }, &[real?, imaginary?])?;
    dims.pop();
    dims[at] *= 2;
    reshape(cx, node, pairs, dims)
}
