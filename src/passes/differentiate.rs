//! Reverse-mode differentiation of the loss with respect to every trained parameter.
//!
//! One sweep back over the graph: each node's VJP rule turns the cotangent of its value into those of its operands, and
//! contributions to one value are added. Where a shared value meets batched data, the rule emits a weight-gradient node,
//! so the gradient of a parameter comes out summed over the batch.

use std::collections::BTreeMap;

use crate::graph::{NodeId, Origin, Type};
use crate::lower::host_outputs::LOSS;
use crate::lower::scalar::Func;
use crate::ops::Graph;
use crate::ops::elementwise::Elementwise;
use crate::ops::{Backward, Op, VjpError, leaf};

/// The prefix of the outputs that hold gradients: `grad/PARAMETER`.
pub const GRADIENT: &str = "grad/";

/// Extends a graph whose output [`LOSS`] is `f32[N]` with the gradient of the batch's summed loss, one output
/// `grad/PARAMETER` per trained parameter that the loss depends on. Reports every op without a derivative.
pub fn differentiate(forward: &Graph) -> Result<Graph, Vec<VjpError>> {
    let mut graph = forward.clone();
    let Some(&loss) = forward.outputs.get(LOSS) else { return Ok(graph) };
    let parameters: BTreeMap<String, NodeId> = forward
        .ids()
        .filter_map(|id| match forward.op(id) {
            Op::Parameter(p) if p.trainable => Some((p.name.clone(), id)),
            _ => None,
        })
        .collect();
    let wanted = forward.dependents(parameters.values().copied());
    let reaches = forward.ancestors([loss]);
    let mut cotangents: Vec<Vec<NodeId>> = vec![vec![]; forward.len()];
    let seed = leaf::Fill { ty: Type::batched([]), value: 1.0 };
    let mut errors = Vec::new();
    match graph.add(seed, &[], Origin::value("d.loss")) {
        Ok(seed) => cotangents[loss.index()].push(seed),
        Err(e) => errors.push(e.into()),
    }
    for id in forward.ids().rev().filter(|id| wanted[id.index()] && reaches[id.index()]) {
        let parts = std::mem::take(&mut cotangents[id.index()]);
        let Some(cotangent) = sum(&mut graph, &parts, &forward.node(id).origin, &mut errors) else { continue };
        if let Op::Parameter(p) = forward.op(id) {
            graph.name(cotangent, format!("g.{}", p.name));
            graph.outputs.insert(format!("{GRADIENT}{}", p.name), cotangent);
            continue;
        }
        let value = &forward.node(id).origin.value;
        if graph.node(cotangent).origin.value.is_empty() && !value.is_empty() {
            graph.name(cotangent, format!("d{value}"));
        }
        let operands = forward.operands(id);
        let needs = operands.iter().map(|o| wanted[o.index()]).collect();
        match forward.op(id).rules().vjp(&mut Backward::new(&mut graph, id, cotangent, needs)) {
            Ok(found) => {
                for (operand, cotangent) in operands.iter().zip(found) {
                    cotangents[operand.index()].extend(cotangent);
                }
            }
            Err(e) => errors.push(e),
        }
    }
    if errors.is_empty() { Ok(graph) } else { Err(errors) }
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
