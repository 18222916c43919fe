//! Inference at one batch size.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::bridge::Operator;
use super::rules;
use crate::onnx::node::OnnxNode;
use crate::onnx::source::{Dim, ValueInfo};
use crate::onnx::tensor::{Elem, Tensor, TensorData};

/// What is known of a value at one batch size.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Known {
    pub(super) elem: Option<Elem>,
    pub(super) shape: Option<Vec<usize>>,
    /// The elements; only of values that depend on nothing but shapes and constants, and only of small ones.
    pub(super) value: Option<Tensor>,
    /// Whether `value` depends on a float initialiser.
    pub(super) from_weights: bool,
}

impl Known {
    /// A tensor of this type and shape.
    pub(super) fn new(elem: Option<Elem>, shape: Option<Vec<usize>>) -> Known {
        Known { elem, shape, ..Known::default() }
    }

    /// A constant, with its elements unless they are too many to be worth propagating.
    pub(super) fn constant(elem: Elem, tensor: &Tensor) -> Known {
        let value = (tensor.len() <= LARGEST_VALUE).then(|| tensor.clone());
        Known { elem: Some(elem), shape: Some(tensor.dims.clone()), value, from_weights: false }
    }
}

/// The most elements that a propagated value has.
pub(super) const LARGEST_VALUE: usize = 1 << 16;

/// The most elements of a float initialiser whose values are propagated, for operators that need scales or bounds.
const LARGEST_WEIGHT: usize = 16;

/// Everything that is known at one batch size.
#[derive(Clone, Debug, Default)]
pub(super) struct Pinned {
    pub(super) values: HashMap<String, Known>,
    /// The elements of sequence values.
    pub(super) sequences: HashMap<String, Vec<Known>>,
    /// The position of each node that could not be inferred though its operands are known, and why.
    pub(super) failures: Vec<(usize, String)>,
}

impl Pinned {
    /// Infers the values of `nodes`, whose tract operators are `operators`, with `batch` samples.
    pub(super) fn infer(
        nodes: &[OnnxNode],
        operators: &[Result<Operator, String>],
        (initializers, elems, constants): (&BTreeMap<String, Tensor>, &HashMap<String, Elem>, &BTreeSet<String>),
        (inputs, declared): (&[ValueInfo], &[ValueInfo]),
        batch: usize,
    ) -> Pinned {
        let mut pinned = Pinned::default();
        for (name, tensor) in initializers {
            let known = initializer(tensor, elems.get(name), constants.contains(name));
            pinned.values.insert(name.clone(), known);
        }
        for input in inputs {
            pinned.values.insert(input.name.clone(), at(batch, input));
        }
        for (index, (node, operator)) in nodes.iter().zip(operators).enumerate() {
            let Err(problem) = pinned.step(node, operator) else { continue };
            let said = declared.iter().filter(|value| node.outputs.contains(&value.name));
            pinned.values.extend(said.map(|value| (value.name.clone(), at(batch, value))));
            if pinned.knows_operands(node) {
                pinned.failures.push((index, problem));
            }
        }
        pinned
    }

    /// Infers what a node yields.
    pub(super) fn step(&mut self, node: &OnnxNode, operator: &Result<Operator, String>) -> Result<(), String> {
        let results = match rules::infer(node, self) {
            Some(results) => results?,
            None => {
                let operator = operator.as_ref().map_err(String::clone)?;
                let unknown = Known::default();
                let operands: Vec<&Known> = node
                    .inputs
                    .iter()
                    .filter(|name| !name.is_empty())
                    .map(|name| self.values.get(name).unwrap_or(&unknown))
                    .collect();
                operator.infer(&operands)?.into_iter().map(Some).collect()
            }
        };
        let names = node.outputs.iter();
        let results = match results.len() == node.outputs.len() {
            true => names.zip(results).collect::<Vec<_>>(),
            false => names.filter(|name| !name.is_empty()).zip(results).collect(),
        };
        let mut inferred = true;
        for (name, known) in results {
            if let Some(known) = known
                && !name.is_empty()
            {
                inferred &= known.shape.is_some();
                self.values.insert(name.clone(), known);
            }
        }
        match inferred {
            true => Ok(()),
            false => Err("the shape of its result cannot be inferred".to_owned()),
        }
    }

    /// Whether what a node failed on is the node's own doing.
    fn knows_operands(&self, node: &OnnxNode) -> bool {
        let known = |name: &String| {
            name.is_empty()
                || self.sequences.contains_key(name)
                || self.values.get(name).is_some_and(|known| known.shape.is_some())
        };
        node.inputs.iter().all(known)
    }
}

/// A value of the declared type with so many records.
fn at(batch: usize, value: &ValueInfo) -> Known {
    let size = |dim: &Dim| match *dim {
        Dim::Known(size) => Some(size),
        Dim::Batch(factor) => factor.checked_mul(batch),
    };
    Known::new(Some(value.dtype), value.dims.iter().map(size).collect())
}

fn initializer(tensor: &Tensor, elem: Option<&Elem>, constant: bool) -> Known {
    let (default, limit, weight) = match tensor.data {
        TensorData::F32(_) if constant => (Elem::F32, LARGEST_VALUE, false),
        TensorData::F32(_) => (Elem::F32, LARGEST_WEIGHT, true),
        TensorData::I64(_) => (Elem::I64, LARGEST_VALUE, false),
        TensorData::Bool(_) => (Elem::Bool, LARGEST_VALUE, false),
    };
    let value = (tensor.len() <= limit).then(|| tensor.clone());
    Known {
        elem: elem.copied().or(Some(default)),
        shape: Some(tensor.dims.clone()),
        from_weights: weight && value.is_some(),
        value,
    }
}
