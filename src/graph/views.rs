//! Which values are of the rows of a batch, and which of records that have several rows each.

use super::{Graph, NodeId, Operator};

/// Tells of each node, by index, whether its value is of records whose rows have been
/// [joined](Operator::rows_joined); the others are of rows, or shared.
pub fn of_records<O: Operator>(graph: &Graph<O>) -> Vec<bool> {
    let mut out: Vec<bool> = Vec::with_capacity(graph.len());
    for id in graph.ids() {
        let joined = graph.op(id).rows_joined().is_some() || graph.operands(id).iter().any(|o| out[o.index()]);
        out.push(graph.ty(id).batched && joined);
    }
    out
}

/// Why a node cannot take its operands, some of which are of rows and some of records, if that is so.
pub(super) fn problem<O: Operator>(graph: &Graph<O>, id: NodeId, of_records: &[bool]) -> Option<&'static str> {
    let operands = graph.operands(id);
    let mut batched = operands.iter().filter(|&&o| graph.ty(o).batched).map(|o| of_records[o.index()]);
    match graph.op(id).rows_joined() {
        Some(_) => batched.any(|of_records| of_records).then_some("joins the rows of a record a second time"),
        None => {
            let first = batched.next()?;
            batched.any(|other| other != first).then_some("takes values of rows with values of records")
        }
    }
}
