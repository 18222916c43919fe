//! The DP rewrite: every weight-gradient node becomes the same node with the batch factor kept, its square norm, and a
//! sum over the batch weighted by one clip factor per record and clip group.
//!
//! The factor is kept all the way to the *parameter*: contributions to one parameter are summed before its norm is
//! taken, and a map that lies between a parameter and the slot where it is used is applied to the per-sample gradient,
//! so the norm is that of the parameter's own gradient. Only permutations are commuted past the norm.
//!
//! # Rounding
//!
//! What is bounded is a record's share of the sum as it is computed, in floating point. A gradient that is stored is summed
//! from where its norm is taken, so that its norm says all. One that is not is a sum of terms `a_t ⊗ b_t` for its norm, and
//! again, among the terms of other records, for the sum; where large terms cancel, rounding may leave little of its norm,
//! and little of other records' shares. Both are in proportion to the terms' total length `M = Σ_t ‖a_t‖ ‖b_t‖`, u being the
//! unit roundoff and T the number of positions:
//!
//! - each element of norm or sum is a sum of T terms: `T u M` each beside the norm, together `(2T + 8) u M`;
//! - a ghost norm's square is a sum of products of inner products: `k u M²` below the root, with k of
//!   [`ghost_rounding`] (Higham, Accuracy and Stability of Numerical Algorithms, §3.1);
//! - of a parameter with several uses, M is the sum over its uses, whose sums over the P rows of a physical batch stay
//!   apart to the end: each of the m terms that an element is added to meanwhile may lose `u M`, and m is at most 64 T + P
//!   for products, which are summed in parts of 64 records at most, and P T for rows by id: `apart` for each row.
//!
//! A clip factor is that of `√(‖g‖² + below) + beside + P apart`. Where nothing cancels, this is a small part of a percent more than
//! the norm; where nearly everything does, the record counts for less. Other trainers leave this out, and can be made to
//! add a gradient of any length unclipped.
//!
//! There is one backward pass: cotangents are kept and scaled, never computed again. The sum is linear in the cotangents
//! of the weight-gradient nodes, so it is the gradient graph itself with those nodes weighted.

use std::collections::BTreeMap;

use super::differentiate::{GRADIENT, LOSS};
use super::strategy::{ROUNDOFF, Rates, Way, choose, ghost_rounding};
use crate::graph::{DType, Graph, NodeId, Origin, Type, TypeError};
use crate::lower::host_inputs;
use crate::lower::scalar::Func;
use crate::ops::clip::ClipFactor;
use crate::ops::elementwise::Elementwise;
use crate::ops::norm::{GhostNorm, LengthBound, OuterNorm, SegmentCross, SegmentNorm, SquareNorm, TileNorm};
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
    let (mut norms, mut choices) = (BTreeMap::new(), Vec::new());
    for (name, gradient) in &parameters {
        let (norm, choice) = rewrite.norm_of(name, *gradient, options.way)?;
        norms.insert(name.as_str(), norm);
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
        let own: Vec<&Norm> = group.parameters.iter().filter_map(|name| norms.get(name.as_str())).collect();
        let squares: Vec<NodeId> = own.iter().flat_map(|norm| &norm.squares).copied().collect();
        let mut total = vec![rewrite.total(&squares, &named("sq", group))?];
        let hidden: Vec<Hidden> = own.iter().flat_map(|norm| &norm.hidden).copied().collect();
        if !hidden.is_empty() {
            total.push(rewrite.scaled(&hidden, |h| h.below, &named("below", group))?);
            total.push(rewrite.scaled(&hidden, |h| h.beside * h.beside, &named("beside", group))?);
            if hidden.iter().any(|h| h.apart > 0.0) {
                total.push(rewrite.scaled(&hidden, |h| h.apart * h.apart, &named("apart", group))?);
            }
        }
        totals.push(total);
    }
    let mut weight = row_weights(&mut rewrite.graph)?;
    let groups = options.groups.len();
    if groups > 1 {
        // A record whose gradient is not finite in one group counts as zero in all of them.
        for number in totals.iter().flatten() {
            weight = rewrite.add(Elementwise::call(Func::Guard), &[weight, *number], "")?;
        }
        rewrite.graph.name(weight, "counted");
    }
    let bounds = leaf::Input { name: host_inputs::CLIP_BOUNDS.into(), ty: Type::shared([groups]) };
    let bounds = rewrite.add(bounds, &[], "bounds")?;
    let (scope, function) = (options.clip.scope().name(), options.clip.function());
    let mut factors = Vec::new();
    for (k, (group, total)) in options.groups.iter().zip(totals).enumerate() {
        let op = ClipFactor { scope, function, group: k, groups };
        factors.push(rewrite.add(op, &[&total[..], &[weight, bounds]].concat(), &named("clip", group))?);
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

/// Appends the sums over the batch weighted by `factor`, one output `sum/PARAMETER` each. A node whose per-sample counterpart
/// is `stored` is summed from there.
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
            (_, Some(&kept)) => {
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

/// What rounding may hide of a norm: multiples of a [`LengthBound`].
#[derive(Clone, Copy)]
struct Hidden {
    /// The square of a bound on the terms' total length.
    length: NodeId,
    /// Of that square, below the root.
    below: f64,
    /// Of the length, beside the root.
    beside: f64,
    /// Of the length, beside the root, for each row of a physical batch.
    apart: f64,
}

/// A gradient's norm.
struct Norm {
    /// The square norms, and cross terms, that add up to its square.
    squares: Vec<NodeId>,
    /// What rounding may hide of it.
    hidden: Vec<Hidden>,
}

/// A norm, the ways to its parts, and the sizes that decided.
type Chosen = (Norm, Vec<Way>, String);

struct Rewrite {
    graph: Graph,
    /// The per-sample counterpart of each shared node, made on demand.
    per_sample: BTreeMap<NodeId, NodeId>,
    /// Gradients whose per-sample counterpart is stored for its norm, and so serves the sum as well.
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

    /// The sum of the length bounds, each multiplied by its `share`.
    fn scaled(&mut self, hidden: &[Hidden], share: impl Fn(&Hidden) -> f64, name: &str) -> Result<NodeId, TypeError> {
        let mut parts = Vec::new();
        for part in hidden.iter().filter(|part| share(part) > 0.0) {
            parts.push(self.add(Elementwise::scale(share(part) as f32), &[part.length], "")?);
        }
        let total = self.total(&parts, name)?;
        self.graph.name(total, name);
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
    fn norm_of(&mut self, name: &str, gradient: NodeId, forced: Option<Way>) -> Result<(Norm, Choice), TypeError> {
        let label = format!("sq.{name}");
        let done = |norm, ways, why: String| (norm, Choice { parameter: name.into(), ways, why });
        if forced != Some(Way::Materialize)
            && let Some(terms) = self.terms(gradient, false)
        {
            match terms.as_slice() {
                [term] => {
                    if let Some((norm, ways, why)) = self.single(term, forced, &label)? {
                        return Ok(done(norm, ways, why));
                    }
                }
                many => {
                    if let Some((norm, ways, why)) = self.paired(many, forced, &label)? {
                        return Ok(done(norm, ways, why));
                    }
                }
            }
        }
        // Materialise in the parameter's own space, or where a single weight-gradient node lies behind permutations; what is
        // stored serves the weighted sum as well.
        let only = self.terms(gradient, false).filter(|t| t.len() == 1).map(|t| t[0].node);
        let node = only.unwrap_or(gradient);
        let kept = self.keep(node, name)?;
        if self.graph.ty(kept).batched {
            self.stored.insert(node, kept);
        }
        let square = self.add(SquareNorm, &[kept], &label)?;
        let len = self.graph.ty(kept).len();
        let norm = Norm { squares: vec![square], hidden: vec![] };
        Ok(done(norm, vec![Way::Materialize], format!("{len} elements a record")))
    }

    /// The bound on the total length of the terms of a weight gradient, and the number of positions.
    fn length(&mut self, op: &Op, operands: &[NodeId], label: &str) -> Result<Option<(NodeId, f64)>, TypeError> {
        let label = label.replacen("sq.", "length.", 1);
        Ok(match op {
            Op::Outer(x) => {
                let length = self.add(LengthBound::Products(Box::new(x.clone())), operands, &label)?;
                Some((length, x.steps as f64))
            }
            Op::Scatter(_) => {
                let count = self.graph.ty(operands[0]).len() as f64;
                let rows = self.add(LengthBound::Rows, &operands[1..2], "")?;
                Some((self.add(Elementwise::scale(count as f32), &[rows], &label)?, count))
            }
            _ => None,
        })
    }

    fn single(&mut self, term: &Term, forced: Option<Way>, label: &str) -> Result<Option<Chosen>, TypeError> {
        let operands = self.graph.operands(term.node);
        let op = self.graph.op(term.node).clone();
        let (square, way, why) = match &op {
            Op::Outer(outer) => {
                let way = match forced {
                    Some(way @ (Way::Ghost | Way::Tile)) => way,
                    _ => choose(outer, Rates::default()),
                };
                let square = match way {
                    Way::Ghost => self.add(GhostNorm { first: outer.clone(), second: None }, &operands, label)?,
                    Way::Tile => self.add(TileNorm(outer.clone()), &operands, label)?,
                    Way::Outer => self.add(OuterNorm(outer.clone()), &operands, label)?,
                    Way::Materialize | Way::Segment => return Ok(None),
                };
                (square, way, sizes(outer))
            }
            Op::Scatter(_) => {
                let Some(segment) = self.segment(&operands) else { return Ok(None) };
                let why = format!("{} ids a record, rows of {}", segment.count, segment.width);
                (self.add(segment, &operands, label)?, Way::Segment, why)
            }
            _ => return Ok(None),
        };
        let below = match &op {
            Op::Outer(x) if way == Way::Ghost => ghost_rounding(x.rows, x.cols, [x.steps; 2]),
            _ => 0.0,
        };
        let hidden = match self.length(&op, &operands, label)? {
            // A single product is all there is to add.
            Some((length, positions)) if way != Way::Outer => {
                vec![Hidden { length, below, beside: (2.0 * positions + 8.0) * ROUNDOFF, apart: 0.0 }]
            }
            _ => vec![],
        };
        Ok(Some((Norm { squares: vec![square], hidden }, vec![way], why)))
    }

    fn segment(&self, operands: &[NodeId]) -> Option<SegmentNorm> {
        let (ids, x) = (self.graph.ty(operands[0]), self.graph.ty(operands[1]));
        (ids.batched && x.batched && ids.dtype == DType::I32)
            .then(|| SegmentNorm { count: ids.len(), width: x.len() / ids.len().max(1) })
    }

    /// The norm of a sum of terms, from the terms' own norms and all cross terms; `None` if some pair has no kernel.
    fn paired(&mut self, terms: &[Term], forced: Option<Way>, label: &str) -> Result<Option<Chosen>, TypeError> {
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
        // (Σᵢ Mᵢ)² is at most the number of uses times Σᵢ Mᵢ².
        let uses = sides.len() as f64;
        let below = uses * self.cross_rounding(&sides);
        let mut hidden = Vec::new();
        for (op, operands) in &sides {
            let Some((length, positions)) = self.length(op, operands, label)? else { return Ok(None) };
            let products = matches!(op, Op::Outer(_));
            let (beside, apart) = if products { (66.0, 1.0) } else { (2.0, positions) };
            let scale = uses.sqrt() * ROUNDOFF;
            hidden.push(Hidden { length, below, beside: scale * (beside * positions + 8.0), apart: scale * apart });
        }
        Ok(Some((Norm { squares: parts, hidden }, ways, format!("{} uses, with cross terms", terms.len()))))
    }

    /// The largest [`ghost_rounding`] of the products of two uses. Those with rows by id are summed pair by pair.
    fn cross_rounding(&self, sides: &[(Op, Vec<NodeId>)]) -> f64 {
        let ids = |operands: &[NodeId]| self.graph.ty(operands[0]).len();
        let of_pair = |(x, x_operands): &(Op, Vec<NodeId>), (y, y_operands): &(Op, Vec<NodeId>)| match (x, y) {
            (Op::Outer(x), Op::Outer(y)) => ghost_rounding(x.rows, x.cols, [x.steps, y.steps]),
            (Op::Outer(x), _) => (x.rows.max(x.cols) + x.steps * ids(y_operands)) as f64 * ROUNDOFF,
            (_, Op::Outer(y)) => (y.rows.max(y.cols) + y.steps * ids(x_operands)) as f64 * ROUNDOFF,
            _ => 0.0,
        };
        sides.iter().flat_map(|x| sides.iter().map(move |y| of_pair(x, y))).fold(0.0, f64::max)
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
