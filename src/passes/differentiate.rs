//! Reverse-mode differentiation of the loss with respect to every trained parameter.
//!
//! One [sweep back](pull_back) over the graph. Where a shared value meets batched data, the rule of an op emits a
//! weight-gradient node, so the gradient of a parameter comes out summed over the batch.

use std::collections::BTreeMap;

use crate::graph::{NodeId, Origin, Type};
use crate::lower::host_outputs::LOSS;
use crate::ops::reverse::pull_back;
use crate::ops::{Graph, Op, VjpError, leaf};

/// The prefix of the outputs that hold gradients: `grad/PARAMETER`.
pub const GRADIENT: &str = "grad/";

/// The name of the cotangent of the losses, which all others come from.
pub const SEED: &str = "d.loss";

/// Extends a graph whose output [`LOSS`] is `f32[N]` with the gradient of the batch's summed loss, one output
/// `grad/PARAMETER` per trained parameter that the loss depends on. Reports every op without a derivative.
pub fn differentiate(forward: &Graph) -> Result<Graph, Vec<VjpError>> {
    differentiate_mean(forward, 1)
}

/// [`differentiate`], where each record has `views` rows and its loss is their mean.
pub fn differentiate_mean(forward: &Graph, views: usize) -> Result<Graph, Vec<VjpError>> {
    let mut graph = forward.clone();
    let Some(&loss) = forward.outputs.get(LOSS) else { return Ok(graph) };
    let parameters: BTreeMap<String, NodeId> = forward
        .ids()
        .filter_map(|id| match forward.op(id) {
            Op::Parameter(p) if p.trainable => Some((p.name.clone(), id)),
            _ => None,
        })
        .collect();
    let seed = leaf::Fill { ty: Type::batched([]), value: 1.0 / views as f32 };
    let seed = graph.add(seed, &[], Origin::value(SEED)).map_err(|e| vec![e.into()])?;
    let of: Vec<NodeId> = parameters.values().copied().collect();
    let found = pull_back(&mut graph, loss, seed, &of)?;
    for (name, parameter) in parameters {
        let Some(&gradient) = found.get(&parameter) else { continue };
        graph.name(gradient, format!("g.{name}"));
        graph.outputs.insert(format!("{GRADIENT}{name}"), gradient);
    }
    Ok(graph)
}
