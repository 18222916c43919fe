//! The DP rewrite: every gradient becomes the per-sample gradients, their square norms, and a sum over the batch weighted
//! by one clip factor per record and clip group.
//!
//! Records stay apart all the way to the *parameter*: a map that lies between a parameter and the slot where it is used is
//! applied to each record's gradient, contributions to one parameter are added before its norm is taken, and one
//! [`SumBatch`] per parameter stands last. So the norm is that of the parameter's own gradient, and the sum has one place.
//!
//! A norm is what was computed and a bound on what rounding hides of it: see [`rounding`].
//!
//! Where a record has several rows, one for each view of it, the gradient that is clipped is that of all of them: see [`views`].
//!
//! There is one backward pass: cotangents are kept, never computed again. What is stored, and what the sum computes by
//! itself, is decided by [`fuse_sums`](super::fuse_sums).

pub(crate) mod norms;
pub(super) mod rounding;
mod views;

use std::collections::{BTreeMap, BTreeSet};

use self::norms::Norm;
use self::rounding::{Bounds, ErrorBounds};
use super::differentiate::GRADIENT;
use super::strategy::NormStrategy;
use crate::graph::{NodeId, Origin, Type, TypeError};
use crate::lower::cost::CostModel;
use crate::lower::host_inputs;
use crate::lower::host_outputs::LOSS;
use crate::lower::kernels::{Kernel, Sums};
use crate::lower::scalar::Func;
use crate::lower::target::Targets;
use crate::ops::Graph;
use crate::ops::clip::ClipFactor;
use crate::ops::elementwise::Elementwise;
use crate::ops::sum_batch::SumBatch;
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
    /// The strategy forced on every norm that has it, or the cost model's choice.
    pub strategy: Option<NormStrategy>,
    /// What the cost model chooses by.
    pub costs: CostModel,
    /// Rows of each record, whose gradients are clipped as one.
    pub views: usize,
    /// Whether per-sample gradients are outputs too.
    pub per_sample: bool,
    /// What the sums are made of: [`Sums::Floats`] or [`Sums::Grid`].
    pub sums: Sums,
}

/// How the norm of one parameter's gradient is computed.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Choice {
    /// The parameter.
    pub parameter: String,
    /// The strategies of its terms: one per use, and of their cross terms.
    #[serde(alias = "ways")]
    pub strategies: Vec<NormStrategy>,
    /// The sizes that decided it, for people.
    pub why: String,
    /// What there was to choose from, where there is one use: kernels from the norm to the weighted sum.
    #[serde(default)]
    pub alternatives: Vec<(NormStrategy, Vec<Kernel>)>,
}

/// The private graph and the choices made on the way.
#[derive(Clone, Debug)]
pub struct Private {
    /// The graph, with the outputs of the forward graph, `sum/PARAMETER` and, if asked for, `per_sample/PARAMETER`.
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
///
/// What rounding may hide is bounded for each of `targets`.
pub fn privatize(gradients: &Graph, options: &PrivateOptions, targets: Targets<'_>) -> Result<Private, TypeError> {
    let bounds = Bounds(targets, options.sums);
    let mut rewrite = Rewrite {
        graph: gradients.clone(),
        bounds,
        costs: options.costs.clone(),
        per_sample: BTreeMap::new(),
        stored: BTreeSet::new(),
        views: options.views,
        joined: BTreeMap::new(),
        moved: BTreeMap::new(),
        of_record: BTreeMap::new(),
    };
    let parameters = parameters(gradients);
    rewrite.graph.outputs.retain(|name, _| !name.starts_with(GRADIENT));
    let (mut each, mut norms, mut choices) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let kept = parameters.iter().map(|(name, gradient)| {
        let of_rows = rewrite.per_sample(*gradient, name)?;
        rewrite.of_record(of_rows)
    });
    let kept = kept.collect::<Result<Vec<NodeId>, TypeError>>()?;
    rewrite.stored = rewrite.worth_storing(&kept);
    for ((name, gradient), per_sample) in parameters.iter().zip(kept) {
        let (norm, choice) = rewrite.norm_of(name, per_sample, options.strategy)?;
        norms.insert(name.as_str(), norm);
        choices.push(choice);
        if options.per_sample {
            rewrite.graph.outputs.insert(format!("{PER_SAMPLE}{name}"), per_sample);
        }
        // Parameters may share a gradient; each has a sum of its own.
        let origin = gradients.node(*gradient).origin.named(format!("g.{name}"));
        each.insert(name.as_str(), (per_sample, origin));
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
        let errors: Vec<ErrorBounds> = own.iter().flat_map(|norm| &norm.errors).copied().collect();
        total.extend(rewrite.error_totals(&errors, |what| named(what, group))?);
        let additions = own.iter().map(|norm| norm.additions).max().unwrap_or(0) + squares.len();
        totals.push((total, additions));
    }
    let mut weight = row_weights(&mut rewrite.graph)?;
    weight = rewrite.of_any_view(weight)?;
    let groups = options.groups.len();
    if groups > 1 {
        // A record whose gradient is not finite in one group counts as zero in all of them.
        for number in totals.iter().flat_map(|(total, _)| total) {
            weight = rewrite.add(Elementwise::call(Func::Guard), &[weight, *number], "")?;
        }
        rewrite.graph.name(weight, "counted");
    }
    let bounds = leaf::Input { name: host_inputs::CLIP_BOUNDS.into(), ty: Type::shared([groups]) };
    let bounds = rewrite.add(bounds, &[], "bounds")?;
    let (scope, function) = (options.clip.scope().name(), options.clip.function());
    for (k, (group, (total, additions))) in options.groups.iter().zip(totals).enumerate() {
        let grid = options.sums.integers();
        let op = ClipFactor { scope, function, group: k, groups, additions, grid };
        let factor = rewrite.add(op, &[&total[..], &[weight, bounds]].concat(), &named("clip", group))?;
        for name in &group.parameters {
            let Some((per_sample, origin)) = each.remove(name.as_str()) else { continue };
            let sum = rewrite.graph.add(SumBatch::weighted(options.sums), &[per_sample, factor], origin)?;
            rewrite.graph.outputs.insert(format!("{SUM}{name}"), sum);
        }
    }
    Ok(Private { graph: rewrite.graph.prune(), choices })
}

/// The non-private counterpart: the same gradients, summed over the rows that hold a record.
pub fn weigh_rows(gradients: &Graph) -> Result<Graph, TypeError> {
    let mut weight = None;
    let (mut graph, _) = gradients.rewrite(|out, id, mut operands| {
        let node = gradients.node(id);
        let Op::SumBatch(sum) = &node.op else { return out.add(node.op.clone(), &operands, node.origin.clone()) };
        let weight = match weight {
            Some(weight) => weight,
            None => *weight.insert(row_weights(out)?),
        };
        operands.push(weight);
        out.add(SumBatch { weighted: true, ..sum.clone() }, &operands, node.origin.clone())
    })?;
    let outputs = std::mem::take(&mut graph.outputs);
    graph.outputs = outputs
        .into_iter()
        .filter_map(|(name, id)| match name.strip_prefix(GRADIENT) {
            Some(parameter) => Some((format!("{SUM}{parameter}"), id)),
            None => (name == LOSS).then_some((name, id)),
        })
        .collect();
    Ok(graph.prune())
}

fn row_weights(graph: &mut Graph) -> Result<NodeId, TypeError> {
    let op = leaf::Input { name: host_inputs::WEIGHT.into(), ty: Type::batched([]) };
    graph.add(op, &[], Origin::value("weight"))
}

struct Rewrite<'a> {
    graph: Graph,
    bounds: Bounds<'a>,
    costs: CostModel,
    /// The per-sample counterpart of each shared node, made on demand.
    per_sample: BTreeMap<NodeId, NodeId>,
    /// The gradients that may be stored although there is another way.
    stored: BTreeSet<NodeId>,
    /// Rows of a record.
    views: usize,
    /// Values of rows as values of records.
    joined: BTreeMap<NodeId, NodeId>,
    /// The same with the axis of views inside of others, by how much is outside.
    moved: BTreeMap<(NodeId, usize), NodeId>,
    /// The gradients of records, by those of their rows.
    of_record: BTreeMap<NodeId, NodeId>,
}

impl Rewrite<'_> {
    fn add(&mut self, op: impl Into<Op>, operands: &[NodeId], name: &str) -> Result<NodeId, TypeError> {
        self.graph.add(op, operands, Origin::value(name))
    }

    /// The sum of square norms, each an `f32[N]`.
    fn total(&mut self, parts: &[NodeId], name: &str) -> Result<NodeId, TypeError> {
        let Some((&first, rest)) = parts.split_first() else {
            let zero = self.add(leaf::Fill { ty: Type::batched([]), value: 0.0 }, &[], name)?;
            return self.of_any_view(zero);
        };
        let total =
            rest.iter().try_fold(first, |sum, &part| self.add(Elementwise::call(Func::Add), &[sum, part], ""))?;
        if !rest.is_empty() {
            self.graph.name(total, name);
        }
        Ok(total)
    }

    /// The per-sample counterpart of a gradient: what its sums over the batch sum, and the maps behind them applied record
    /// by record.
    fn per_sample(&mut self, id: NodeId, parameter: &str) -> Result<NodeId, TypeError> {
        if let Some(&kept) = self.per_sample.get(&id) {
            return Ok(kept);
        }
        let node = self.graph.node(id).clone();
        let operands = self.graph.operands(id);
        let kept = if let Op::SumBatch(_) = node.op {
            let each = operands[0];
            if self.graph.node(each).origin.value.is_empty() {
                self.graph.name(each, format!("psg.{parameter}"));
            }
            each
        } else if operands.is_empty() || node.ty.batched {
            id
        } else {
            let kept = operands.iter().map(|&o| self.per_sample(o, parameter)).collect::<Result<Vec<_>, _>>()?;
            if kept == operands { id } else { self.graph.add(node.op, &kept, node.origin.named(""))? }
        };
        self.per_sample.insert(id, kept);
        Ok(kept)
    }
}
