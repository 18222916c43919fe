//! The textual form of a graph, which `--emit` writes and the snapshots hold.
//!
//! One line a node: the value's name, the mnemonic with its operands and attributes, the type, and the ONNX node that
//! it came from.

use std::collections::BTreeMap;
use std::fmt;

use super::{Graph, NodeId, Operator};

/// Names of all values: the given one, made unique, or a number.
pub(crate) fn names<O: Operator>(graph: &Graph<O>) -> Vec<String> {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let mut number = 0;
    graph
        .ids()
        .map(|id| {
            let given = &graph.node(id).origin.value;
            if given.is_empty() {
                number += 1;
                return format!("%{number}");
            }
            let uses = taken.entry(given.clone()).or_default();
            *uses += 1;
            if *uses == 1 { format!("%{given}") } else { format!("%{given}.{uses}") }
        })
        .collect()
}

pub(super) fn print<O: Operator>(graph: &Graph<O>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let names = names(graph);
    let name = |id: &NodeId| names[id.index()].clone();
    let rows: Vec<[String; 3]> = graph
        .ids()
        .map(|id| {
            let node = graph.node(id);
            let operands: Vec<String> = graph.operands(id).iter().map(name).collect();
            [name(&id), node.op.text(&operands), node.ty.to_string()]
        })
        .collect();
    let width =
        |k: usize, most: usize| rows.iter().map(|r| r[k].chars().count()).filter(|&w| w <= most).max().unwrap_or(0);
    let (a, b, c) = (width(0, 24), width(1, 72), width(2, 28));
    for (id, [value, text, ty]) in graph.ids().zip(&rows) {
        let onnx = &graph.node(id).origin.onnx;
        let line = if onnx.is_empty() {
            format!("{value:<a$} = {text:<b$}  {ty}")
        } else {
            format!("{value:<a$} = {text:<b$}  {ty:<c$}  ; {onnx}")
        };
        writeln!(f, "{}", line.trim_end())?;
    }
    for (label, id) in &graph.outputs {
        writeln!(f, "return {label} = {}", name(id))?;
    }
    Ok(())
}
