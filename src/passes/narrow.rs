//! Keeps in 16 bits what a record's backward pass takes long after it was computed.
//!
//! Two kinds of values outlive what is around them: those of the forward pass that the backward pass reads, and the
//! cotangents that the sums over the batch read, which wait for the norms of all parameters. Both are rounded where they are
//! made, and all that is said of gradients afterwards, their norms and their sums, is of the rounded numbers: a record's
//! gradient is by definition what the products of these are. So every strategy of norms agrees, and clipping bounds what it
//! did before. The forward pass itself, and cotangents on their way back, are of `f32`.
//!
//! What the loss is differentiated at is read at once, and stays as it is. So does what numbers are compared by, such as the
//! input of a max pool: of two that are rounded to the same one, the wrong one would get the cotangent.

use std::collections::BTreeSet;

use crate::graph::{DType, NodeId, TypeError};
use crate::lower::kernels::{Half, PoolKind};
use crate::ops::narrow::Narrow;
use crate::ops::{Graph, Op};
use crate::passes::differentiate::{GRADIENT, SEED};

/// The fewest elements of a record's value that are worth another kernel.
const LEAST: usize = 32;

/// What cotangents are multiplied by where they are kept as `f16`, as a power of two: a constant, so that it says nothing of
/// the data. It keeps cotangents down to 6·10⁻⁸ at full precision, and makes those from 64 on infinite, which a record's
/// gradient does not survive: it counts as zero. `bf16` has the range of `f32`, and needs none.
const EXPONENT: i32 = 10;

/// Rounds the values of a differentiated graph that are kept.
///
/// # Errors
/// None that a graph can cause that has passed the verifier.
pub fn narrow(graph: &Graph, half: Half) -> Result<Graph, TypeError> {
    narrow_from(graph, half, LEAST)
}

/// [`narrow`] of values from `least` elements on.
pub(crate) fn narrow_from(graph: &Graph, half: Half, least: usize) -> Result<Graph, TypeError> {
    let outputs = graph.outputs.iter().filter(|(name, _)| !name.starts_with(GRADIENT));
    let forward = graph.ancestors(outputs.map(|(_, &id)| id));
    let is_forward = |id: NodeId| forward[id.index()];
    let large = |id: NodeId| {
        let ty = graph.ty(id);
        ty.batched && ty.dtype == DType::F32 && ty.len() >= least && !matches!(graph.op(id), Op::Input(_) | Op::Fill(_))
    };
    let seeds = graph.ids().filter(|&id| graph.node(id).origin.value == SEED);
    let is_cotangent = graph.dependents(seeds);
    let compares = graph.ids().filter(|&id| !is_forward(id) && is_comparison(graph.op(id)));
    let compared: BTreeSet<NodeId> =
        compares.flat_map(|id| graph.operands(id)).map(|operand| before_reshapes(graph, operand)).collect();
    let mut made: Vec<Option<NodeId>> = vec![None; graph.len()];
    let (out, _) = {
        let mut map: Vec<Option<NodeId>> = vec![None; graph.len()];
        graph.rewrite(|out, id, mut operands| {
            for (new, &old) in operands.iter_mut().zip(&graph.operands(id)) {
                let base = before_reshapes(graph, old);
                let exponent = match (is_forward(id), is_forward(old)) {
                    (true, _) => continue,
                    (false, true) if compared.contains(&base) => continue,
                    (false, true) if at_loss(graph, is_forward, id, old) => continue,
                    (false, true) => 0,
                    (false, false) if is_product(graph.op(id)) && !is_summed(graph, old) => match half {
                        Half::F16 if is_cotangent[base.index()] => EXPONENT,
                        Half::F16 | Half::Bf16 => 0,
                    },
                    _ => continue,
                };
                let (true, Some(value)) = (large(base) && !matches!(graph.op(id), Op::SumBatch(_)), map[base.index()])
                else {
                    continue;
                };
                let kept = match made[base.index()] {
                    Some(kept) => kept,
                    None => {
                        let origin = out.node(value).origin.clone();
                        let name = if origin.value.is_empty() { String::new() } else { format!("{}.16", origin.value) };
                        let kept = out.add(Narrow { half, exponent }, &[value], origin.named(name))?;
                        *made[base.index()].insert(kept)
                    }
                };
                *new = if out.ty(kept).dims == out.ty(*new).dims {
                    kept
                } else {
                    let (op, origin) = (out.op(*new).clone(), out.node(*new).origin.named(""));
                    out.add(op, &[kept], origin)?
                };
            }
            let node = graph.node(id);
            let new = out.add(node.op.clone(), &operands, node.origin.clone())?;
            map[id.index()] = Some(new);
            Ok::<NodeId, TypeError>(new)
        })?
    };
    Ok(out.prune())
}

/// The value whose elements reshapes show in another form.
fn before_reshapes(graph: &Graph, mut id: NodeId) -> NodeId {
    while let Op::Reshape(_) = graph.op(id) {
        id = graph.operands(id)[0];
    }
    id
}

/// Whether an op finds out which of several numbers is the largest, or on which side of another.
fn is_comparison(op: &Op) -> bool {
    match op {
        Op::PoolVjp(pool) => pool.kind == PoolKind::Max,
        Op::Elementwise(e) => e.expr.as_call().is_some_and(|func| func.result() == DType::Bool),
        _ => false,
    }
}

/// Whether an op's operands are kept for a sum over the batch.
fn is_product(op: &Op) -> bool {
    matches!(op, Op::Outer(_) | Op::Scatter(_))
}

/// Whether the value itself is summed over the batch, and so is kept as it is.
fn is_summed(graph: &Graph, id: NodeId) -> bool {
    let base = before_reshapes(graph, id);
    let summed = |user: NodeId| match graph.op(user) {
        Op::SumBatch(_) => true,
        Op::Reshape(_) => graph.users(user).iter().any(|&user| matches!(graph.op(user), Op::SumBatch(_))),
        _ => false,
    };
    graph.users(base).into_iter().any(summed)
}

/// Whether `user` makes the first cotangent, of `value`: of as many elements, and from nothing of the backward pass but what is
/// far smaller.
fn at_loss(graph: &Graph, is_forward: impl Fn(NodeId) -> bool, user: NodeId, value: NodeId) -> bool {
    let len = graph.ty(value).len();
    let backward: Vec<NodeId> = graph.operands(user).into_iter().filter(|&operand| !is_forward(operand)).collect();
    !backward.is_empty()
        && graph.ty(user).len() >= len
        && backward.iter().all(|&operand| graph.ty(operand).len().saturating_mul(2) <= len)
}
