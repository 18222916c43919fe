//! The compiler's graph: a `petgraph` DAG whose nodes are ops with a type and an origin, and whose edges are numbered
//! operands. A node yields one value.
//!
//! Nodes are only ever appended, and operands must exist before their user, so ascending [`NodeId`] is a topological
//! order. Passes build a new graph or append to a copy; [`Graph::prune`] drops what no output needs.

mod print;
mod types;
mod verify;
mod views;

use std::collections::BTreeMap;
use std::fmt;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

pub(crate) use print::names;
pub use types::{DType, MAX_LEN, Type, broadcast, product, strides};
pub use verify::{Violation, verify};
pub use views::of_records;

/// A node of a [`Graph`], and the value it yields.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NodeId(NodeIndex);

impl NodeId {
    /// The position in the topological order.
    pub fn index(self) -> usize {
        self.0.index()
    }
}

/// Where a node comes from: carried into every error, the textual form and every shader label.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Origin {
    /// Name of the ONNX node, or empty for a node that the compiler made.
    pub onnx: String,
    /// A short name for the value, such as `fc1.weight` or `grad/fc1.weight`; may be empty.
    pub value: String,
}

impl Origin {
    /// The origin of an ONNX node.
    pub fn onnx(name: &str) -> Origin {
        Origin { onnx: name.into(), value: String::new() }
    }

    /// The origin of a named value.
    pub fn value(name: impl Into<String>) -> Origin {
        Origin { onnx: String::new(), value: name.into() }
    }

    /// The same origin with a name for the value.
    pub fn named(&self, name: impl Into<String>) -> Origin {
        Origin { onnx: self.onnx.clone(), value: name.into() }
    }
}

/// What a graph needs to know of its ops.
pub trait Operator: Clone + fmt::Debug {
    /// The name in the textual form.
    fn mnemonic(&self) -> String;

    /// The right-hand side of a node's line in the textual form.
    fn text(&self, operands: &[String]) -> String;

    /// The type of the result, or why these operands cannot be taken.
    fn infer(&self, operands: &[&Type]) -> Result<Type, String>;

    /// Whether it takes batched values and yields a shared one, so that records meet in it.
    fn crosses_batch(&self) -> bool;

    /// How many rows of the batch its value takes for one record, where it takes several.
    fn rows_joined(&self) -> Option<usize>;

    /// Whether the host fills its value.
    fn is_input(&self) -> bool;
}

/// An op, the type of the value it yields, and where it comes from.
#[derive(Clone, Debug)]
pub struct Node<O> {
    /// What is computed.
    pub op: O,
    /// The type of the value.
    pub ty: Type,
    /// Where it comes from.
    pub origin: Origin,
}

/// Operands that an op cannot take.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{op} cannot take ({}): {why}", .operands.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(", "))]
pub struct TypeError {
    /// Mnemonic of the op.
    pub op: String,
    /// The operand types.
    pub operands: Vec<Type>,
    /// What is wrong with them.
    pub why: String,
}

/// A directed acyclic graph of ops.
#[derive(Clone, Debug)]
pub struct Graph<O> {
    dag: DiGraph<Node<O>, u32>,
    /// The named results, in order of name.
    pub outputs: BTreeMap<String, NodeId>,
}

impl<O> Default for Graph<O> {
    fn default() -> Self {
        Graph { dag: DiGraph::default(), outputs: BTreeMap::new() }
    }
}

impl<O: Operator> Graph<O> {
    /// Appends a node, working out its type from its operands.
    pub fn add(&mut self, op: impl Into<O>, operands: &[NodeId], origin: Origin) -> Result<NodeId, TypeError> {
        let op = op.into();
        let types: Vec<&Type> = operands.iter().map(|&o| self.ty(o)).collect();
        let small = |ty: Type| match ty.len() <= MAX_LEN {
            true => Ok(ty),
            false => Err(format!("{ty} has more than {MAX_LEN} elements")),
        };
        let ty = op.infer(&types).and_then(small).map_err(|why| TypeError {
            op: op.mnemonic(),
            operands: types.iter().map(|&t| t.clone()).collect(),
            why,
        })?;
        let id = self.dag.add_node(Node { op, ty, origin });
        for (k, operand) in operands.iter().enumerate() {
            self.dag.add_edge(operand.0, id, k as u32);
        }
        Ok(NodeId(id))
    }

    /// The node behind an id.
    pub fn node(&self, id: NodeId) -> &Node<O> {
        &self.dag[id.0]
    }

    /// The op of a node.
    pub fn op(&self, id: NodeId) -> &O {
        &self.dag[id.0].op
    }

    /// The type of a value.
    pub fn ty(&self, id: NodeId) -> &Type {
        &self.dag[id.0].ty
    }

    /// Names a value, for the textual form.
    pub fn name(&mut self, id: NodeId, name: impl Into<String>) {
        self.dag[id.0].origin.value = name.into();
    }

    /// Names every value that has no name `y1`, `y2`, …, so that graphs made from this one call it the same.
    pub fn name_values(&mut self) {
        let nameless = self.dag.node_weights_mut().filter(|node| node.origin.value.is_empty());
        for (k, node) in nameless.enumerate() {
            node.origin.value = format!("y{}", k + 1);
        }
    }

    /// The operands of a node, in order.
    pub fn operands(&self, id: NodeId) -> Vec<NodeId> {
        let mut edges: Vec<(u32, NodeId)> =
            self.dag.edges_directed(id.0, Direction::Incoming).map(|e| (*e.weight(), NodeId(e.source()))).collect();
        edges.sort_unstable_by_key(|(k, _)| *k);
        edges.into_iter().map(|(_, n)| n).collect()
    }

    /// The nodes that use a value, in topological order, each once.
    pub fn users(&self, id: NodeId) -> Vec<NodeId> {
        let mut users: Vec<NodeId> = self.dag.neighbors_directed(id.0, Direction::Outgoing).map(NodeId).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// All nodes, in topological order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<O> {
        (0..self.dag.node_count()).map(|i| NodeId(NodeIndex::new(i)))
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.dag.node_count()
    }

    /// Whether the graph has no nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ids of all nodes from which `id` can be reached, and `id` itself, as a mask by index.
    pub fn ancestors(&self, roots: impl IntoIterator<Item = NodeId>) -> Vec<bool> {
        let mut seen = vec![false; self.len()];
        for root in roots {
            seen[root.index()] = true;
        }
        for id in self.ids().rev() {
            if seen[id.index()] {
                for operand in self.operands(id) {
                    seen[operand.index()] = true;
                }
            }
        }
        seen
    }

    /// The nodes whose value depends on one of `roots`, as a mask by index (the roots included).
    pub fn dependents(&self, roots: impl IntoIterator<Item = NodeId>) -> Vec<bool> {
        let mut seen = vec![false; self.len()];
        for root in roots {
            seen[root.index()] = true;
        }
        for id in self.ids() {
            if !seen[id.index()] {
                seen[id.index()] = self.operands(id).iter().any(|o| seen[o.index()]);
            }
        }
        seen
    }

    /// Copies the graph node by node. `f` sees the new graph, the old id and the new operands, and returns the id in
    /// the new graph that stands for the old node; outputs follow.
    pub fn rewrite<E>(
        &self,
        mut f: impl FnMut(&mut Graph<O>, NodeId, Vec<NodeId>) -> Result<NodeId, E>,
    ) -> Result<(Graph<O>, Vec<NodeId>), E> {
        let mut out = Graph::default();
        let mut map: Vec<NodeId> = Vec::with_capacity(self.len());
        for id in self.ids() {
            let operands = self.operands(id).iter().map(|o| map[o.index()]).collect();
            let new = f(&mut out, id, operands)?;
            map.push(new);
        }
        out.outputs = self.outputs.iter().map(|(k, v)| (k.clone(), map[v.index()])).collect();
        Ok((out, map))
    }

    /// Appends a copy of `id` of another graph with new operands; the copied type is kept as it was.
    pub fn copy(&mut self, from: &Graph<O>, id: NodeId, operands: &[NodeId]) -> Result<NodeId, TypeError> {
        let node = from.node(id);
        self.add(node.op.clone(), operands, node.origin.clone())
    }

    /// Drops every node that no output needs; inputs stay, so that the interface of a program never changes.
    pub fn prune(&self) -> Graph<O> {
        let inputs = self.ids().filter(|&id| self.op(id).is_input());
        self.restricted(self.ancestors(self.outputs.values().copied().chain(inputs)))
    }

    /// Drops every node, inputs too, that no output needs.
    pub fn prune_inputs(&self) -> Graph<O> {
        self.restricted(self.ancestors(self.outputs.values().copied()))
    }

    /// The nodes that `live`, a mask by index that is closed under operands, has.
    fn restricted(&self, live: Vec<bool>) -> Graph<O> {
        let mut out = Graph::default();
        let mut map: Vec<Option<NodeId>> = vec![None; self.len()];
        for id in self.ids().filter(|id| live[id.index()]) {
            let new = out.dag.add_node(self.node(id).clone());
            for (k, operand) in self.operands(id).iter().enumerate() {
                if let Some(o) = map[operand.index()] {
                    out.dag.add_edge(o.0, new, k as u32);
                }
            }
            map[id.index()] = Some(NodeId(new));
        }
        out.outputs = self.outputs.iter().filter_map(|(k, v)| map[v.index()].map(|v| (k.clone(), v))).collect();
        out
    }
}

impl<O: Operator> fmt::Display for Graph<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print::print(self, f)
    }
}
