//! Sequences of tensors of a length that the file knows, such as loops fill: [SequenceConstruct](https://onnx.ai/onnx/operators/onnx__SequenceConstruct.html)
//! and its kin. A sequence is the list of its elements' names; nothing of it is left in the graph.

use super::{Flat, Scope};
use crate::onnx::node::OnnxNode;
use crate::onnx::proto::NodeProto;

/// Whether a node makes a sequence from its elements.
pub(super) fn makes(node: &NodeProto) -> bool {
    matches!(node.op_type(), "SequenceEmpty" | "SequenceConstruct") && matches!(node.domain(), "" | "ai.onnx")
}

impl Flat<'_> {
    /// Takes a node on sequences of known elements; `None` if it is none, or a position in it is not known.
    pub(super) fn sequence(&mut self, node: &NodeProto, scope: &mut Scope) -> Option<()> {
        let output = node.output.first().filter(|name| !name.is_empty())?;
        let name = match scope.place.as_str() {
            "" => output.clone(),
            place => format!("{place}/{output}"),
        };
        let list = || self.lists.get(node.input.first()?).cloned();
        // A position, counted from either end, of so many.
        let position = |input: usize, count: usize| match node.input.get(input).filter(|name| !name.is_empty()) {
            None => Some(None),
            Some(name) => {
                let at = *self.known.get(name)?.first()?;
                let at = usize::try_from(if at < 0 { at + count as i64 } else { at }).ok()?;
                (at <= count).then_some(Some(at))
            }
        };
        let made = match node.op_type() {
            "SequenceEmpty" => Vec::new(),
            "SequenceConstruct" => node.input.clone(),
            "Identity" => list()?,
            "SequenceInsert" => {
                let mut list = list()?;
                let at = position(2, list.len())?.unwrap_or(list.len());
                list.insert(at, node.input.get(1)?.clone());
                list
            }
            "SequenceErase" => {
                let mut list = list()?;
                let last = list.len().checked_sub(1)?;
                let at = position(1, list.len())?.unwrap_or(last);
                if at > last {
                    return None;
                }
                list.remove(at);
                list
            }
            "SequenceAt" => {
                let list = list()?;
                let element = list.get(position(1, list.len())??)?.clone();
                self.hand_on(&node.output, &[element], scope);
                return Some(());
            }
            "SequenceLength" => {
                let length = list()?.len() as i64;
                self.constant(&name, length, false);
                self.call_it(output, name, scope);
                return Some(());
            }
            "ConcatFromSequence" => {
                let (list, own) = (list()?, OnnxNode::from_proto(node, String::new()));
                let (axis, new) = (own.require_int("axis").ok()?, own.int("new_axis", 0).ok()?);
                match (list.is_empty(), new) {
                    (true, _) => return None,
                    (_, 0) => self.concat(&name, list, axis),
                    _ => self.stack(&name, &list, axis),
                };
                self.call_it(output, name, scope);
                return Some(());
            }
            _ => return None,
        };
        self.lists.insert(name.clone(), made);
        self.call_it(output, name, scope);
        Some(())
    }

    /// Makes an output of a body stand for what is called `name`.
    fn call_it(&self, output: &str, name: String, scope: &mut Scope) {
        if !scope.place.is_empty() {
            scope.names.insert(output.to_owned(), name);
        }
    }
}
