//! Matrix products: [MatMul](https://onnx.ai/onnx/operators/onnx__MatMul.html),
//! [Gemm](https://onnx.ai/onnx/operators/onnx__Gemm.html).

use crate::graph::NodeId;
use crate::import::axes::{Axes, Axis};
use crate::import::formula::formula;
use crate::import::{Import, Refusal, Rule, Value};
use crate::onnx::OnnxNode;
use crate::ops::contract::Contract;
use crate::ops::movement::{Broadcast, Reshape, Transpose};

pub(super) const RULES: &[(&str, Rule)] = &[("MatMul", matmul), ("Gemm", gemm)];

const CONTRACTS: &str = "a product may not sum over the batch; transpose so that the batch is a row or leading axis";

fn matmul(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let (a, b) = (cx.value(node, 0)?, cx.value(node, 1)?);
    Ok(vec![product(cx, node, a, b)?])
}

fn gemm(cx: &mut Import<'_>, node: &OnnxNode) -> Result<Vec<Value>, Refusal> {
    let flag = |cx: &Import<'_>, name: &str| node.int(name, 0).map(|v| v != 0).map_err(|e| cx.attribute(node, e));
    let number = |cx: &Import<'_>, name: &str| node.float(name, 1.0).map_err(|e| cx.attribute(node, e));
    let (trans_a, trans_b) = (flag(cx, "transA")?, flag(cx, "transB")?);
    let (alpha, beta) = (number(cx, "alpha")?, number(cx, "beta")?);
    let mut a = cx.value(node, 0)?;
    let mut b = cx.value(node, 1)?;
    for value in [&a, &b] {
        if value.axes.rank() != 2 {
            return Err(cx.invalid(node, format!("an operand has axes {} where Gemm takes matrices", value.axes)));
        }
    }
    if trans_a {
        a = transpose_2d(cx, node, a)?;
    }
    // The weight stays as it is stored, so that its gradient is the parameter's own.
    let product = if trans_b && b.axes.batch_axis().is_none() {
        let axes = Axes(vec![b.axes.0[1].clone(), b.axes.0[0].clone()]);
        product_of(cx, node, a, Value { node: b.node, axes }, true)?
    } else {
        if trans_b {
            b = transpose_2d(cx, node, b)?;
        }
        product_of(cx, node, a, b, false)?
    };
    let bias = cx.optional(node, 2)?;
    let result = formula(cx, node, |f| {
        let scaled = f.of(product) * alpha;
        match bias {
            Some(bias) => scaled + f.of(bias) * beta,
            None => scaled,
        }
    });
    Ok(vec![result?])
}

fn transpose_2d(cx: &mut Import<'_>, node: &OnnxNode, x: Value) -> Result<Value, Refusal> {
    let axes = Axes(vec![x.axes.0[1].clone(), x.axes.0[0].clone()]);
    let plain = cx.ty(x.node).dims.len() == 2;
    let id = if plain { cx.emit(node, Transpose { perm: vec![1, 0] }, &[x.node])? } else { x.node };
    Ok(Value { node: id, axes })
}

pub(super) fn product(cx: &mut Import<'_>, node: &OnnxNode, a: Value, b: Value) -> Result<Value, Refusal> {
    product_of(cx, node, a, b, false)
}

/// The batch rule of products: the contraction must not hold the batch, and two batched operands must hold it in the
/// same leading axis. `b.axes` are those after the exchange that `trans_b` asks for.
fn product_of(cx: &mut Import<'_>, node: &OnnxNode, a: Value, b: Value, trans_b: bool) -> Result<Value, Refusal> {
    let (ra, rb) = (a.axes.rank(), b.axes.rank());
    if ra == 0 || rb == 0 {
        return Err(cx.invalid(node, "an operand is a scalar"));
    }
    let contracted = |cx: &Import<'_>, v: &Value, axis: usize, side: &str| {
        if v.axes.0[axis].is_batched() {
            return Err(cx.mixes(
                node,
                format!("it sums over axis {axis} of its {side} operand {}, which holds the batch", v.axes),
                CONTRACTS,
            ));
        }
        Ok(())
    };
    contracted(cx, &a, ra - 1, "left")?;
    contracted(cx, &b, rb.saturating_sub(2), "right")?;
    let rank = ra.max(rb).max(2);
    let at_a = |k: usize| (k + ra.max(2)).checked_sub(rank).filter(|_| ra > 1).map(|i| a.axes.0[i].clone());
    let at_b = |k: usize| (k + rb.max(2)).checked_sub(rank).filter(|_| rb > 1).map(|i| b.axes.0[i].clone());
    let (batch_a, batch_b) =
        (a.axes.batch_axis().map(|i| i + rank - ra.max(2)), b.axes.batch_axis().map(|i| i + rank - rb.max(2)));
    if let (Some(p), Some(q)) = (batch_a, batch_b)
        && (p != q || p + 2 >= rank || at_a(p) != at_b(q))
    {
        let why = format!(
            "both operands hold the batch ({} and {}), so the product pairs records with each other",
            a.axes, b.axes
        );
        return Err(cx.mixes(
            node,
            why,
            "batched operands must hold the batch in the same leading axis, as in batched attention",
        ));
    }
    let mut lead = Vec::new();
    for k in 0..rank - 2 {
        let (x, y) = (at_a(k).unwrap_or(Axis::size(1)), at_b(k).unwrap_or(Axis::size(1)));
        let clash = |cx: &Import<'_>| Err(cx.invalid(node, format!("axes {} and {} do not broadcast", a.axes, b.axes)));
        lead.push(match (x.is_batched(), y.is_batched()) {
            (true, true) => x,
            (true, false) if y.per_record() == 1 => x,
            (false, true) if x.per_record() == 1 => y,
            (false, false) if x.per_record() == y.per_record() || y.per_record() == 1 => x,
            (false, false) if x.per_record() == 1 => y,
            (false, false) => return clash(cx),
            _ => return Err(cx.mixes(node, "one operand varies along the other's batch axis", CONTRACTS)),
        });
    }
    let row = if ra > 1 { Some(a.axes.0[ra - 2].clone()) } else { None };
    let col = if rb > 1 { Some(b.axes.0[rb - 1].clone()) } else { None };
    let inner = a.axes.0[ra - 1].per_record();
    let left = operand(cx, node, &a, &lead, inner, false)?;
    let right = operand(cx, node, &b, &lead, inner, true)?;
    let id = cx.emit(node, Contract::new(false, trans_b), &[left, right])?;
    let mut axes = lead;
    axes.extend(row);
    axes.extend(col);
    let axes = Axes(axes);
    let dims = axes.per_record();
    let id = if cx.ty(id).dims == dims { id } else { cx.emit(node, Reshape { dims }, &[id])? };
    Ok(Value { node: id, axes })
}

/// Brings an operand's record dims to `lead + matrix`, with the leading dims whole or absent.
fn operand(
    cx: &mut Import<'_>,
    node: &OnnxNode,
    value: &Value,
    lead: &[Axis],
    inner: usize,
    right: bool,
) -> Result<NodeId, Refusal> {
    let rank = value.axes.rank();
    let own_lead = &value.axes.0[..rank.saturating_sub(2)];
    let offset = lead.len() - own_lead.len();
    let (mut whole, mut own) = (Vec::new(), Vec::new());
    for (k, axis) in lead.iter().enumerate().filter(|(_, x)| !x.is_batch()) {
        whole.push(axis.per_record());
        own.push(k.checked_sub(offset).map_or(1, |i| own_lead[i].per_record()));
    }
    // With the batch alone on the matrix axis that stays, a record has a vector; it needs a unit dim beside leading ones.
    let vector = rank == 1 || value.axes.0[if right { rank - 1 } else { rank - 2 }].is_batch();
    let matrix = match (vector, whole.is_empty(), right) {
        (true, true, _) => vec![inner],
        (true, false, false) => vec![1, inner],
        (true, false, true) => vec![inner, 1],
        (false, ..) => {
            let dims = &cx.ty(value.node).dims;
            dims[dims.len() - 2..].to_vec()
        }
    };
    let trivial = own.iter().product::<usize>() == 1;
    let dims: Vec<usize> = if trivial { matrix.clone() } else { own.iter().chain(&matrix).copied().collect() };
    let mut id = value.node;
    if cx.ty(id).dims != dims {
        id = cx.emit(node, Reshape { dims }, &[id])?;
    }
    if !trivial && own != whole {
        let dims = whole.iter().chain(&matrix).copied().collect();
        id = cx.emit(node, Broadcast { dims }, &[id])?;
    }
    Ok(id)
}
