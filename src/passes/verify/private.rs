//! The proof of the DP rewrite.

use std::collections::BTreeMap;

use super::norms::{self, Gradient};
use super::{Report, is_row_weight};
use crate::graph::{NodeId, Violation, of_records};
use crate::lower::host_inputs;
use crate::lower::scalar::Func;
use crate::ops::Graph;
use crate::ops::Op;
use crate::passes::fuse_sums::{as_add, is_permutation};
use crate::passes::privatize::SUM;

/// Checks that no record moves a sum by more than its clip factor lets it. Invariants:
///
/// - between a sum over the batch and an output `sum/P` are additions of such sums and permutations, and nothing else;
/// - before a sum over the batch there is no other one, so that every path from a batched value to an output passes exactly
///   one;
/// - every sum over the batch is weighted by a [`ClipFactor`](crate::ops::clip::ClipFactor), and those of one parameter by
///   the same;
/// - the square that a clip factor bounds is the sum of the square norms of the gradients that it weighs, each once, and
///   of nothing else: of a gradient of several uses the norm of every use and the cross term of every pair;
/// - a clip factor takes the bounds on rounding unless all of its norms are of stored gradients or of single products;
/// - a clip factor takes the weights of the rows, at most set to zero where a number is not finite, and the bounds of
///   the clip groups; no two factors are of one group;
/// - where records have several rows, every sum over the batch is one over records, whose rows have been
///   [joined](crate::ops::views::Views);
/// - no other output depends on a sum over the batch.
///
/// # Errors
/// Every violation.
pub fn private(graph: &Graph, pass: &str) -> Result<(), Vec<Violation>> {
    let mut report = Report::new(graph, pass)?;
    let sums: Vec<NodeId> = graph.ids().filter(|&id| graph.op(id).rules().crosses_batch()).collect();
    for &sum in &sums {
        let before = graph.ancestors(graph.operands(sum));
        if sums.iter().any(|&other| before[other.index()]) {
            report.at(sum, "records have met before");
        }
    }
    let of_records = of_records(graph);
    if of_records.contains(&true) {
        let of_rows = |id: &NodeId| graph.ty(*id).batched && !of_records[id.index()];
        for &sum in sums.iter().filter(|&&sum| graph.operands(sum).iter().any(of_rows)) {
            report.at(sum, "it takes each row for a record of its own");
        }
    }
    let met = graph.dependents(sums);
    let mut weighed: BTreeMap<NodeId, Vec<(&str, Gradient)>> = BTreeMap::new();
    for (output, &id) in &graph.outputs {
        let Some(parameter) = output.strip_prefix(SUM) else {
            if met[id.index()] {
                report.output(output, "it depends on a sum over the batch");
            }
            continue;
        };
        let mut gradient = Gradient::default();
        let mut factors = Vec::new();
        walk(&mut report, id, false, &mut gradient, &mut factors);
        factors.dedup();
        match factors[..] {
            [factor] => weighed.entry(factor).or_default().push((parameter, gradient)),
            _ => report.output(output, "it is not weighed by one clip factor"),
        }
    }
    let mut groups = BTreeMap::new();
    for (&factor, gradients) in &weighed {
        clip_factor(&mut report, factor, gradients);
        if let Op::ClipFactor(op) = graph.op(factor)
            && groups.insert(op.group, factor).is_some()
        {
            report.at(factor, "another factor is of the same clip group");
        }
    }
    report.finish()
}

/// Collects what the sum `id` of a parameter is made of, and the clip factors of that.
fn walk(report: &mut Report<'_>, id: NodeId, transposed: bool, gradient: &mut Gradient, factors: &mut Vec<NodeId>) {
    let (graph, operands) = (report.graph, report.graph.operands(id));
    match graph.op(id) {
        Op::SumBatch(sum) => {
            let weight = operands.last().filter(|_| sum.weighted);
            let factor = weight.filter(|&&weight| matches!(graph.op(weight), Op::ClipFactor(_)));
            match factor {
                Some(&factor) => factors.push(factor),
                None => report.at(id, "records are summed without a clip factor"),
            }
            gradient.add(&sum.terms, &operands, transposed);
        }
        op if is_permutation(op) => {
            let matrix = matches!(op, Op::Transpose(t) if t.perm == [1, 0]);
            gradient.moved |= !matrix && !matches!(op, Op::Reshape(_));
            walk(report, operands[0], transposed != matrix, gradient, factors);
        }
        op if as_add(op) && operands.iter().all(|&o| graph.ty(o) == graph.ty(id)) => {
            operands.iter().for_each(|&o| walk(report, o, transposed, gradient, factors));
        }
        _ => report.at(id, "a sum of clipped gradients is changed, or is none"),
    }
}

/// Checks the factor of `gradients`.
fn clip_factor(report: &mut Report<'_>, factor: NodeId, gradients: &[(&str, Gradient)]) {
    let graph = report.graph;
    let operands = graph.operands(factor);
    let [square, rounding @ .., weight, bounds] = &operands[..] else {
        return report.at(factor, "it lacks operands");
    };
    let mut open = norms::parts(graph, *square);
    for (parameter, gradient) in gradients {
        if let Err(why) = norms::take(graph, gradient, &mut open) {
            report.at(factor, &format!("the gradient of `{parameter}` is summed, and {why}"));
        }
    }
    for norm in &open {
        report.at(factor, &format!("{} is the norm of nothing that it weighs", report.names[norm.index()]));
    }
    let rounded = |&norm: &NodeId| !matches!(graph.op(norm), Op::SquareNorm(_) | Op::OuterNorm(_) | Op::Fill(_));
    if rounding.is_empty() && norms::parts(graph, *square).iter().any(rounded) {
        report.at(factor, "what rounding hides of its norms is left out");
    }
    if !is_row_weight(graph, unguarded(graph, *weight)) {
        report.at(factor, "it does not take the weights of the rows");
    }
    if !matches!(graph.op(*bounds), Op::Input(input) if input.name == host_inputs::CLIP_BOUNDS) {
        report.at(factor, "it does not take the bounds of the clip groups");
    }
}

/// The weights before they are set to zero where a number is not finite.
fn unguarded(graph: &Graph, mut id: NodeId) -> NodeId {
    while let Op::Elementwise(e) = graph.op(id)
        && e.expr.as_call() == Some(Func::Guard)
    {
        id = graph.operands(id)[0];
    }
    id
}
