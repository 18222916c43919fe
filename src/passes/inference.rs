//! The graph for inference: dropout is left out.

use crate::graph::TypeError;
use crate::ops::Graph;
use crate::ops::Op;

/// Replaces every dropout by its operand.
pub fn inference(graph: &Graph) -> Result<Graph, TypeError> {
    let (out, _) = graph.rewrite(|out, id, operands| match graph.op(id) {
        Op::Dropout(_) => Ok(operands[0]),
        op => out.add(op.clone(), &operands, graph.node(id).origin.clone()),
    })?;
    Ok(out.prune())
}
