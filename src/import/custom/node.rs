//! What the formula of an op from outside sees of its node.

use super::super::Value;
use super::super::axes::Axes;
use super::super::formula::{Formula, Term};
use crate::onnx::{OnnxError, OnnxNode};

/// A node of an op from outside, with its operands as terms.
pub struct Node<'f> {
    node: &'f OnnxNode,
    formula: &'f Formula,
    operands: Vec<Option<(Term<'f>, Axes)>>,
}

impl<'f> Node<'f> {
    pub(super) fn new(node: &'f OnnxNode, formula: &'f Formula, operands: Vec<Option<Value>>) -> Node<'f> {
        let operand = |value: Value| (formula.of(value.clone()), value.axes);
        Node { node, formula, operands: operands.into_iter().map(|value| value.map(operand)).collect() }
    }

    /// What terms of numbers and of kernels are made with.
    pub fn formula(&self) -> &'f Formula {
        self.formula
    }

    /// The operands, where there are `N` and none is left out.
    pub fn operands<const N: usize>(&self) -> Result<[Term<'f>; N], String> {
        let terms: Option<Vec<Term<'f>>> = (0..self.operands.len()).map(|i| self.operand(i)).collect();
        terms.and_then(|terms| terms.try_into().ok()).ok_or_else(|| format!("it has other than {N} operands"))
    }

    /// Operand `i`, if it is there.
    pub fn operand(&self, i: usize) -> Option<Term<'f>> {
        Some(self.operands.get(i)?.as_ref()?.0)
    }

    /// The sizes of the axes of operand `i`, if it is there; `None` for an axis that holds the batch.
    pub fn sizes(&self, i: usize) -> Option<Vec<Option<usize>>> {
        let (_, axes) = self.operands.get(i)?.as_ref()?;
        Some(axes.0.iter().map(|axis| (!axis.is_batched()).then(|| axis.per_record())).collect())
    }

    /// A float attribute.
    pub fn float(&self, attribute: &str, default: f32) -> Result<f32, String> {
        self.node.float(attribute, default).map_err(text)
    }

    /// An integer attribute.
    pub fn int(&self, attribute: &str, default: i64) -> Result<i64, String> {
        self.node.int(attribute, default).map_err(text)
    }

    /// An attribute of integers, if it is there.
    pub fn ints(&self, attribute: &str) -> Result<Option<Vec<i64>>, String> {
        self.node.ints(attribute).map_err(text)
    }

    /// An attribute of floats, if it is there.
    pub fn floats(&self, attribute: &str) -> Result<Option<Vec<f32>>, String> {
        self.node.floats(attribute).map_err(text)
    }
}

fn text(error: OnnxError) -> String {
    error.to_string()
}
