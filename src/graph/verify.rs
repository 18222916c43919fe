//! The verifier, run between passes. Invariants of a graph:
//!
//! - operands of a node are numbered 0, 1, 2, … without a gap, and precede it (so the order of ids is topological);
//! - the type of a node is what its op infers from its operands;
//! - outputs name nodes of the graph;
//! - no op takes values of rows together with values of records of several rows, see [`of_records`];
//! - records meet in a sum over the batch and nowhere else: no op takes a batched operand and yields a
//!   shared value but one that [says so](Operator::crosses_batch).
//!
//! The last one is what proofs about the rewritten gradients start from.

use super::views::{of_records, problem};
use super::{Graph, NodeId, Operator};

/// An invariant that a graph breaks.
#[derive(Debug, Clone, thiserror::Error)]
#[error("after pass {pass}: {what}")]
pub struct Violation {
    /// Name of the pass that ran last.
    pub pass: String,
    /// The line of the node and what is wrong with it.
    pub what: String,
}

/// Checks all invariants and reports every violation.
pub fn verify<O: Operator>(graph: &Graph<O>, pass: &str) -> Result<(), Vec<Violation>> {
    let names = super::print::names(graph);
    let mut found = Vec::new();
    let mut report = |id: NodeId, what: String| {
        let text = format!("{} = {}: {what}", names[id.index()], graph.op(id).mnemonic());
        found.push(Violation { pass: pass.into(), what: text });
    };
    let joined = of_records(graph);
    for id in graph.ids() {
        let operands = graph.operands(id);
        let node = graph.node(id);
        if operands.iter().any(|o| o.index() >= id.index()) {
            report(id, "an operand does not precede its user".into());
            continue;
        }
        let types: Vec<_> = operands.iter().map(|&o| graph.ty(o)).collect();
        match node.op.infer(&types) {
            Ok(ty) if ty == node.ty => {}
            Ok(ty) => report(id, format!("has type {}, its operands give {ty}", node.ty)),
            Err(why) => report(id, why),
        }
        if let Some(why) = problem(graph, id, &joined) {
            report(id, why.into());
        }
        let meets = types.iter().any(|t| t.batched) && !node.ty.batched;
        if meets && !node.op.crosses_batch() {
            report(id, "reduces over the batch but is not a sum over it".into());
        }
    }
    for (label, id) in &graph.outputs {
        if id.index() >= graph.len() {
            found.push(Violation { pass: pass.into(), what: format!("output {label} is not a node of the graph") });
        }
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}
