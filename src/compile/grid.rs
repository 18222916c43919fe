//! The grid of a program's private sums: how many addends of a record are rounded on their way into each parameter's sum.

use super::CompileError;
use crate::graph::NodeId;
use crate::ops::sum_batch::Terms;
use crate::ops::{Graph, Op};
use crate::passes::privatize::SUM;
use crate::privacy::clipping::ClipGroup;
use crate::privacy::grid::Grid;

/// The grid of the clip groups of a private graph.
///
/// # Errors
/// When the parameters have so many elements that sums might overflow.
pub(super) fn grid(graph: &Graph, groups: &[ClipGroup]) -> Result<Grid, CompileError> {
    let of_parameter = |name: &String| {
        let sum = *graph.outputs.get(&format!("{SUM}{name}"))?;
        Some((graph.ty(sum).len(), addends(graph, sum)))
    };
    let of_group = |group: &ClipGroup| group.parameters.iter().filter_map(of_parameter).collect();
    let grid = Grid::new(&groups.iter().map(of_group).collect::<Vec<_>>());
    if grid.fits() { Ok(grid) } else { Err(CompileError::Grid) }
}

/// How many addends of a record are rounded on their way into an element of a sum: one for each use of the parameter, or, of a
/// table whose ids all records share, one for each position.
fn addends(graph: &Graph, sum: NodeId) -> usize {
    let operands = graph.operands(sum);
    match graph.op(sum) {
        Op::SumBatch(sum) => match sum.terms {
            Terms::Rows(_) if !graph.ty(operands[0]).batched => graph.ty(operands[0]).len(),
            _ => 1,
        },
        _ => operands.iter().map(|&operand| addends(graph, operand)).sum(),
    }
}
