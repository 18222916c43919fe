//! What import rules tell each other of values beyond their types: which name records, and which are random or masks.

use super::Import;
use crate::import::axes::Axes;
use crate::import::own_rows::OwnRow;
use crate::import::{Refusal, Value};
use crate::onnx::OnnxNode;

impl Import<'_> {
    /// Notes that the output of a node is the number of each record.
    pub fn mark_own_rows(&mut self, node: &OnnxNode) {
        self.own_rows.extend(node.output(0).map(|name| (name.to_owned(), OwnRow::Number)));
    }

    /// Notes that output `i` of a node is what it is for the first record, and `step` more for each record after it.
    pub fn mark_offset(&mut self, node: &OnnxNode, i: usize, step: usize) -> Result<(), Refusal> {
        let step = i64::try_from(step).map_err(|_| self.unsupported(node, "more than 2⁶³ elements"))?;
        self.own_rows.extend(node.output(i).map(|name| (name.to_owned(), OwnRow::Offset(step))));
        Ok(())
    }

    /// By how much input `i` of a node grows with each record, where it does.
    pub fn offset(&self, node: &OnnxNode, i: usize) -> Option<usize> {
        match self.own_rows.get(node.input(i)?)? {
            OwnRow::Offset(step) => usize::try_from(*step).ok(),
            OwnRow::Number | OwnRow::Index => None,
        }
    }

    /// Notes that the output of a node is random numbers between 0 and 1, for the mask of a dropout.
    pub fn mark_random(&mut self, node: &OnnxNode, layer: u32) {
        self.random.extend(node.output(0).map(|name| (name.to_owned(), layer)));
    }

    /// The layer and the axes of the random numbers that input `i` of a node is.
    pub fn random(&self, node: &OnnxNode, i: usize) -> Option<(u32, Axes)> {
        let name = node.input(i)?;
        Some((*self.random.get(name)?, self.values.get(name)?.axes.clone()))
    }

    /// Notes that the output of a node is the mask of a dropout.
    pub fn mark_mask(&mut self, node: &OnnxNode) {
        self.masks.extend(node.output(0).map(str::to_owned));
    }

    /// The mask of a dropout that input `i` of a node is.
    pub fn mask(&self, node: &OnnxNode, i: usize) -> Option<Value> {
        self.values.get(node.input(i).filter(|name| self.masks.contains(*name))?).cloned()
    }

    /// Whether input `i` of a node is a tuple of indices, the first of which is the record's own number.
    pub fn indexes_own_row(&self, node: &OnnxNode, i: usize) -> bool {
        node.input(i).and_then(|name| self.own_rows.get(name)) == Some(&OwnRow::Index)
    }
}
