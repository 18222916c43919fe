//! The graph for inference: dropout is left out, and random numbers are their median.

use crate::graph::TypeError;
use crate::ops::leaf::Fill;
use crate::ops::{Graph, Op};

/// Replaces every dropout by its operand, and random numbers between 0 and 1 by a half.
pub fn inference(graph: &Graph) -> Result<Graph, TypeError> {
    let (out, _) = graph.rewrite(|out, id, operands| match graph.op(id) {
        Op::Dropout(_) => Ok(operands[0]),
        Op::Uniform(_) => {
            let fill = Fill { ty: graph.ty(id).clone(), value: 0.5 };
            out.add(fill, &[], graph.node(id).origin.clone())
        }
        op => out.add(op.clone(), &operands, graph.node(id).origin.clone()),
    })?;
    Ok(out.prune())
}
