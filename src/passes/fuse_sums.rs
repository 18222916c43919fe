//! Lets the sums over the batch compute the per-sample gradients that nothing else needs stored.
//!
//! A gradient whose norm was taken from the stored values is summed from there too, so that the norm says all about what
//! is summed. Every other one that is a sum of per-sample gradients of products or tables is never stored: each use is
//! summed by a kernel that makes the products on the way. Permutations are applied to the sum in place of the records.

use crate::graph::{NodeId, Origin, TypeError};
use crate::lower::kernels::Sums;
use crate::lower::scalar::Func;
use crate::ops::Graph;
use crate::ops::Op;
use crate::ops::elementwise::Elementwise;
use crate::ops::sum_batch::{SumBatch, Terms};

/// Fuses every weighted sum over the batch.
pub fn fuse_sums(graph: &Graph) -> Result<Graph, TypeError> {
    let (out, _) = graph.rewrite(|out, id, operands| {
        let node = graph.node(id);
        match &node.op {
            Op::SumBatch(sum) if sum.weighted && sum.terms == Terms::Stored => {
                let kept = before_permutations(graph, graph.operands(id)[0]);
                let stored = graph.users(kept).iter().any(|&user| matches!(graph.op(user), Op::SquareNorm(_)));
                total(out, operands[0], operands[1], (stored, sum.sums, sum.clipped), &node.origin)
            }
            _ => out.add(node.op.clone(), &operands, node.origin.clone()),
        }
    })?;
    Ok(out.prune())
}

/// Appends the sum of `each` weighted by `weight`.
fn total(
    graph: &mut Graph,
    each: NodeId,
    weight: NodeId,
    (stored, sums, clipped): (bool, Sums, bool),
    origin: &Origin,
) -> Result<NodeId, TypeError> {
    let (op, operands) = (graph.op(each).clone(), graph.operands(each));
    let terms = match &op {
        op if is_permutation(op) => {
            let sum = total(graph, operands[0], weight, (stored, sums, clipped), &origin.named(""))?;
            return graph.add(op.clone(), &[sum], origin.clone());
        }
        op if !stored && is_sum_of_terms(graph, each) && as_add(op) => {
            // Each use is rounded by itself, and may be longer than the sum of all.
            let (wide, add) = match sums {
                Sums::Floats => (Sums::Floats, op.clone()),
                _ => (Sums::WideGrid, Elementwise::call(Func::AddI32).into()),
            };
            let sums = operands.iter().map(|&o| total(graph, o, weight, (stored, wide, clipped), &origin.named("")));
            let sums = sums.collect::<Result<Vec<_>, _>>()?;
            return graph.add(add, &sums, origin.clone());
        }
        Op::Outer(outer) if !stored => Terms::Products(outer.clone()),
        Op::Scatter(scatter) if !stored => Terms::Rows(scatter.clone()),
        _ => Terms::Stored,
    };
    // Positions of ids that all records share are rounded one by one, and may cancel.
    let apart = matches!(terms, Terms::Rows(_)) && !graph.ty(operands[0]).batched;
    let sums = if apart && sums.integers() { Sums::WideGrid } else { sums };
    let mut read = if terms == Terms::Stored { vec![each] } else { operands };
    read.push(weight);
    graph.add(SumBatch { terms, weighted: true, sums, clipped }, &read, origin.clone())
}

/// Whether an op adds its two operands.
pub(super) fn as_add(op: &Op) -> bool {
    matches!(op, Op::Elementwise(e) if matches!(e.expr.as_call(), Some(Func::Add | Func::AddI32)))
}

/// Whether a value is a sum of per-sample gradients of products and tables, seen through permutations.
fn is_sum_of_terms(graph: &Graph, id: NodeId) -> bool {
    let op = graph.op(id);
    let operands = graph.operands(id);
    match op {
        Op::Outer(_) | Op::Scatter(_) => graph.ty(id).batched,
        _ if is_permutation(op) => is_sum_of_terms(graph, operands[0]),
        _ => as_add(op) && operands.iter().all(|&o| graph.ty(o).dims == graph.ty(id).dims && is_sum_of_terms(graph, o)),
    }
}

/// Whether an op moves every element of its operand to a place of its own.
pub(super) fn is_permutation(op: &Op) -> bool {
    match op {
        Op::Reshape(_) | Op::Transpose(_) => true,
        Op::Rearrange(r) => r.is_permutation(),
        _ => false,
    }
}

/// The value that permutations make `id` from.
pub(super) fn before_permutations(graph: &Graph, mut id: NodeId) -> NodeId {
    while is_permutation(graph.op(id)) {
        id = graph.operands(id)[0];
    }
    id
}
