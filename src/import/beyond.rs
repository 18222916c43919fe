//! What is supposed of a refused node's results, so that the nodes that follow it are looked at too.
//!
//! Each result is taken to be of the type that shape inference gives it, with the batch on the axis whose size is `N`. A
//! refusal behind it may then be due to what was supposed, so it counts only where that leaves no doubt.

use super::axes::{Axes, Axis};
use super::{Import, Refusal, Value};
use crate::graph::{DType, Origin, Type};
use crate::onnx::{Dim, Elem, OnnxNode};
use crate::ops::leaf;

/// How much of a value is supposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Supposed {
    #[default]
    Nothing,
    /// It follows a refused node; its axes are of fixed size or the batch alone.
    Axes,
    /// Its axes too could be others, or it holds integers, of which rules want to know more than the type.
    Content,
}

impl Supposed {
    /// Whether a refusal of a node that reads such a value would stand if the nodes before it were other ones.
    pub(super) fn lets_stand(self, refusal: &Refusal) -> bool {
        match refusal {
            Refusal::Blocked { .. } => false,
            Refusal::Mixes { .. } | Refusal::Unsupported { .. } => self < Supposed::Content,
            Refusal::Invalid { .. } | Refusal::Contradicted { .. } => self == Supposed::Nothing,
        }
    }
}

impl Import<'_> {
    /// Notes that the rule at work reads the value `name`.
    pub(super) fn note_supposed(&mut self, name: &str) {
        let supposed = self.supposed.get(name).copied().unwrap_or_default();
        self.read_supposed = self.read_supposed.max(supposed);
    }

    /// How much of what a node reads is supposed.
    pub(super) fn supposed_of(&self, node: &OnnxNode) -> Supposed {
        node.inputs.iter().filter_map(|input| self.supposed.get(input)).copied().max().unwrap_or_default()
    }

    /// The results of a node, if shape inference knows that each of them has no elements.
    pub(super) fn nothing(&mut self, node: &OnnxNode) -> Option<Vec<Value>> {
        let empty = |output: &String| self.facts.shape(output).is_some_and(|dims| dims.contains(&Dim::Known(0)));
        if !node.outputs.iter().all(empty) {
            return None;
        }
        let outputs = node.outputs.clone();
        outputs.iter().map(|output| self.inferred(output).map(|(value, _)| value)).collect()
    }

    /// Supposes that a refused node yields a value of the inferred type.
    pub(super) fn suppose(&mut self, output: &str) {
        match self.inferred(output) {
            Some((value, supposed)) => {
                self.values.insert(output.into(), value);
                self.supposed.insert(output.into(), supposed);
            }
            None => _ = self.refused.insert(output.into()),
        }
    }

    /// A value of the type that is inferred for an output, if one record has such a value, and how sure that is.
    fn inferred(&mut self, output: &str) -> Option<(Value, Supposed)> {
        let dims = self.facts.shape(output).map(<[Dim]>::to_vec);
        let dtype = match self.facts.dtype(output) {
            Some(Elem::Bool) => Some(DType::Bool),
            Some(elem) if elem.is_float() => Some(DType::F32),
            elem => elem.map(|_| DType::I32),
        };
        let batches: Vec<&Dim> = dims.iter().flatten().filter(|dim| matches!(dim, Dim::Batch(_))).collect();
        let clear = dtype == Some(DType::F32) && batches.iter().all(|dim| **dim == Dim::Batch(1));
        // Of records that met, an axis each: there is no value of a record to suppose.
        let one = batches.len() < 2;
        let axes = Axes(dims.filter(|_| one)?.iter().map(Axis::from).collect());
        let ty = Type { dtype: dtype?, batched: axes.batch_axis().is_some(), dims: axes.per_record() };
        let node = self.graph.add(leaf::Fill { ty, value: 0.0 }, &[], Origin::value(output)).ok()?;
        Some((Value { node, axes }, if clear { Supposed::Axes } else { Supposed::Content }))
    }
}
