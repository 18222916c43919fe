//! Invariants of the graphs of each stage, checked after the passes that make them, on top of those that every graph has
//! (see [`crate::graph::verify`]).
//!
//! Forward graph ([`forward`]):
//!
//! - it has no sum over the batch;
//! - its loss, if there is one, is `f32[N]`.
//!
//! Gradients ([`gradients`]):
//!
//! - every output `grad/P` is shared and has the type of the trained parameter `P`;
//! - sums over the batch are not weighted.
//!
//! Private gradients ([`private`]): the proof of the DP rewrite, see there.
//!
//! Non-private sums ([`plain`]):
//!
//! - every sum over the batch is weighted by the weights of the rows.

mod norms;
mod private;
#[cfg(test)]
mod tests;

use crate::graph::{NodeId, Type, Violation, names, verify};
use crate::lower::{host_inputs, host_outputs};
use crate::ops::Graph;
use crate::ops::Op;
use crate::passes::differentiate::GRADIENT;
#[cfg(test)]
use crate::passes::fuse_sums::as_add;

pub use private::private;

/// What a check has found in a graph after a pass.
struct Report<'a> {
    graph: &'a Graph,
    pass: &'a str,
    names: Vec<String>,
    found: Vec<Violation>,
}

impl<'a> Report<'a> {
    /// Starts with what is wrong with the graph as such; nothing else can be told about one that is.
    fn new(graph: &'a Graph, pass: &'a str) -> Result<Report<'a>, Vec<Violation>> {
        verify(graph, pass)?;
        Ok(Report { graph, pass, names: names(graph), found: Vec::new() })
    }

    fn at(&mut self, id: NodeId, what: &str) {
        let what = format!("{} = {}: {what}", self.names[id.index()], self.graph.op(id).rules().mnemonic());
        self.found.push(Violation { pass: self.pass.into(), what });
    }

    fn output(&mut self, name: &str, what: &str) {
        self.found.push(Violation { pass: self.pass.into(), what: format!("output {name}: {what}") });
    }

    fn finish(self) -> Result<(), Vec<Violation>> {
        if self.found.is_empty() { Ok(()) } else { Err(self.found) }
    }
}

/// Checks the forward graph.
///
/// # Errors
/// Every violation of the invariants above.
pub fn forward(graph: &Graph, pass: &str) -> Result<(), Vec<Violation>> {
    let mut report = Report::new(graph, pass)?;
    for id in graph.ids().filter(|&id| graph.op(id).rules().crosses_batch()) {
        report.at(id, "a forward pass sums over no batch");
    }
    if let Some(&loss) = graph.outputs.get(host_outputs::LOSS)
        && *graph.ty(loss) != Type::batched([])
    {
        report.at(loss, "the loss is not f32[N]");
    }
    report.finish()
}

/// Checks a differentiated graph.
///
/// # Errors
/// Every violation of the invariants above.
pub fn gradients(graph: &Graph, pass: &str) -> Result<(), Vec<Violation>> {
    let mut report = Report::new(graph, pass)?;
    for (output, &id) in &graph.outputs {
        let Some(name) = output.strip_prefix(GRADIENT) else { continue };
        let own = |id: &NodeId| matches!(graph.op(*id), Op::Parameter(p) if p.name == name && p.trainable);
        match graph.ids().find(own) {
            Some(parameter) if graph.ty(parameter) == graph.ty(id) => {}
            Some(_) => report.output(output, "it has not the type of its parameter"),
            None => report.output(output, "it is of no trained parameter"),
        }
    }
    for id in graph.ids() {
        if matches!(graph.op(id), Op::SumBatch(sum) if sum.weighted) {
            report.at(id, "a gradient is weighted before it is made private");
        }
    }
    report.finish()
}

/// Checks the graph of the non-private phase.
///
/// # Errors
/// Every violation of the invariants above.
pub fn plain(graph: &Graph, pass: &str) -> Result<(), Vec<Violation>> {
    let mut report = Report::new(graph, pass)?;
    for id in graph.ids().filter(|&id| graph.op(id).rules().crosses_batch()) {
        let weight = graph.operands(id).last().copied().filter(|&weight| is_row_weight(graph, weight));
        if !matches!(graph.op(id), Op::SumBatch(sum) if sum.weighted) || weight.is_none() {
            report.at(id, "rows that hold no record are summed too");
        }
    }
    report.finish()
}

/// Whether a value is the weights of the rows, or that of the first row of each record.
fn is_row_weight(graph: &Graph, id: NodeId) -> bool {
    match graph.op(id) {
        Op::Input(input) => input.name == host_inputs::WEIGHT,
        Op::Reshape(_) | Op::Slice(_) | Op::Views(_) => is_row_weight(graph, graph.operands(id)[0]),
        _ => false,
    }
}
