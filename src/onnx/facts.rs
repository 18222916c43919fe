//! What is known of every value before the batch size is: element type, shape, and the values of small constants.
//!
//! The graph is inferred with a batch of 13 samples and again with one of 17. A size that is the same both times is
//! fixed, one that is the same multiple of both batches is a multiple of `N`, and anything else stays unknown, as does
//! whatever follows from it. Node by node, tract infers what it knows the operator of, and [`rules`] the rest; a node
//! that neither can infer leaves its outputs unknown and a note, and the others are inferred all the same.

mod bridge;
mod folded;
mod pinned;
mod rules;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::node::OnnxNode;
use super::source::{Dim, ValueInfo};
use super::tensor::{Elem, Tensor, TensorData};
use pinned::{Known, Pinned};

/// An integer that may be a multiple of the batch size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Int {
    /// A fixed number.
    Known(i64),
    /// `k·N`.
    Batch(i64),
}

impl Int {
    /// The axis of this size; `None` for a negative number.
    pub fn to_dim(self) -> Option<Dim> {
        match self {
            Int::Known(size) => usize::try_from(size).ok().map(Dim::Known),
            Int::Batch(factor) => usize::try_from(factor).ok().map(Dim::Batch),
        }
    }
}

/// What is known of each value, by its ONNX name.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    shapes: HashMap<String, Vec<Dim>>,
    dtypes: HashMap<String, Elem>,
    ints: HashMap<String, Vec<Int>>,
    constants: HashMap<String, Tensor>,
    notes: Vec<String>,
    /// What is known at each batch size, of a model with ops of other domains: inference goes on where one of them has been
    /// [learned](Facts::learn).
    runs: Option<[Pinned; 2]>,
    learned: BTreeSet<String>,
}

/// Two batch sizes that no model is likely to have as another size, and that share no factor.
const BATCHES: [usize; 2] = [13, 17];

impl Facts {
    /// Infers what can be known of every value of `nodes`, which are in topological order. `elems` has the element
    /// types that the file gives the initialisers; `constants` are the float initialisers that are no parameters. What is
    /// `declared` counts where a node cannot be inferred.
    pub(super) fn infer(
        nodes: &[OnnxNode],
        (initializers, elems, constants): (&BTreeMap<String, Tensor>, &HashMap<String, Elem>, &BTreeSet<String>),
        inputs: &[ValueInfo],
        declared: &[ValueInfo],
        opset: i64,
    ) -> Facts {
        let tract = tract_onnx::onnx();
        let operators: Vec<_> = nodes.iter().map(|node| bridge::Operator::new(node, opset, &tract)).collect();
        let [a, b] = BATCHES
            .map(|batch| Pinned::infer(nodes, &operators, (initializers, elems, constants), (inputs, declared), batch));
        let mut facts = Facts::default();
        for input in inputs {
            facts.shapes.insert(input.name.clone(), input.dims.clone());
            facts.dtypes.insert(input.name.clone(), input.dtype);
        }
        for (name, known) in &a.values {
            if let Some(other) = b.values.get(name) {
                facts.insert(name, known, other);
            }
        }
        for (index, node) in nodes.iter().enumerate() {
            let failure = |run: &Pinned| run.failures.iter().find(|failure| failure.0 == index).map(|f| f.1.clone());
            let problem = match (failure(&a), failure(&b)) {
                (Some(problem), Some(other)) if problem == other => problem,
                (None, None) => continue,
                (first, second) => {
                    let problem = first.or(second).unwrap_or_default();
                    format!("it does not take a batch of any size: {problem}")
                }
            };
            facts.notes.push(format!("node `{}` ({}): {problem}", node.name, node.op_type));
        }
        for node in nodes {
            let lost = |name: &&String| {
                !facts.shapes.contains_key(*name)
                    && [&a, &b].iter().all(|run| run.values.get(*name).is_some_and(|known| known.shape.is_some()))
            };
            if let Some(output) = node.outputs.iter().find(lost)
                && node.inputs.iter().all(|input| input.is_empty() || facts.shapes.contains_key(input))
            {
                facts.notes.push(format!(
                    "node `{}` ({}): the size of `{output}` is neither fixed nor a multiple of the batch",
                    node.name, node.op_type
                ));
            }
        }
        if nodes.iter().any(|node| !node.domain.is_empty()) {
            facts.runs = Some([a, b]);
        }
        facts
    }

    /// Takes down the type and shape of a value that an op of another domain yields.
    pub fn learn(&mut self, value: &str, elem: Elem, dims: Vec<Dim>) {
        let runs = self.runs.iter_mut().flatten();
        for (run, batch) in runs.zip(BATCHES) {
            let size = |dim: &Dim| match *dim {
                Dim::Known(size) => Some(size),
                Dim::Batch(factor) => factor.checked_mul(batch),
            };
            run.values.insert(value.to_owned(), Known::new(Some(elem), dims.iter().map(size).collect()));
        }
        self.dtypes.insert(value.to_owned(), elem);
        self.shapes.insert(value.to_owned(), dims);
        self.learned.insert(value.to_owned());
    }

    /// Whether what a node yields depends on a value that was learned after the node was looked at.
    pub fn is_behind_custom(&self, node: &OnnxNode) -> bool {
        node.inputs.iter().any(|input| self.learned.contains(input))
    }

    /// Infers what a node yields from what is known by now.
    pub fn infer_node(&mut self, node: &OnnxNode, opset: i64) {
        let operator = bridge::Operator::new(node, opset, &tract_onnx::onnx());
        let Some(mut runs) = self.runs.take() else { return };
        // One that fails leaves its outputs unknown, as it did before.
        let _ = runs.each_mut().map(|run| run.step(node, &operator));
        for output in node.outputs.iter().filter(|output| !output.is_empty()) {
            if let [Some(a), Some(b)] = runs.each_ref().map(|run| run.values.get(output)) {
                self.insert(output, a, b);
            }
        }
        self.learned.extend(node.outputs.iter().filter(|output| !output.is_empty()).cloned());
        self.runs = Some(runs);
    }

    /// The shape of a value.
    pub fn shape(&self, value: &str) -> Option<&[Dim]> {
        self.shapes.get(value).map(Vec::as_slice)
    }

    /// The element type of a value.
    pub fn dtype(&self, value: &str) -> Option<Elem> {
        self.dtypes.get(value).copied()
    }

    /// The elements, row-major, of an integer tensor that depends on nothing but shapes and constants.
    pub fn ints(&self, value: &str) -> Option<&[Int]> {
        self.ints.get(value).map(Vec::as_slice)
    }

    /// The shape that an integer tensor of known elements spells; `None` if an element is negative.
    pub fn dims_of_ints(&self, value: &str) -> Option<Vec<Dim>> {
        self.ints(value)?.iter().map(|&int| int.to_dim()).collect()
    }

    /// The tensor that a value is in every batch, where it depends on nothing but shapes and constants: neither on an
    /// input nor on a float initialiser that might be trained.
    pub fn constant(&self, value: &str) -> Option<&Tensor> {
        self.constants.get(value)
    }

    /// What could not be inferred and why, one sentence for each node.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn insert(&mut self, name: &str, a: &Known, b: &Known) {
        if let (Some(a), Some(b)) = (a.elem, b.elem)
            && a == b
        {
            self.dtypes.insert(name.to_owned(), a);
        }
        if let (Some(a), Some(b)) = (&a.shape, &b.shape)
            && a.len() == b.len()
            && let Some(dims) = a.iter().zip(b).map(|(&a, &b)| size(a, b)).collect()
        {
            self.shapes.insert(name.to_owned(), dims);
        }
        let (Some(x), Some(y)) = (&a.value, &b.value) else {
            return;
        };
        if let (TensorData::I64(x), TensorData::I64(y)) = (&x.data, &y.data)
            && x.len() == y.len()
            && let Some(ints) = x.iter().zip(y).map(|(&a, &b)| integer(a, b)).collect()
        {
            self.ints.insert(name.to_owned(), ints);
        }
        if x == y && !a.from_weights {
            self.constants.insert(name.to_owned(), x.clone());
        }
    }
}

fn size(a: usize, b: usize) -> Option<Dim> {
    integer(i64::try_from(a).ok()?, i64::try_from(b).ok()?)?.to_dim()
}

fn integer(a: i64, b: i64) -> Option<Int> {
    let [m, n] = BATCHES.map(|batch| batch as i64);
    if a == b {
        Some(Int::Known(a))
    } else if a % m == 0 && b % n == 0 && a / m == b / n {
        Some(Int::Batch(a / m))
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
