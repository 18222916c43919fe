//! The DP rewrite: every weight-gradient node becomes the same node with the batch factor kept, its square norm, and a
//! sum over the batch weighted by one clip factor per record and clip group.
//!
//! The factor is kept all the way to the *parameter*: contributions to one parameter are summed before its norm is
//! taken, and a map that lies between a parameter and the slot where it is used is applied to the per-sample gradient,
//! so the norm is that of the parameter's own gradient. Only permutations are commuted past the norm.
//!
//! A norm is what was computed and a bound on what rounding hides of it: see [`rounding`].
//!
//! There is one backward pass: cotangents are kept and scaled, never computed again. The sum is linear in the cotangents
//! of the weight-gradient nodes, so it is the gradient graph itself with those nodes weighted.

pub(crate) mod norms;
pub(super) mod rounding;

use std::collections::BTreeMap;

use self::norms::Norm;
use self::rounding::Hidden;
use super::differentiate::GRADIENT;
use super::strategy::Way;
use crate::graph::{Graph, NodeId, Origin, Type, TypeError};
use crate::lower::host_inputs;
use crate::lower::host_outputs::LOSS;
use crate::lower::scalar::Func;
use crate::ops::clip::ClipFactor;
use crate::ops::elementwise::Elementwise;
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
        total.extend(rewrite.hidden_totals(&hidden, |what| named(what, group))?);
        let additions = own.iter().map(|norm| norm.additions).max().unwrap_or(0) + squares.len();
        totals.push((total, additions));
    }
    let mut weight = row_weights(&mut rewrite.graph)?;
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
    let mut factors = Vec::new();
    for (k, (group, (total, additions))) in options.groups.iter().zip(totals).enumerate() {
        let op = ClipFactor { scope, function, group: k, groups, additions };
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
}
