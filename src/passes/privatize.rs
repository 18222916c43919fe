//! The DP rewrite: every weight-gradient node becomes the same node with the batch factor kept, its square norm, and a
//! sum over the batch weighted by one clip factor per record and clip group.
//!
//! The factor is kept all the way to the *parameter*: contributions to one parameter are summed before its norm is
//! taken, and a map that lies between a parameter and the slot where it is used is applied to the per-sample gradient,
//! so the norm is that of the parameter's own gradient. Only permutations are commuted past the norm.
//!
//! There is one backward pass: cotangents are kept and scaled, never computed again. The sum is linear in the cotangents
//! of the weight-gradient nodes, so it is the gradient graph itself with those nodes weighted.

use std::collections::BTreeMap;

use super::differentiate::{GRADIENT, LOSS};
use super::strategy::{Rates, Way, choose};
use crate::graph::{DType, Graph, NodeId, Origin, Type, TypeError};
use crate::lower::host_inputs;
use crate::lower::scalar::Func;
use crate::ops::clip::ClipFactor;
use crate::ops::elementwise::Elementwise;
use crate::ops::norm::{GhostNorm, OuterNorm, SegmentCross, SegmentNorm, SquareNorm, TileNorm};
use crate::ops::outer::Outer;
use crate::ops::reduce::SumBatch;
use crate::ops::{Op, leaf};
use crate::privacy::clipping::{ClipGroup, ClipRule, ClipScope};

/// The prefix of the outputs that hold clipped sums: `sum/PARAMETER`.
pub const SUM: &str = "sum/";
/// The prefix of the outputs that hold per-sample gradients: `per_sample/PARAMETER`.
pub const PER_SAMPLE: &str = "per_sample/";

/// What the rewrite is asked for.
#[derive(Clone, Debug)]
pub struct PrivateOptions {
    /// The clip rule.
    pub clip: ClipRule,
    /// The rule's groups of the parameters that have a gradient.
    pub groups: Vec<ClipGroup>,
    /// The way forced on every norm that has it, or the cost model's choice.
    pub way: Option<Way>,
    /// Whether per-sample gradients are outputs too.
    pub per_sample: bool,
}

/// How the norm of one parameter's gradient is computed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Choice {
    /// The parameter.
    pub parameter: String,
    /// The ways of its terms: one per use, and of their cross terms.
    pub ways: Vec<Way>,
    /// The sizes that decided it, for people.
    pub why: String,
}

/// The private graph and the choices made on the way.
#[derive(Clone, Debug)]
pub struct Private {
    /// The graph, with outputs `loss`, `sum/PARAMETER` and, if asked for, `per_sample/PARAMETER`.
    pub graph: Graph,
    /// One choice per parameter.
    pub choices: Vec<Choice>,
}

/// A parameter and its gradient.
type Gradient = (String, NodeId);

/// The parameters of a differentiated graph that have a gradient, by name.
pub fn with_gradient(gradients: &Graph) -> impl Iterator<Item = (&str, NodeId)> {
    gradients.outputs.iter().filter_map(|(name, &id)| Some((name.strip_prefix(GRADIENT)?, id)))
}

fn parameters(gradients: &Graph) -> Vec<Gradient> {
    with_gradient(gradients).map(|(name, id)| (name.to_owned(), id)).collect()
}

/// Rewrites the gradients of a differentiated graph.
pub fn privatize(gradients: &Graph, options: &PrivateOptions) -> Result<Private, TypeError> {
    let mut rewrite = Rewrite { graph: gradients.clone(), per_sample: BTreeMap::new(), stored: BTreeMap::new() };
    let parameters = parameters(gradients);
    rewrite.graph.outputs.retain(|name, _| !name.starts_with(GRADIENT));
    let (mut squares, mut choices) = (BTreeMap::new(), Vec::new());
    for (name, gradient) in &parameters {
        let (parts, choice) = rewrite.norm_of(name, *gradient, options.way)?;
        squares.insert(name.as_str(), parts);
        choices.push(choice);
        if options.per_sample {
            let id = rewrite.keep(*gradient, name)?;
            rewrite.graph.outputs.insert(format!("{PER_SAMPLE}{name}"), id);
        }
    }
    let named = |what: &str, group: &ClipGroup| match options.clip.scope() {
        ClipScope::Flat { .. } => what.to_owned(),
        _ => format!("{what}.{}", group.name),
    };
    let mut totals = Vec::new();
    for group in &options.groups {
        let parts = group.parameters.iter().filter_map(|name| squares.get(name.as_str())).flatten();
        totals.push(rewrite.total(&parts.copied().collect::<Vec<_>>(), &named("sq", group))?);
    }
    let weight = row_weights(&mut rewrite.graph)?;
    let groups = options.groups.len();
    let bounds = leaf::Input { name: host_inputs::CLIP_BOUNDS.into(), ty: Type::shared([groups]) };
    let bounds = rewrite.add(bounds, &[], "bounds")?;
    let (scope, function) = (options.clip.scope().name(), options.clip.function());
    let mut factors = Vec::new();
    for (k, (group, total)) in options.groups.iter().zip(totals).enumerate() {
        let op = ClipFactor { scope, function, group: k, groups };
        factors.push(rewrite.add(op, &[total, weight, bounds], &named("clip", group))?);
    }
    let stored = std::mem::take(&mut rewrite.stored);
    for (group, factor) in options.groups.iter().zip(factors) {
        let own = |(name, _): &&Gradient| group.parameters.contains(name);
        let own: Vec<Gradient> = parameters.iter().filter(own).cloned().collect();
        weigh(&mut rewrite.graph, &own, factor, &stored)?;
    }
    Ok(Private { graph: rewrite.graph.prune(), choices })
}

/// The non-private counterpart: the same gradients, summed over the rows that hold a record.
pub fn weigh_rows(gradients: &Graph) -> Result<Graph, TypeError> {
    let mut graph = gradients.clone();
    graph.outputs.retain(|name, _| name == LOSS);
    let weight = row_weights(&mut graph)?;
    weigh(&mut graph, &parameters(gradients), weight, &BTreeMap::new())?;
    Ok(graph.prune())
}

fn row_weights(graph: &mut Graph) -> Result<NodeId, TypeError> {
    let op = leaf::Input { name: host_inputs::WEIGHT.into(), ty: Type::batched([]) };
    graph.add(op, &[], Origin::value("weight"))
}

/// Appends the sums over the batch weighted by `factor`, one output `sum/PARAMETER` each. A weight-gradient node whose
/// per-sample gradient is `stored` is summed from there.
fn weigh(
    graph: &mut Graph,
    parameters: &[Gradient],
    factor: NodeId,
    stored: &BTreeMap<NodeId, NodeId>,
) -> Result<(), TypeError> {
    let mut map: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    let wanted = graph.ancestors(parameters.iter().map(|(_, id)| *id));
    let before: Vec<NodeId> = graph.ids().filter(|id| wanted[id.index()]).collect();
    for id in before {
        let node = graph.node(id).clone();
        let operands = graph.operands(id);
        let new = match (node.op.rules().weight_gradient(), stored.get(&id)) {
            (Some(_), Some(&kept)) => {
                let op = SumBatch { per_sample: false, weighted: true };
                graph.add(op, &[kept, factor], node.origin)?
            }
            (Some(op), None) => {
                let operands: Vec<NodeId> = operands.into_iter().chain([factor]).collect();
                graph.add(op.weighted(), &operands, node.origin)?
            }
            (None, _) if operands.iter().any(|o| map.contains_key(o)) => {
                let operands: Vec<NodeId> = operands.iter().map(|o| *map.get(o).unwrap_or(o)).collect();
                graph.add(node.op, &operands, node.origin)?
            }
            (None, _) => continue,
        };
        map.insert(id, new);
    }
    for (name, id) in parameters {
        let sum = *map.get(id).unwrap_or(id);
        graph.outputs.insert(format!("{SUM}{name}"), sum);
    }
    Ok(())
}

/// One use of a parameter: a weight-gradient node, and whether its matrix is transposed on the way to the parameter.
struct Term {
    node: NodeId,
    transposed: bool,
}

/// The square norms whose sum is that of a gradient, the ways to them, and the sizes that decided.
type Norms = (Vec<NodeId>, Vec<Way>, String);

struct Rewrite {
    graph: Graph,
    /// The per-sample counterpart of each shared node, made on demand.
    per_sample: BTreeMap<NodeId, NodeId>,
    /// Weight-gradient nodes whose per-sample gradient is stored for its norm, and so serves the sum as well.
    stored: BTreeMap<NodeId, NodeId>,
}

impl Rewrite {
    fn add(&mut self, op: impl Into<Op>, operands: &[NodeId], name: &str) -> Result<NodeId, TypeError> {
        self.graph.add(op, operands, Origin::value(name))
    }

    /// The sum of square norms, each an `f32[N]`.
    fn total(&mut self, parts: &[NodeId], name: &str) -> Result<NodeId, TypeError> {
        let Some((&first, rest)) = parts.split_first() else {
            return self.add(leaf::Fill { ty: Type::batched([]), value: 0.0 }, &[], name);
        };
        let total =
            rest.iter().try_fold(first, |sum, &part| self.add(Elementwise::call(Func::Add), &[sum, part], ""))?;
        if !rest.is_empty() {
            self.graph.name(total, name);
        }
        Ok(total)
    }

    /// The per-sample counterpart of a shared gradient value of a parameter: the same maps, applied record by record.
    fn keep(&mut self, id: NodeId, parameter: &str) -> Result<NodeId, TypeError> {
        if let Some(&kept) = self.per_sample.get(&id) {
            return Ok(kept);
        }
        let node = self.graph.node(id).clone();
        let operands = self.graph.operands(id);
        let kept = if let Some(op) = node.op.rules().weight_gradient() {
            self.graph.add(op.per_sample(), &operands, node.origin.named(format!("psg.{parameter}")))?
        } else if operands.is_empty() || node.ty.batched {
            id
        } else {
            let kept = operands.iter().map(|&o| self.keep(o, parameter)).collect::<Result<Vec<_>, _>>()?;
            if kept == operands { id } else { self.graph.add(node.op, &kept, node.origin.named(""))? }
        };
        self.per_sample.insert(id, kept);
        Ok(kept)
    }

    /// The terms of a gradient, if it is a sum of weight-gradient nodes seen through permutations.
    fn terms(&self, id: NodeId, transposed: bool) -> Option<Vec<Term>> {
        let node = self.graph.node(id);
        if node.op.rules().weight_gradient().is_some() {
            return Some(vec![Term { node: id, transposed }]);
        }
        let operands = self.graph.operands(id);
        match &node.op {
            Op::Reshape(_) => self.terms(operands[0], transposed),
            Op::Transpose(t) if t.perm == [1, 0] => self.terms(operands[0], !transposed),
            Op::Transpose(_) | Op::Rearrange(_) => {
                // Another permutation keeps a single term's norm, but two terms behind different ones cannot be paired.
                let inner = self.terms(operands[0], transposed)?;
                (inner.len() == 1 && is_permutation(&node.op)).then_some(inner)
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

    /// Whether only reshapes and matrix transposes stand between a value and its weight-gradient nodes.
    fn pairable(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        if node.op.rules().weight_gradient().is_some() {
            return true;
        }
        match &node.op {
            Op::Reshape(_) | Op::Elementwise(_) => {}
            Op::Transpose(t) if t.perm == [1, 0] => {}
            _ => return false,
        }
        self.graph.operands(id).iter().all(|&o| self.pairable(o))
    }

    /// Appends the square norms whose sum is that of the parameter's gradient.
    fn norm_of(
        &mut self,
        name: &str,
        gradient: NodeId,
        forced: Option<Way>,
    ) -> Result<(Vec<NodeId>, Choice), TypeError> {
        let label = format!("sq.{name}");
        let done = |parts, ways, why: String| (parts, Choice { parameter: name.into(), ways, why });
        if forced != Some(Way::Materialize)
            && let Some(terms) = self.terms(gradient, false)
        {
            match terms.as_slice() {
                [term] => {
                    if let Some((parts, way, why)) = self.single(term, forced, &label)? {
                        return Ok(done(parts, vec![way], why));
                    }
                }
                many => {
                    if let Some((parts, ways, why)) = self.paired(many, forced, &label)? {
                        return Ok(done(parts, ways, why));
                    }
                }
            }
        }
        // Materialise in the parameter's own space; where a single weight-gradient node lies behind permutations, its
        // stored gradient serves the weighted sum as well.
        let only = self.terms(gradient, false).filter(|t| t.len() == 1).map(|t| t[0].node);
        let kept = match only {
            Some(node) => {
                let kept = self.keep(node, name)?;
                self.stored.insert(node, kept);
                kept
            }
            None => self.keep(gradient, name)?,
        };
        let square = self.add(SquareNorm, &[kept], &label)?;
        let len = self.graph.ty(kept).len();
        Ok(done(vec![square], vec![Way::Materialize], format!("{len} elements a record")))
    }

    fn single(
        &mut self,
        term: &Term,
        forced: Option<Way>,
        label: &str,
    ) -> Result<Option<(Vec<NodeId>, Way, String)>, TypeError> {
        let operands = self.graph.operands(term.node);
        match self.graph.op(term.node).clone() {
            Op::Outer(outer) => {
                let way = match forced {
                    Some(way @ (Way::Ghost | Way::Tile)) => way,
                    _ => choose(&outer, Rates::default()),
                };
                let why = sizes(&outer);
                if way == Way::Materialize {
                    return Ok(None);
                }
                let square = match way {
                    Way::Ghost => self.add(GhostNorm { first: outer, second: None }, &operands, label)?,
                    Way::Tile => self.add(TileNorm(outer), &operands, label)?,
                    _ => self.add(OuterNorm(outer), &operands, label)?,
                };
                Ok(Some((vec![square], way, why)))
            }
            Op::Scatter(_) => {
                let Some(op) = self.segment(&operands) else { return Ok(None) };
                let why = format!("{} ids a record, rows of {}", op.count, op.width);
                Ok(Some((vec![self.add(op, &operands, label)?], Way::Segment, why)))
            }
            _ => Ok(None),
        }
    }

    fn segment(&self, operands: &[NodeId]) -> Option<SegmentNorm> {
        let (ids, x) = (self.graph.ty(operands[0]), self.graph.ty(operands[1]));
        (ids.batched && x.batched && ids.dtype == DType::I32)
            .then(|| SegmentNorm { count: ids.len(), width: x.len() / ids.len().max(1) })
    }

    /// The norm of a sum of terms, from the terms' own norms and all cross terms; `None` if some pair has no kernel.
    fn paired(&mut self, terms: &[Term], forced: Option<Way>, label: &str) -> Result<Option<Norms>, TypeError> {
        let sides: Vec<(Op, Vec<NodeId>)> = terms.iter().map(|t| self.oriented(t)).collect();
        let pairs = |i: usize, j: usize| match (&sides[i].0, &sides[j].0) {
            (Op::Outer(x), Op::Outer(y)) => {
                (x.groups, x.rows, x.cols) == (y.groups, y.rows, y.cols) && (x.groups == 1 || !terms[i].transposed)
            }
            (Op::Scatter(s), Op::Outer(y)) | (Op::Outer(y), Op::Scatter(s)) => {
                y.groups == 1 && s.table == [y.rows, y.cols]
            }
            _ => false,
        };
        let outers_only_forced = forced.is_none_or(|w| matches!(w, Way::Ghost | Way::Tile));
        for i in 0..terms.len() {
            let scatter_ok = match &sides[i].0 {
                Op::Scatter(_) => !terms[i].transposed && self.segment(&sides[i].1).is_some(),
                Op::Outer(_) => true,
                _ => false,
            };
            if !scatter_ok || !outers_only_forced || (i + 1..terms.len()).any(|j| !pairs(i, j)) {
                return Ok(None);
            }
        }
        let (mut parts, mut ways) = (Vec::new(), Vec::new());
        let cross_label = label.replacen("sq.", "cross.", 1);
        for (i, (op, operands)) in sides.iter().enumerate() {
            let (own, way) = match op {
                Op::Outer(x) => {
                    let way = if forced == Some(Way::Tile) { Way::Tile } else { Way::Ghost };
                    let id = match way {
                        Way::Tile => self.add(TileNorm(x.clone()), operands, label)?,
                        _ => self.add(GhostNorm { first: x.clone(), second: None }, operands, label)?,
                    };
                    (id, way)
                }
                _ => {
                    let Some(op) = self.segment(operands) else { return Ok(None) };
                    (self.add(op, operands, label)?, Way::Segment)
                }
            };
            parts.push(own);
            ways.push(way);
            for (other, others) in &sides[i + 1..] {
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
                ways.push(Way::Ghost);
            }
        }
        Ok(Some((parts, ways, format!("{} uses, with cross terms", terms.len()))))
    }

    fn cross(&mut self, table: &[NodeId], outer: &Outer, sides: &[NodeId], label: &str) -> Result<NodeId, TypeError> {
        let (ids, x) = (self.graph.ty(table[0]), self.graph.ty(table[1]));
        let count = ids.len();
        let op = SegmentCross { count, width: x.len() / count.max(1), outer: outer.clone() };
        let operands: Vec<NodeId> = table.iter().chain(sides).copied().collect();
        self.add(op, &operands, label)
    }

    /// A term as seen from the parameter: a transposed outer product has its sides exchanged.
    fn oriented(&self, term: &Term) -> (Op, Vec<NodeId>) {
        let operands = self.graph.operands(term.node);
        match self.graph.op(term.node) {
            Op::Outer(x) if term.transposed => {
                let exchanged = Outer { rows: x.cols, cols: x.rows, a: x.b, b: x.a, ..x.clone() };
                (exchanged.into(), vec![operands[1], operands[0]])
            }
            op => (op.clone(), operands),
        }
    }
}

fn is_permutation(op: &Op) -> bool {
    match op {
        Op::Transpose(_) => true,
        Op::Rearrange(r) => r.is_permutation(),
        _ => false,
    }
}

fn sizes(outer: &Outer) -> String {
    let groups = if outer.groups > 1 { format!("{} groups of ", outer.groups) } else { String::new() };
    format!("{groups}{} × {} over {} positions", outer.rows, outer.cols, outer.steps)
}
