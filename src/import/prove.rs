//! The pass over a model's nodes: each by its rule, and all problems at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::axes::Axes;
use super::beyond::Supposed;
use super::custom::{self, CustomOps};
use super::interface::Outputs;
use super::refusal::Seen;
use super::rules::rules;
use super::{Import, Refusal, Refused, Rule};
use crate::graph::{DType, Origin};
use crate::onnx::{OnnxNode, Parameter, Source};
use crate::ops::Graph;
use crate::ops::Op;

/// A proved model.
#[derive(Debug, Clone, Default)]
pub struct Proved {
    /// The forward graph; its outputs are those of the model, by ONNX name.
    pub graph: Graph,
    /// The axes of the model's inputs, by name.
    pub inputs: BTreeMap<String, Axes>,
    /// The axes of the model's outputs, by name.
    pub outputs: BTreeMap<String, Axes>,
    /// Those of them that have no elements, and that the graph has not, with their dtypes.
    pub nothing: BTreeMap<String, DType>,
    /// For each input that holds ids, the rows of the smallest table that they address.
    pub ids: BTreeMap<String, usize>,
    /// What the user should know of how the model was taken, one sentence each.
    pub notes: Vec<String>,
}

/// Proves a model and builds its forward graph.
///
/// # Errors
///
/// [`Refused`] with everything that keeps a model's outputs from being computed for each record alone.
pub fn prove(source: &Source, parameters: &[Parameter]) -> Result<Proved, Refused> {
    prove_for(source, parameters, &[])
}

/// [`prove`] for the sake of some of the outputs; of all, if none is named. Another output that cannot be had is left out,
/// and noted.
///
/// # Errors
///
/// [`Refused`] with everything that keeps the `wanted` outputs from being computed for each record alone.
pub fn prove_for(source: &Source, parameters: &[Parameter], wanted: &[String]) -> Result<Proved, Refused> {
    prove_with_ops(source, parameters, wanted, &CustomOps::default())
}

/// [`prove_for`], with ops from outside beside those of ONNX.
///
/// # Errors
///
/// As [`prove_for`].
pub fn prove_with_ops(
    source: &Source,
    parameters: &[Parameter],
    wanted: &[String],
    ops: &CustomOps,
) -> Result<Proved, Refused> {
    prove_with(source, parameters, wanted, &rules().collect(), ops)
}

/// [`prove_with_ops`] by these rules.
pub(super) fn prove_with(
    source: &Source,
    parameters: &[Parameter],
    wanted: &[String],
    rules: &HashMap<&str, Rule>,
    ops: &CustomOps,
) -> Result<Proved, Refused> {
    let mut cx = Import::new(source, parameters);
    let needed = needed(source, wanted);
    let mut problems = Vec::new();
    let mut inputs = cx.declare_inputs(&mut problems);
    for node in &source.nodes {
        cx.infer_behind_custom(node);
        if cx.is_constant(node) {
            cx.constants.extend(node.outputs.iter().filter(|o| !o.is_empty()).cloned());
            continue;
        }
        cx.origin = Origin::onnx(&node.name);
        let rule = match node.domain.as_str() {
            "" | "ai.onnx" => rules.get(node.op_type.as_str()),
            domain => rules.get(format!("{domain}.{}", node.op_type).as_str()),
        };
        let custom = ops.get(&node.domain, &node.op_type);
        let known = rule.is_some() || custom.is_some();
        let supposed = cx.supposed_of(node);
        cx.read_supposed = Supposed::Nothing;
        let result = match known {
            false => Err(without_rule(&cx, node)),
            true if node.inputs.iter().any(|i| cx.refused.contains(i)) => {
                Err(Refusal::Blocked { node: node.name.clone() })
            }
            true => cx.own_row_of(node).and_then(|own| {
                cx.moves_own_rows = own.reads;
                let values = match (rule, custom) {
                    (Some(rule), _) => rule(&mut cx, node),
                    (None, Some(op)) => custom::import(&mut cx, node, op),
                    (None, None) => Err(cx.no_rule(node)),
                };
                cx.moves_own_rows = false;
                let values = cx.checked(node, values?)?;
                let marks = own.mark.into_iter().flat_map(|mark| node.outputs.iter().map(move |o| (o.clone(), mark)));
                cx.own_rows.extend(marks);
                Ok(values)
            }),
        };
        let outputs = || node.outputs.iter().filter(|o| !o.is_empty());
        // No rule is for results without elements; there is nothing to compute.
        let result = result.or_else(|refusal| cx.nothing(node).ok_or(refusal));
        match result {
            Ok(values) => {
                for (name, value) in node.outputs.iter().zip(values).filter(|(n, _)| !n.is_empty()) {
                    if custom.is_some() {
                        cx.learn(name, &value);
                    }
                    cx.values.insert(name.clone(), value);
                }
                if supposed > Supposed::Nothing {
                    cx.supposed.extend(outputs().map(|output| (output.clone(), supposed)));
                }
            }
            Err(_) if known && cx.counts_records(node) => {
                cx.counts.extend(outputs().cloned());
            }
            Err(refusal) => {
                for output in outputs() {
                    cx.suppose(output);
                }
                let stands = !known || cx.read_supposed.lets_stand(&refusal);
                if stands && needed.contains(node.name.as_str()) {
                    problems.push(refusal.with(cx.seen(node)));
                }
            }
        }
    }
    cx.note_silent_dropouts();
    let Outputs { axes: outputs, nothing, left_out } = cx.declare_outputs(wanted, &mut problems);
    if !problems.is_empty() {
        return Err(Refused { problems });
    }
    let mut graph = cx.graph;
    if left_out {
        // What only those outputs read is no input of what is left.
        graph = graph.prune_inputs();
        let reads =
            |name: &String| graph.ids().any(|id| matches!(graph.op(id), Op::Input(input) if input.name == *name));
        inputs.retain(|name, _| reads(name));
    }
    Ok(Proved { graph, inputs, outputs, nothing, ids: cx.ids, notes: cx.notes })
}

/// That there is no rule for a node's op: for graphs within the graph, which are written out where that can be, why.
fn without_rule(cx: &Import<'_>, node: &OnnxNode) -> Refusal {
    let refusal = |why: &str, help: &str| Refusal::Unsupported {
        node: node.name.clone(),
        op: node.op_type.clone(),
        why: why.to_owned(),
        seen: Seen::default(),
        help: help.to_owned(),
    };
    match node.op_type.as_str() {
        "Loop" | "Scan" => refusal(
            "how many turns it takes depends on the data, on the number of records say",
            "write this part on whole batches, nn.EmbeddingBag say as nn.Embedding and a sum or a mean over the ids",
        ),
        "If" => refusal(
            "which branch it takes depends on the data, or is worked out from it",
            "write this part without a condition, or on both branches with torch.where",
        ),
        _ => cx.no_rule(node),
    }
}

/// The names of the nodes whose values the `wanted` outputs depend on; all outputs, if none is named.
fn needed<'s>(source: &'s Source, wanted: &[String]) -> BTreeSet<&'s str> {
    let outputs = source.outputs.iter().map(|output| output.name.as_str());
    let mut values: BTreeSet<&str> =
        outputs.filter(|name| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name)).collect();
    let mut needed = BTreeSet::new();
    for node in source.nodes.iter().rev() {
        if node.outputs.iter().any(|o| !o.is_empty() && values.contains(o.as_str())) {
            needed.insert(node.name.as_str());
            // Of their operands, the dims alone are read, which are inferred.
            if !matches!(node.op_type.as_str(), "Shape" | "Size") {
                values.extend(node.inputs.iter().map(String::as_str));
            }
        }
    }
    needed
}
