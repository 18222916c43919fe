//! The inputs and outputs of a model, of which each record has its part.

use std::collections::BTreeMap;

use super::axes::{Axes, Axis};
use super::refusal::Seen;
use super::{Import, Refusal, Value};
use crate::graph::{DType, Origin, Type};
use crate::onnx::{Elem, OnnxNode};
use crate::ops::leaf;

/// What a model yields.
pub(super) struct Outputs {
    /// The axes of each output.
    pub axes: BTreeMap<String, Axes>,
    /// The dtypes of those without elements.
    pub nothing: BTreeMap<String, DType>,
    /// Whether some that are not wanted were left out.
    pub left_out: bool,
}

impl Import<'_> {
    /// Appends the inputs of the model; their axes, by name.
    pub(super) fn declare_inputs(&mut self, problems: &mut Vec<Refusal>) -> BTreeMap<String, Axes> {
        let mut declared = BTreeMap::new();
        for input in &self.source.inputs {
            let axes = Axes(input.dims.iter().map(Axis::from).collect());
            let dtype = if input.dtype.is_float() { DType::F32 } else { DType::I32 };
            let batched = axes.batch_axis().is_some();
            self.batched_model |= batched;
            let ty = Type { dtype, batched, dims: axes.per_record() };
            let op = leaf::Input { name: input.name.clone(), ty };
            let mut node = self.graph.add(op, &[], Origin::value(&input.name));
            if input.dtype == Elem::Bool {
                node = node.and_then(|integers| self.truth(integers));
            }
            match node {
                Ok(node) => {
                    declared.insert(input.name.clone(), axes.clone());
                    self.values.insert(input.name.clone(), Value { node, axes });
                }
                Err(e) => problems.push(invalid(&input.name, "input", e.why)),
            }
        }
        declared
    }

    /// The outputs of the model.
    pub(super) fn declare_outputs(&mut self, wanted: &[String], problems: &mut Vec<Refusal>) -> Outputs {
        let (mut declared, mut nothing) = (BTreeMap::new(), BTreeMap::new());
        let mut left_out = Vec::new();
        for output in &self.source.outputs {
            let spare = !wanted.is_empty() && !wanted.contains(&output.name);
            let behind_refused = self.refused.contains(&output.name) || self.supposed.contains_key(&output.name);
            let value = if behind_refused { None } else { Some(self.output(&output.name)) };
            match value {
                Some(Ok(value)) if value.axes.hold_nothing() && wanted.is_empty() => {
                    nothing.insert(output.name.clone(), self.ty(value.node).dtype);
                    declared.insert(output.name.clone(), value.axes);
                }
                Some(Ok(value)) if value.axes.hold_nothing() => {
                    let why = format!("its axes {} hold no elements", value.axes);
                    problems.push(invalid(&output.name, "output", why));
                }
                Some(Ok(value)) => {
                    self.graph.outputs.insert(output.name.clone(), value.node);
                    declared.insert(output.name.clone(), value.axes);
                }
                Some(Err(why)) if !spare => {
                    problems.push(invalid(&output.name, "output", why));
                }
                Some(Err(_)) | None => left_out.push(format!("`{}`", output.name)),
            }
        }
        if !left_out.is_empty() {
            let outputs = left_out.join(", ");
            self.notes
                .push(format!("the outputs {outputs}, which the loss does not need, cannot be had and are left out"));
        }
        Outputs { axes: declared, nothing, left_out: !left_out.is_empty() }
    }

    /// The value of an output of the model, of which each record has its part.
    fn output(&mut self, name: &str) -> Result<Value, String> {
        let makes = |node: &&OnnxNode| node.outputs.iter().any(|output| output == name);
        if self.source.nodes.iter().find(makes).is_some_and(|node| node.op_type == "SplitToSequence") {
            return Err("it is a sequence; make a tensor of each of its elements an output".into());
        }
        if self.random.contains_key(name) || self.masks.contains(name) {
            return Err("it is random".into());
        }
        if self.own_rows.contains_key(name) {
            return Err("it is made of the numbers of the records in the batch".into());
        }
        let value = self.named(name)?.ok_or("no node makes it")?;
        let axes = &value.axes;
        match axes.batch_axis() {
            Some(axis) if !axes.0[axis].is_batch() => {
                Err(format!("its axes {axes} merge the batch with another axis, so its rows are not records"))
            }
            None if self.batched_model => Err(format!("its axes {axes} hold no batch: it does not belong to a record")),
            _ => Ok(value),
        }
    }
}

fn invalid(name: &str, op: &str, why: String) -> Refusal {
    Refusal::Invalid { node: name.to_owned(), op: op.to_owned(), why, seen: Seen::default() }
}
