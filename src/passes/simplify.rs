//! Local rewrites that drop work without changing a value.
//!
//! One sweep in topological order; each rule looks at a node whose operands have been simplified already. Of nodes that are
//! equal then, the first is kept.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};

use crate::graph::{NodeId, TypeError};
use crate::lower::scalar::Expr;
use crate::ops::Graph;
use crate::ops::Op;
use crate::ops::contract::Contract;
use crate::ops::movement::{Reshape, Transpose};

/// What a rule makes of a node.
enum Rewritten {
    /// The value is another node's.
    Same(NodeId),
    /// The value is that of another op.
    Op(Box<Op>, Vec<NodeId>),
}

type SimplifyRule = fn(&Graph, &Op, &[NodeId]) -> Option<Rewritten>;

/// The rules, tried in order.
const RULES: &[SimplifyRule] = &[
    reshape_of_reshape,
    no_change,
    transpose_of_transpose,
    transpose_is_reshape,
    slice_of_pad,
    transposed_operand,
    outer_of_reshape,
];

/// Simplifies a graph and drops what no output needs.
pub fn simplify(graph: &Graph) -> Result<Graph, TypeError> {
    let mut known = Known::default();
    let (out, _) = graph.rewrite(|out, id, mut operands| {
        let origin = graph.node(id).origin.clone();
        let mut op = graph.op(id).clone();
        let same = loop {
            match RULES.iter().find_map(|rule| rule(out, &op, &operands)) {
                Some(Rewritten::Same(id)) => break Some(id),
                Some(Rewritten::Op(new, new_operands)) => (op, operands) = (*new, new_operands),
                None => break known.find(out, &op, &operands),
            }
        };
        match same {
            Some(id) => {
                if out.node(id).origin.value.is_empty() {
                    out.name(id, origin.value);
                }
                Ok(id)
            }
            None => {
                let id = out.add(op, &operands, origin)?;
                known.note(out, id);
                Ok(id)
            }
        }
    })?;
    Ok(out.prune())
}

/// The nodes of a graph so far whose values depend on their operands alone, by kind of op and operands.
#[derive(Default)]
struct Known(HashMap<(Discriminant<Op>, Vec<NodeId>), Vec<NodeId>>);

impl Known {
    /// The node of an equal op on the same operands.
    fn find(&self, graph: &Graph, op: &Op, operands: &[NodeId]) -> Option<NodeId> {
        let alike = self.0.get(&(discriminant(op), operands.to_vec()))?;
        alike.iter().copied().find(|&id| graph.op(id) == op)
    }

    fn note(&mut self, graph: &Graph, id: NodeId) {
        let op = graph.op(id);
        if op.rules().is_function() {
            self.0.entry((discriminant(op), graph.operands(id))).or_default().push(id);
        }
    }
}

/// `reshape (reshape x)` is one reshape.
fn reshape_of_reshape(graph: &Graph, op: &Op, operands: &[NodeId]) -> Option<Rewritten> {
    let (Op::Reshape(r), Op::Reshape(_)) = (op, graph.op(*operands.first()?)) else { return None };
    Some(Rewritten::Op(Box::new(Reshape { dims: r.dims.clone() }.into()), graph.operands(operands[0])))
}

/// Ops that yield their operand.
fn no_change(graph: &Graph, op: &Op, operands: &[NodeId]) -> Option<Rewritten> {
    let ty = graph.ty(*operands.first()?);
    let same = match op {
        Op::Reshape(r) => r.dims == ty.dims,
        Op::Broadcast(b) => b.dims == ty.dims,
        Op::Transpose(t) => t.perm.iter().enumerate().all(|(k, &p)| k == p),
        Op::Sum(s) => s.axes.is_empty(),
        Op::Slice(s) => s.start == 0 && s.len == ty.dims[s.axis],
        Op::Pad(e) => e.start == 0 && e.size == ty.dims[e.axis],
        Op::Concat(_) => operands.len() == 1,
        Op::Elementwise(e) => e.expr == Expr::scale(1.0),
        _ => false,
    };
    same.then_some(Rewritten::Same(operands[0]))
}

/// `transpose (transpose x)` is one transpose.
fn transpose_of_transpose(graph: &Graph, op: &Op, operands: &[NodeId]) -> Option<Rewritten> {
    let (Op::Transpose(outer), Op::Transpose(inner)) = (op, graph.op(*operands.first()?)) else { return None };
    let perm = outer.perm.iter().map(|&p| inner.perm[p]).collect();
    Some(Rewritten::Op(Box::new(Transpose { perm }.into()), graph.operands(operands[0])))
}

/// A transpose that only moves axes of size 1 leaves the elements where they are.
fn transpose_is_reshape(graph: &Graph, op: &Op, operands: &[NodeId]) -> Option<Rewritten> {
    let Op::Transpose(t) = op else { return None };
    let dims = &graph.ty(operands[0]).dims;
    let moved: Vec<usize> = t.perm.iter().copied().filter(|&p| dims[p] != 1).collect();
    let dims = t.perm.iter().map(|&p| dims[p]).collect();
    moved.is_sorted().then(|| Rewritten::Op(Box::new(Reshape { dims }.into()), operands.to_vec()))
}

/// `slice (pad x)` at the place where `x` was put is `x`.
fn slice_of_pad(graph: &Graph, op: &Op, operands: &[NodeId]) -> Option<Rewritten> {
    let (Op::Slice(s), Op::Pad(e)) = (op, graph.op(*operands.first()?)) else { return None };
    let inner = graph.operands(operands[0])[0];
    (s.axis == e.axis && s.start == e.start && s.len == graph.ty(inner).dims[e.axis]).then_some(Rewritten::Same(inner))
}

/// Sums of outer products read their operands through views of one record's elements, in any shape.
fn outer_of_reshape(graph: &Graph, op: &Op, operands: &[NodeId]) -> Option<Rewritten> {
    let Op::Outer(outer) = op else { return None };
    let at = operands.iter().position(|&o| matches!(graph.op(o), Op::Reshape(_)))?;
    let mut new = operands.to_vec();
    new[at] = graph.operands(operands[at])[0];
    Some(Rewritten::Op(Box::new(outer.clone().into()), new))
}

/// A product of a transposed matrix is a product with a flag.
fn transposed_operand(graph: &Graph, op: &Op, operands: &[NodeId]) -> Option<Rewritten> {
    let Op::Contract(c) = op else { return None };
    let inner = |k: usize| match graph.op(operands[k]) {
        Op::Transpose(t) => {
            let rank = t.perm.len();
            let kept = t.perm[..rank.saturating_sub(2)].iter().enumerate().all(|(i, &p)| i == p);
            (rank >= 2 && kept && t.perm[rank - 1] == rank - 2).then(|| graph.operands(operands[k])[0])
        }
        _ => None,
    };
    let mut new = operands.to_vec();
    let mut flags = c.clone();
    if let Some(a) = inner(0) {
        (new[0], flags.trans_a) = (a, !c.trans_a);
    } else if let Some(b) = inner(1) {
        (new[1], flags.trans_b) = (b, !c.trans_b);
    } else {
        return None;
    }
    Some(Rewritten::Op(Box::new(Contract { ..flags }.into()), new))
}
