//! The square norm of one parameter's per-sample gradient, by one of the strategies of [`strategy`](crate::passes::strategy).

use std::collections::BTreeSet;

use super::rounding::ErrorBounds;
use super::{Choice, Rewrite};
use crate::graph::{DType, NodeId, TypeError};
use crate::lower::kernels::{Kernel, View};
use crate::lower::scalar::Func;
use crate::lower::target::Rounding;
use crate::ops::Op;
use crate::ops::embedding::Scatter;
use crate::ops::norm::{GhostNorm, OuterNorm, SegmentCross, SegmentNorm, SquareNorm, TileNorm};
use crate::ops::outer::{Outer, with_record};
use crate::passes::fuse_sums::{before_permutations, is_permutation};
use crate::passes::strategy::{NormStrategy, allows_ghost, alternatives, choose, stored};

/// One use of a parameter: a per-sample gradient, and whether its matrix is transposed on the way to the parameter.
struct Term {
    node: NodeId,
    transposed: bool,
}

/// A per-sample gradient as seen from the parameter.
pub(super) struct Use {
    pub op: Op,
    pub operands: Vec<NodeId>,
}

/// A gradient's norm.
pub(super) struct Norm {
    /// The square norms, and cross terms, that add up to its square.
    pub squares: Vec<NodeId>,
    /// What rounding may hide of it where terms cancel.
    pub errors: Vec<ErrorBounds>,
    /// The longest chain of additions on the way to one of the squares.
    pub additions: usize,
}

/// A norm, the strategies to its parts, and the sizes that decided.
type Chosen = (Norm, Vec<NormStrategy>, String);

impl Rewrite<'_> {
    /// The terms of a per-sample gradient, if it is a sum of such of products and tables seen through permutations.
    fn terms(&self, id: NodeId, transposed: bool) -> Option<Vec<Term>> {
        let operands = self.graph.operands(id);
        match self.graph.op(id) {
            Op::Outer(_) | Op::Scatter(_) => Some(vec![Term { node: id, transposed }]),
            Op::Reshape(_) => self.terms(operands[0], transposed),
            Op::Transpose(t) if t.perm == [1, 0] => self.terms(operands[0], !transposed),
            op if is_permutation(op) => {
                // Another permutation keeps a single term's norm, but two terms behind different ones cannot be paired.
                let inner = self.terms(operands[0], transposed)?;
                (inner.len() == 1).then_some(inner)
            }
            Op::Elementwise(e) if e.expr.as_call() == Some(Func::Add) => {
                let both: Vec<Vec<Term>> =
                    operands.iter().map(|&o| self.terms(o, transposed)).collect::<Option<_>>()?;
                let pairs = operands.iter().all(|&o| self.pairable(o));
                pairs.then(|| both.into_iter().flatten().collect())
            }
            _ => None,
        }
    }

    /// Whether only reshapes and matrix transposes stand between a value and the terms that it is a sum of.
    fn pairable(&self, id: NodeId) -> bool {
        match self.graph.op(id) {
            Op::Outer(_) | Op::Scatter(_) => return true,
            Op::Reshape(_) | Op::Elementwise(_) => {}
            Op::Transpose(t) if t.perm == [1, 0] => {}
            _ => return false,
        }
        self.graph.operands(id).iter().all(|&o| self.pairable(o))
    }

    /// Appends the square norms whose sum is that of the parameter's gradient.
    pub(super) fn norm_of(
        &mut self,
        name: &str,
        gradient: NodeId,
        forced: Option<NormStrategy>,
    ) -> Result<(Norm, Choice), TypeError> {
        let label = format!("sq.{name}");
        let terms = self.terms(gradient, false);
        let alternatives = terms.as_deref().map_or_else(Vec::new, |terms| self.alternatives(terms));
        let parameter = name.to_owned();
        let done = |norm, strategies, why| (norm, Choice { parameter, strategies, why, alternatives });
        if forced != Some(NormStrategy::Materialize)
            && let Some(terms) = terms
        {
            match terms.as_slice() {
                [term] => {
                    if let Some((norm, strategies, why)) = self.single(term, forced, &label)? {
                        return Ok(done(norm, strategies, why));
                    }
                }
                many => {
                    if let Some((norm, strategies, why)) = self.paired(many, forced, &label)? {
                        return Ok(done(norm, strategies, why));
                    }
                }
            }
        }
        // Stored, and summed from there: before the permutations on the way to the parameter.
        let kept = before_permutations(&self.graph, gradient);
        let square = self.add(SquareNorm, &[kept], &label)?;
        let len = self.graph.ty(kept).len();
        let norm = Norm { squares: vec![square], errors: vec![], additions: self.bounds.stored(len).square };
        Ok(done(norm, vec![NormStrategy::Materialize], format!("{len} elements a record")))
    }

    fn single(&mut self, term: &Term, forced: Option<NormStrategy>, label: &str) -> Result<Option<Chosen>, TypeError> {
        let used = Use { op: self.graph.op(term.node).clone(), operands: self.graph.operands(term.node) };
        let operands = &used.operands;
        let (square, strategy, why, rounding) = match &used.op {
            Op::Outer(outer) => {
                let strategy = match forced {
                    Some(NormStrategy::Ghost) if allows_ghost(outer, self.bounds, true) => NormStrategy::Ghost,
                    Some(NormStrategy::Ghost | NormStrategy::Tile) => NormStrategy::Tile,
                    _ => {
                        let may_store = self.stored.contains(&term.node);
                        choose(outer, self.views(outer, operands), &self.costs, self.bounds, may_store)
                    }
                };
                let (op, rounding): (Op, _) = match strategy {
                    NormStrategy::Ghost => {
                        (GhostNorm { first: outer.clone(), second: None }.into(), self.bounds.ghost(outer, None))
                    }
                    NormStrategy::Tile => (TileNorm(outer.clone()).into(), self.bounds.tile(outer)),
                    NormStrategy::Outer => (OuterNorm(outer.clone()).into(), self.bounds.outer(outer)),
                    NormStrategy::Materialize | NormStrategy::Segment => return Ok(None),
                };
                (self.add(op, operands, label)?, strategy, sizes(outer), rounding)
            }
            Op::Scatter(scatter) => {
                let Some(segment) = self.segment(scatter, operands) else { return Ok(None) };
                let why = format!("{} ids a record, rows of {}", segment.count, segment.width);
                let rounding = self.bounds.segment(&segment);
                (self.add(segment, operands, label)?, NormStrategy::Segment, why, rounding)
            }
            _ => return Ok(None),
        };
        let Some(errors) = self.errors_of_one(&used, strategy, rounding, label)? else { return Ok(None) };
        Ok(Some((Norm { squares: vec![square], errors, additions: rounding.square }, vec![strategy], why)))
    }

    /// The per-sample gradients that are stored where memory is bounded, of those with one use that is a product's.
    pub(super) fn worth_storing(&self, gradients: &[NodeId]) -> BTreeSet<NodeId> {
        let terms = gradients.iter().filter_map(|&gradient| self.terms(gradient, false));
        let products: Vec<(NodeId, usize, Vec<_>)> = terms
            .filter_map(|terms| {
                let ways = self.alternatives(&terms);
                let node = terms.first()?.node;
                (!ways.is_empty()).then(|| (node, self.graph.ty(node).len(), ways))
            })
            .collect();
        let stored = stored(products.iter().map(|(_, len, ways)| (*len, &ways[..])), &self.costs);
        stored.into_iter().map(|number| products[number].0).collect()
    }

    /// What there is to choose from for a gradient with one use that is a product's.
    fn alternatives(&self, terms: &[Term]) -> Vec<(NormStrategy, Vec<Kernel>)> {
        let [term] = terms else { return Vec::new() };
        let Op::Outer(outer) = self.graph.op(term.node) else { return Vec::new() };
        alternatives(outer, self.views(outer, &self.graph.operands(term.node)), self.bounds)
    }

    /// How the sides of outer products are read of their operands.
    fn views(&self, outer: &Outer, operands: &[NodeId]) -> [View; 2] {
        let stride = |k: usize| self.graph.ty(operands[k]).record_stride();
        [with_record(outer.a, stride(0)), with_record(outer.b, stride(1))]
    }

    fn segment(&self, scatter: &Scatter, operands: &[NodeId]) -> Option<SegmentNorm> {
        let (ids, x) = (self.graph.ty(operands[0]), self.graph.ty(operands[1]));
        (ids.batched && x.batched && ids.dtype == DType::I32).then(|| SegmentNorm {
            count: ids.len(),
            width: x.len() / ids.len().max(1),
            table_rows: scatter.table[0],
        })
    }

    /// The norm of a sum of terms, from the terms' own norms and all cross terms; `None` if some pair has no kernel.
    fn paired(
        &mut self,
        terms: &[Term],
        forced: Option<NormStrategy>,
        label: &str,
    ) -> Result<Option<Chosen>, TypeError> {
        let uses: Vec<Use> = terms.iter().map(|t| self.oriented(t)).collect();
        let pairs = |i: usize, j: usize| match (&uses[i].op, &uses[j].op) {
            (Op::Outer(x), Op::Outer(y)) => {
                (x.groups, x.rows, x.cols) == (y.groups, y.rows, y.cols) && (x.groups == 1 || !terms[i].transposed)
            }
            (Op::Scatter(s), Op::Outer(y)) | (Op::Outer(y), Op::Scatter(s)) => {
                y.groups == 1 && s.table == [y.rows, y.cols]
            }
            _ => false,
        };
        let outers_only_forced = forced.is_none_or(|w| matches!(w, NormStrategy::Ghost | NormStrategy::Tile));
        for i in 0..terms.len() {
            let scatter_ok = match &uses[i].op {
                Op::Scatter(s) => !terms[i].transposed && self.segment(s, &uses[i].operands).is_some(),
                Op::Outer(_) => true,
                _ => false,
            };
            if !scatter_ok || !outers_only_forced || (i + 1..terms.len()).any(|j| !pairs(i, j)) {
                return Ok(None);
            }
        }
        let (mut parts, mut roundings) = (Vec::new(), Vec::new());
        let cross_label = label.replacen("sq.", "cross.", 1);
        for (i, Use { op, operands }) in uses.iter().enumerate() {
            let (own, rounding) = match op {
                Op::Outer(x) => {
                    let strategy =
                        if forced == Some(NormStrategy::Tile) { NormStrategy::Tile } else { NormStrategy::Ghost };
                    match strategy {
                        NormStrategy::Tile => {
                            (self.add(TileNorm(x.clone()), operands, label)?, (strategy, self.bounds.tile(x)))
                        }
                        _ => {
                            let op = GhostNorm { first: x.clone(), second: None };
                            (self.add(op, operands, label)?, (strategy, self.bounds.ghost(x, None)))
                        }
                    }
                }
                Op::Scatter(scatter) => {
                    let Some(op) = self.segment(scatter, operands) else { return Ok(None) };
                    let rounding = self.bounds.segment(&op);
                    (self.add(op, operands, label)?, (NormStrategy::Segment, rounding))
                }
                _ => return Ok(None),
            };
            parts.push(own);
            roundings.push(rounding);
            for Use { op: other, operands: others } in &uses[i + 1..] {
                let (cross, rounding) = match (op, other) {
                    (Op::Outer(x), Op::Outer(y)) => {
                        let all: Vec<NodeId> = operands.iter().chain(others).copied().collect();
                        let op = GhostNorm { first: x.clone(), second: Some(y.clone()) };
                        (self.add(op, &all, &cross_label)?, self.bounds.ghost(x, Some(y)))
                    }
                    (Op::Scatter(_), Op::Outer(y)) => self.cross(operands, y, others, &cross_label)?,
                    (Op::Outer(x), _) => self.cross(others, x, operands, &cross_label)?,
                    _ => return Ok(None),
                };
                parts.push(cross);
                roundings.push((NormStrategy::Ghost, rounding));
            }
        }
        let Some(errors) = self.errors_of_many(&uses, &roundings, label)? else { return Ok(None) };
        let additions = roundings.iter().map(|(_, rounding)| rounding.square).max().unwrap_or(0);
        let strategies = roundings.into_iter().map(|(strategy, _)| strategy).collect();
        Ok(Some((
            Norm { squares: parts, errors, additions },
            strategies,
            format!("{} uses, with cross terms", terms.len()),
        )))
    }

    fn cross(
        &mut self,
        table: &[NodeId],
        outer: &Outer,
        sides: &[NodeId],
        label: &str,
    ) -> Result<(NodeId, Rounding), TypeError> {
        let (ids, x) = (self.graph.ty(table[0]), self.graph.ty(table[1]));
        let count = ids.len();
        let op = SegmentCross { count, width: x.len() / count.max(1), outer: outer.clone() };
        let operands: Vec<NodeId> = table.iter().chain(sides).copied().collect();
        let rounding = self.bounds.cross(&op);
        Ok((self.add(op, &operands, label)?, rounding))
    }

    /// A term as seen from the parameter: a transposed outer product has its sides exchanged.
    fn oriented(&self, term: &Term) -> Use {
        let operands = self.graph.operands(term.node);
        match self.graph.op(term.node) {
            Op::Outer(x) if term.transposed => {
                Use { op: x.exchanged().into(), operands: vec![operands[1], operands[0]] }
            }
            op => Use { op: op.clone(), operands },
        }
    }
}

fn sizes(outer: &Outer) -> String {
    let groups = if outer.groups > 1 { format!("{} groups of ", outer.groups) } else { String::new() };
    format!("{groups}{} × {} over {} positions", outer.rows, outer.cols, outer.steps)
}

#[cfg(test)]
mod tests {
    use crate::device::cases::{Case, wide};
    use crate::device::cpu::Cpu;
    use crate::device::gpu::Gpu;
    use crate::device::{Device, TARGETS};
    use crate::lower::kernels::ClipFactor;
    use crate::lower::program::Extent;
    use crate::privacy::clipping::ClipFunction;

    #[test]
    fn what_wide_sides_lose_is_made_up_for() {
        hold(&wide::case());
    }

    #[test]
    fn what_the_groups_of_a_depthwise_layer_lose_is_made_up_for() {
        hold(&wide::groups());
    }

    fn hold(case: &Case) {
        let additions = TARGETS.rounding(case.kernel().clone()).square;
        let (records, function) = (Extent::rows(1), ClipFunction::Threshold);
        let clip = ClipFactor { records, function, group: 0, groups: 1, errors: 0, additions, grid: false };
        let gpu: Box<dyn Device> = Box::new(Gpu::open(None).expect("a GPU"));
        let found = [Box::new(Cpu), gpu].map(|device| {
            let found = wide::found(&*device, case);
            println!("{}: {:e} less", device.name(), 1.0 - found);
            assert!(found * f64::from(clip.excess()) >= 1.0, "{}: {found}", device.name());
            found
        });
        assert!(found.iter().any(|found| *found < 1.0 - 1e-6), "nothing to make up for: {found:?}");
    }
}
