//! What is known of every value before the batch size is: element type, shape, and the values of small integer tensors.

use std::collections::{BTreeMap, HashMap};

use super::node::OnnxNode;
use super::source::{Dim, ValueInfo};
use super::tensor::{Elem, Tensor};

/// An integer that may be a multiple of the batch size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Int {
    /// A fixed number.
    Known(i64),
    /// `k·N`.
    Batch(i64),
}

/// What is known of each value, by its ONNX name.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    shapes: HashMap<String, Vec<Dim>>,
    dtypes: HashMap<String, Elem>,
    ints: HashMap<String, Vec<Int>>,
    notes: Vec<String>,
}

impl Facts {
    /// Infers what can be known; an operator without a rule leaves its outputs unknown and a note.
    pub fn infer(
        nodes: &[OnnxNode],
        initializers: &BTreeMap<String, Tensor>,
        inputs: &[ValueInfo],
        opset: i64,
    ) -> Facts {
        let _ = (nodes, initializers, inputs, opset);
        Facts::default()
    }

    /// The shape of a value.
    pub fn shape(&self, value: &str) -> Option<&[Dim]> {
        self.shapes.get(value).map(Vec::as_slice)
    }

    /// The element type of a value.
    pub fn dtype(&self, value: &str) -> Option<Elem> {
        self.dtypes.get(value).copied()
    }

    /// The elements of an integer tensor that depends on nothing but shapes and constants, row-major.
    pub fn ints(&self, value: &str) -> Option<&[Int]> {
        self.ints.get(value).map(Vec::as_slice)
    }

    /// What could not be inferred and why, one sentence for each node.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}
