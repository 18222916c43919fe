//! The sweep back over a graph that derivatives are made by: each node's VJP rule turns the cotangent of its value into those
//! of its operands, and contributions to one value are added.

use std::collections::BTreeMap;

use super::elementwise::Elementwise;
use super::{Backward, Graph, VjpError};
use crate::graph::{NodeId, Origin};
use crate::lower::scalar::Func;

/// Appends the cotangents of the values `of`, where that of `value` is `seed`; a value that does not reach it has none.
///
/// # Errors
///
/// Every op on the way without a derivative.
pub fn pull_back(
    graph: &mut Graph,
    value: NodeId,
    seed: NodeId,
    of: &[NodeId],
) -> Result<BTreeMap<NodeId, NodeId>, Vec<VjpError>> {
    let forward: Vec<NodeId> = graph.ids().take_while(|id| *id <= value).collect();
    let wanted = graph.dependents(of.iter().copied());
    let reaches = graph.ancestors([value]);
    let mut cotangents: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::from([(value, vec![seed])]);
    let (mut found, mut errors) = (BTreeMap::new(), Vec::new());
    for id in forward.into_iter().rev().filter(|id| wanted[id.index()] && reaches[id.index()]) {
        let parts = cotangents.remove(&id).unwrap_or_default();
        let origin = graph.node(id).origin.clone();
        let Some(cotangent) = sum(graph, &parts, &origin, &mut errors) else { continue };
        if of.contains(&id) {
            found.insert(id, cotangent);
        } else if graph.node(cotangent).origin.value.is_empty() && !origin.value.is_empty() {
            graph.name(cotangent, format!("d{}", origin.value));
        }
        let operands = graph.operands(id);
        let needs: Vec<bool> = operands.iter().map(|o| wanted[o.index()]).collect();
        if !needs.contains(&true) {
            continue;
        }
        let op = graph.op(id).clone();
        match op.rules().vjp(&mut Backward::new(graph, id, cotangent, needs)) {
            Ok(parts) => {
                for (operand, cotangent) in operands.iter().zip(parts) {
                    cotangents.entry(*operand).or_default().extend(cotangent);
                }
            }
            Err(e) => errors.push(e),
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

/// The sum of the contributions to a value's cotangent.
fn sum(graph: &mut Graph, parts: &[NodeId], origin: &Origin, errors: &mut Vec<VjpError>) -> Option<NodeId> {
    let (&first, rest) = parts.split_first()?;
    let mut total = first;
    for &part in rest {
        let origin = Origin { onnx: origin.onnx.clone(), value: String::new() };
        match graph.add(Elementwise::call(Func::Add), &[total, part], origin) {
            Ok(id) => total = id,
            Err(e) => errors.push(e.into()),
        }
    }
    Some(total)
}
