//! Whether norms are those of a gradient: found by taking both apart, not by how the rewrite made them.

use crate::graph::NodeId;
use crate::ops::Graph;
use crate::ops::Op;
use crate::ops::embedding::Scatter;
use crate::ops::norm::{GhostNorm, SegmentCross, SegmentNorm};
use crate::ops::outer::Outer;
use crate::ops::sum_batch::Terms;
use crate::passes::fuse_sums::{as_add, before_permutations, is_permutation};

/// A parameter's gradient of each record, as its sums over the batch have it.
#[derive(Clone, Debug, Default)]
pub(super) struct Gradient {
    terms: Vec<Term>,
    /// Whether an element of the parameter is not where its terms have it, but for transposition.
    pub moved: bool,
}

/// What one sum over the batch adds.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)]
enum Term {
    /// A value that is there, and whether its matrix is transposed.
    Value(NodeId, bool),
    /// Products, seen from the parameter.
    Products(Outer, [NodeId; 2]),
    /// Rows by id.
    Rows(Scatter, [NodeId; 2]),
}

impl Gradient {
    /// Adds the terms of a sum over the batch with these operands.
    pub(super) fn add(&mut self, terms: &Terms, operands: &[NodeId], transposed: bool) {
        let pair = |k: usize| operands.get(k).copied().unwrap_or(operands[0]);
        self.terms.push(match terms {
            Terms::Stored => Term::Value(operands[0], transposed),
            Terms::Products(outer) => products(outer, [pair(0), pair(1)], transposed),
            Terms::Rows(scatter) => {
                self.moved |= transposed;
                Term::Rows(scatter.clone(), [pair(0), pair(1)])
            }
        });
    }

    /// The same with values replaced by the products and rows that they are sums of; `None` if some are of other values.
    fn expanded(&self, graph: &Graph) -> Option<Gradient> {
        let mut out = Gradient { terms: vec![], moved: self.moved };
        for term in &self.terms {
            match term {
                Term::Value(id, transposed) => expand(graph, *id, *transposed, &mut out)?,
                term => out.terms.push(term.clone()),
            }
        }
        Some(out)
    }
}

fn products(outer: &Outer, [a, b]: [NodeId; 2], transposed: bool) -> Term {
    if transposed { Term::Products(outer.exchanged(), [b, a]) } else { Term::Products(outer.clone(), [a, b]) }
}

fn expand(graph: &Graph, id: NodeId, transposed: bool, out: &mut Gradient) -> Option<()> {
    let operands = graph.operands(id);
    match graph.op(id) {
        Op::Outer(outer) => out.terms.push(products(outer, [operands[0], operands[1]], transposed)),
        Op::Scatter(scatter) => {
            out.moved |= transposed;
            out.terms.push(Term::Rows(scatter.clone(), [operands[0], operands[1]]));
        }
        op if is_permutation(op) => {
            let matrix = matches!(op, Op::Transpose(t) if t.perm == [1, 0]);
            out.moved |= !matrix && !matches!(op, Op::Reshape(_));
            expand(graph, operands[0], transposed != matrix, out)?;
        }
        op if as_add(op) && operands.iter().all(|&o| graph.ty(o) == graph.ty(id)) => {
            operands.iter().try_for_each(|&o| expand(graph, o, transposed, out))?;
        }
        _ => return None,
    }
    Some(())
}

/// The numbers that a square is the sum of; zeros are left out.
pub(super) fn parts(graph: &Graph, square: NodeId) -> Vec<NodeId> {
    match graph.op(square) {
        op if as_add(op) => graph.operands(square).into_iter().flat_map(|part| parts(graph, part)).collect(),
        Op::Fill(fill) if fill.value == 0.0 => vec![],
        _ => vec![square],
    }
}

/// Takes the norms of `gradient` out of those that are `open`.
///
/// # Errors
/// What is missing among them.
pub(super) fn take(graph: &Graph, gradient: &Gradient, open: &mut Vec<NodeId>) -> Result<(), String> {
    if let [Term::Value(each, _)] = gradient.terms[..] {
        let each = before_permutations(graph, each);
        let own = |&norm: &NodeId| {
            matches!(graph.op(norm), Op::SquareNorm(_)) && before_permutations(graph, graph.operands(norm)[0]) == each
        };
        if let Some(at) = open.iter().position(own) {
            open.remove(at);
            return Ok(());
        }
    }
    let gradient = gradient.expanded(graph).ok_or("its norm is not among those of the factor")?;
    if gradient.moved && gradient.terms.len() > 1 {
        return Err("its uses do not lie over each other, so no cross terms can be theirs".into());
    }
    for (i, term) in gradient.terms.iter().enumerate() {
        remove(open, |norm| is_norm_of(graph, norm, term))
            .ok_or("the norm of a use of it is not among those of the factor")?;
        for other in &gradient.terms[i + 1..] {
            let cross = |norm: NodeId| is_cross_of(graph, norm, term, other) || is_cross_of(graph, norm, other, term);
            remove(open, cross).ok_or("the cross term of two uses of it is not among those of the factor")?;
        }
    }
    Ok(())
}

fn remove(open: &mut Vec<NodeId>, fits: impl Fn(NodeId) -> bool) -> Option<NodeId> {
    let at = open.iter().position(|&norm| fits(norm))?;
    Some(open.remove(at))
}

fn is_norm_of(graph: &Graph, norm: NodeId, term: &Term) -> bool {
    let operands = graph.operands(norm);
    match (graph.op(norm), term) {
        (Op::OuterNorm(x), _) if x.0.steps == 1 => same(&x.0, &operands, term),
        (Op::TileNorm(x), _) => same(&x.0, &operands, term),
        (Op::GhostNorm(GhostNorm { first, second: None }), _) => same(first, &operands, term),
        (Op::SegmentNorm(SegmentNorm { count, width, table_rows }), Term::Rows(s, [ids, x])) => {
            s.table.first() == Some(table_rows)
                && operands == [*ids, *x]
                && [*count, *count * *width] == [graph.ty(*ids).len(), graph.ty(*x).len()]
        }
        _ => false,
    }
}

/// Whether a norm is of these products or of the same transposed, which has the same norm.
fn same(outer: &Outer, operands: &[NodeId], term: &Term) -> bool {
    let Term::Products(own, [a, b]) = term else { return false };
    (outer == own && operands == [*a, *b]) || (*outer == own.exchanged() && operands == [*b, *a])
}

fn is_cross_of(graph: &Graph, norm: NodeId, one: &Term, other: &Term) -> bool {
    let operands = graph.operands(norm);
    match (graph.op(norm), one, other) {
        (Op::GhostNorm(GhostNorm { first, second: Some(second) }), Term::Products(x, ab), Term::Products(y, cd)) => {
            let plain = first == x && second == y && operands == [ab[0], ab[1], cd[0], cd[1]];
            let exchanged =
                *first == x.exchanged() && *second == y.exchanged() && operands == [ab[1], ab[0], cd[1], cd[0]];
            plain || exchanged
        }
        (Op::SegmentCross(SegmentCross { count, width, outer }), Term::Rows(s, rows), Term::Products(y, ab)) => {
            outer == y
                && s.table == [y.rows, y.cols]
                && operands == [rows[0], rows[1], ab[0], ab[1]]
                && [*count, *count * *width] == [graph.ty(rows[0]).len(), graph.ty(rows[1]).len()]
        }
        _ => false,
    }
}
