//! The square norm of one parameter's per-sample gradient, by one of the strategies of [`strategy`](crate::passes::strategy).

use super::rounding::Hidden;
use super::{Choice, Rewrite};
use crate::graph::{DType, NodeId, TypeError};
use crate::lower::scalar::Func;
use crate::ops::Op;
use crate::ops::embedding::Scatter;
use crate::ops::norm::{GhostNorm, OuterNorm, SegmentCross, SegmentNorm, SquareNorm, TileNorm};
use crate::ops::outer::Outer;
use crate::passes::fuse_sums::{before_permutations, is_permutation};
use crate::passes::strategy::{NormStrategy, Rates, choose};

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
    pub hidden: Vec<Hidden>,
    /// The longest chain of additions on the way to one of the squares.
    pub additions: usize,
}

/// A norm, the strategies of its parts, and the sizes that decided.
type Chosen = (Norm, Vec<NormStrategy>, String);

impl Rewrite {
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
        let done = |norm, strategies, why: String| (norm, Choice { parameter: name.into(), strategies, why });
        if forced != Some(NormStrategy::Materialize)
            && let Some(terms) = self.terms(gradient, false)
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
        let norm = Norm { squares: vec![square], hidden: vec![], additions: additions(0) };
        Ok(done(norm, vec![NormStrategy::Materialize], format!("{len} elements a record")))
    }

    fn single(&mut self, term: &Term, forced: Option<NormStrategy>, label: &str) -> Result<Option<Chosen>, TypeError> {
        let used = Use { op: self.graph.op(term.node).clone(), operands: self.graph.operands(term.node) };
        let operands = &used.operands;
        let (square, strategy, why, width) = match &used.op {
            Op::Outer(outer) => {
                let strategy = match forced {
                    Some(strategy @ (NormStrategy::Ghost | NormStrategy::Tile)) => strategy,
                    _ => choose(outer, Rates::default()),
                };
                let square = match strategy {
                    NormStrategy::Ghost => {
                        self.add(GhostNorm { first: outer.clone(), second: None }, operands, label)?
                    }
                    NormStrategy::Tile => self.add(TileNorm(outer.clone()), operands, label)?,
                    NormStrategy::Outer => self.add(OuterNorm(outer.clone()), operands, label)?,
                    NormStrategy::Materialize | NormStrategy::Segment => return Ok(None),
                };
                (square, strategy, sizes(outer), outer.rows.max(outer.cols))
            }
            Op::Scatter(scatter) => {
                let Some(segment) = self.segment(scatter, operands) else { return Ok(None) };
                let why = format!("{} ids a record, rows of {}", segment.count, segment.width);
                let width = segment.width;
                (self.add(segment, operands, label)?, NormStrategy::Segment, why, width)
            }
            _ => return Ok(None),
        };
        let Some(hidden) = self.hidden_of_one(&used, strategy, label)? else { return Ok(None) };
        Ok(Some((Norm { squares: vec![square], hidden, additions: additions(width) }, vec![strategy], why)))
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
        let (mut parts, mut strategies) = (Vec::new(), Vec::new());
        let cross_label = label.replacen("sq.", "cross.", 1);
        for (i, Use { op, operands }) in uses.iter().enumerate() {
            let (own, strategy) = match op {
                Op::Outer(x) => {
                    let strategy =
                        if forced == Some(NormStrategy::Tile) { NormStrategy::Tile } else { NormStrategy::Ghost };
                    let id = match strategy {
                        NormStrategy::Tile => self.add(TileNorm(x.clone()), operands, label)?,
                        _ => self.add(GhostNorm { first: x.clone(), second: None }, operands, label)?,
                    };
                    (id, strategy)
                }
                Op::Scatter(scatter) => {
                    let Some(op) = self.segment(scatter, operands) else { return Ok(None) };
                    (self.add(op, operands, label)?, NormStrategy::Segment)
                }
                _ => return Ok(None),
            };
            parts.push(own);
            strategies.push(strategy);
            for Use { op: other, operands: others } in &uses[i + 1..] {
                let cross = match (op, other) {
                    (Op::Outer(x), Op::Outer(y)) => {
                        let all: Vec<NodeId> = operands.iter().chain(others).copied().collect();
                        self.add(GhostNorm { first: x.clone(), second: Some(y.clone()) }, &all, &cross_label)?
                    }
                    (Op::Scatter(_), Op::Outer(y)) => self.cross(operands, y, others, &cross_label)?,
                    (Op::Outer(x), _) => self.cross(others, x, operands, &cross_label)?,
                    _ => return Ok(None),
                };
                parts.push(cross);
                strategies.push(NormStrategy::Ghost);
            }
        }
        let Some(hidden) = self.hidden_of_many(&uses, label)? else { return Ok(None) };
        let widest = uses.iter().map(|used| match &used.op {
            Op::Outer(x) => x.rows.max(x.cols),
            _ => self.graph.ty(used.operands[1]).len() / self.graph.ty(used.operands[0]).len().max(1),
        });
        let additions = additions(widest.max().unwrap_or(0));
        Ok(Some((
            Norm { squares: parts, hidden, additions },
            strategies,
            format!("{} uses, with cross terms", terms.len()),
        )))
    }

    fn cross(&mut self, table: &[NodeId], outer: &Outer, sides: &[NodeId], label: &str) -> Result<NodeId, TypeError> {
        let (ids, x) = (self.graph.ty(table[0]), self.graph.ty(table[1]));
        let count = ids.len();
        let op = SegmentCross { count, width: x.len() / count.max(1), outer: outer.clone() };
        let operands: Vec<NodeId> = table.iter().chain(sides).copied().collect();
        self.add(op, &operands, label)
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

/// The longest chain of additions that a kernel makes to a square norm of sides as wide as `width`: lanes add a share of a
/// side or a tile one by one, in blocks where it is long, and what they have found is added up in a few steps.
pub(crate) fn additions(width: usize) -> usize {
    512 + width / 16
}

fn sizes(outer: &Outer) -> String {
    let groups = if outer.groups > 1 { format!("{} groups of ", outer.groups) } else { String::new() };
    format!("{groups}{} × {} over {} positions", outer.rows, outer.cols, outer.steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::device::cases::wide;
    use crate::device::cpu::Cpu;
    use crate::device::gpu::Gpu;
    use crate::lower::emit;
    use crate::lower::kernels::ClipFactor;
    use crate::lower::program::Extent;
    use crate::privacy::clipping::ClipFunction;

    #[test]
    fn what_wide_sides_lose_is_made_up_for() {
        let (records, function) = (Extent::rows(1), ClipFunction::Threshold);
        let additions = additions(wide::WIDTH);
        let clip = ClipFactor { records, function, group: 0, groups: 1, hidden: 0, additions };
        let mut case = wide::case();
        emit::shaders(&mut case.program).expect("shaders");
        let gpu: Box<dyn Device> = Box::new(Gpu::open(None).expect("a GPU"));
        for device in [Box::new(Cpu), gpu] {
            let found = wide::found(&*device, &case);
            println!("{}: {:e} less", device.name(), 1.0 - found);
            assert!(found < 1.0 - 1e-6, "{}: nothing to make up for: {found}", device.name());
            assert!(found * f64::from(clip.excess()) >= 1.0, "{}: {found}", device.name());
        }
    }
}
