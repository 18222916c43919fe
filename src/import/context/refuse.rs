//! How an import rule refuses.

use super::Import;
use crate::import::Refusal;
use crate::import::refusal::Seen;
use crate::onnx::proto::AttributeProto;
use crate::onnx::{Dim, OnnxError, OnnxNode};

impl Import<'_> {
    /// A refusal because records would meet.
    pub fn mixes(&self, node: &OnnxNode, why: impl Into<String>, help: &str) -> Refusal {
        let seen = Seen::default();
        Refusal::Mixes { node: node.name.clone(), op: node.op_type.clone(), why: why.into(), seen, help: help.into() }
    }

    /// A refusal because dpc cannot do this.
    pub fn unsupported(&self, node: &OnnxNode, why: &str) -> Refusal {
        Refusal::Unsupported {
            node: node.name.clone(),
            op: node.op_type.clone(),
            why: why.into(),
            seen: Seen::default(),
            help: "rewrite this part of the model with supported ops (the README lists them) and export it again"
                .into(),
        }
    }

    /// A refusal of an op that there is no rule for.
    pub(in crate::import) fn no_rule(&self, node: &OnnxNode) -> Refusal {
        if node.domain.is_empty() {
            return self.unsupported(node, "dpc has no rule for this op");
        }
        Refusal::Unsupported {
            node: node.name.clone(),
            op: node.op_type.clone(),
            why: format!("dpc has no rule for this op of the domain `{}`", node.domain),
            seen: Seen::default(),
            help: "export it as a local function of supported ops, or add it as a library does, see the README".into(),
        }
    }

    /// A refusal because the node is not valid.
    pub fn invalid(&self, node: &OnnxNode, why: impl Into<String>) -> Refusal {
        let seen = Seen::default();
        Refusal::Invalid { node: node.name.clone(), op: node.op_type.clone(), why: why.into(), seen }
    }

    /// What a node reads, for its refusal: attributes, and the operands as they are known.
    pub(in crate::import) fn seen(&self, node: &OnnxNode) -> Seen {
        let operand = |name: &String| {
            let ty = match (self.values.get(name), self.facts.dtype(name), self.facts.shape(name)) {
                (Some(value), ..) => format!("{}{}", self.ty(value.node).dtype, value.axes),
                (None, Some(elem), Some(dims)) => {
                    format!("{elem}[{}]", dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(", "))
                }
                _ => "of unknown type".to_owned(),
            };
            format!("`{name}` {ty}")
        };
        let attributes: Vec<String> = node.attributes().filter_map(attribute_text).collect();
        let operands: Vec<String> = node.inputs.iter().filter(|name| !name.is_empty()).take(8).map(operand).collect();
        Seen::new(&operands, &attributes)
    }

    /// A refusal for an attribute of the wrong type.
    pub fn attribute(&self, node: &OnnxNode, error: OnnxError) -> Refusal {
        self.invalid(node, error.to_string())
    }
}

/// `axis=0`; of long lists the beginning, and nothing of tensors and graphs.
fn attribute_text(attribute: &AttributeProto) -> Option<String> {
    const LONGEST: usize = 40;
    let text = match attribute.r#type() {
        1 => format!("{}", attribute.f()),
        2 => format!("{}", attribute.i()),
        3 => format!("{:?}", String::from_utf8_lossy(attribute.s.as_deref().unwrap_or_default())),
        6 => format!("{:?}", attribute.floats),
        7 => format!("{:?}", attribute.ints),
        _ => return None,
    };
    let short =
        if text.chars().count() > LONGEST { text.chars().take(LONGEST).collect::<String>() + "…" } else { text };
    Some(format!("{}={short}", attribute.name()))
}
