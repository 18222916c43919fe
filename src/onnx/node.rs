//! A node of the ONNX graph, with typed access to its attributes.

use std::collections::BTreeMap;

use super::aten::{self, AtenCall};
use super::error::OnnxError;
use super::proto::{AttributeProto, NodeProto};
use super::tensor::{Tensor, TensorError};

/// One operator application.
///
/// The attribute readers answer with a default, or with `None`, for an absent attribute, and with
/// [`OnnxError::Attribute`] for one of another type.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxNode {
    /// The node's name; never empty, and unique in the graph.
    pub name: String,
    /// The operator, e.g. `Conv`.
    pub op_type: String,
    /// The operator's domain; empty for ONNX's own.
    pub domain: String,
    /// The values it reads; an empty name is an absent optional operand.
    pub inputs: Vec<String>,
    /// The values it yields; an empty name is an output that nobody asked for.
    pub outputs: Vec<String>,
    /// The call of PyTorch's that it stands for, where the exporter says so.
    pub aten: Option<AtenCall>,
    /// The module of PyTorch's that it is part of, as `encoder.layers.0`; empty where that is not said.
    pub module: String,
    attributes: BTreeMap<String, AttributeProto>,
}

impl OnnxNode {
    /// The node that `proto` describes, under `name`.
    pub fn from_proto(proto: &NodeProto, name: String) -> OnnxNode {
        let domain = match proto.domain() {
            "ai.onnx" => "",
            domain => domain,
        };
        OnnxNode {
            name,
            op_type: proto.op_type().to_owned(),
            domain: domain.to_owned(),
            inputs: proto.input.clone(),
            outputs: proto.output.clone(),
            aten: AtenCall::of(proto),
            module: aten::module(proto),
            attributes: proto.attribute.iter().map(|a| (a.name().to_owned(), a.clone())).collect(),
        }
    }

    /// The node's message, without its name.
    pub fn to_proto(&self) -> NodeProto {
        NodeProto {
            op_type: Some(self.op_type.clone()),
            domain: Some(self.domain.clone()),
            input: self.inputs.clone(),
            output: self.outputs.clone(),
            attribute: self.attributes.values().cloned().collect(),
            ..NodeProto::default()
        }
    }

    /// The operand in this position; `None` where it is absent.
    pub fn input(&self, position: usize) -> Option<&str> {
        self.inputs.get(position).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The result in this position; `None` where nobody asked for it.
    pub fn output(&self, position: usize) -> Option<&str> {
        self.outputs.get(position).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// Whether the node has this attribute.
    pub fn has(&self, attribute: &str) -> bool {
        self.attributes.contains_key(attribute)
    }

    /// The names of the node's attributes.
    pub fn attribute_names(&self) -> impl Iterator<Item = &str> {
        self.attributes.keys().map(String::as_str)
    }

    /// The node's attributes as they are in the file.
    pub fn attributes(&self) -> impl Iterator<Item = &AttributeProto> {
        self.attributes.values()
    }

    /// An integer.
    pub fn int(&self, attribute: &str, default: i64) -> Result<i64, OnnxError> {
        Ok(self.get(attribute, INT, |a| Some(a.i()))?.unwrap_or(default))
    }

    /// An integer that has to be there.
    pub fn require_int(&self, attribute: &str) -> Result<i64, OnnxError> {
        self.get(attribute, INT, |a| Some(a.i()))?.ok_or_else(|| self.missing(attribute))
    }

    /// A list of integers.
    pub fn ints(&self, attribute: &str) -> Result<Option<Vec<i64>>, OnnxError> {
        self.get(attribute, INTS, |a| Some(a.ints.clone()))
    }

    /// A list of integers that has to be there.
    pub fn require_ints(&self, attribute: &str) -> Result<Vec<i64>, OnnxError> {
        self.ints(attribute)?.ok_or_else(|| self.missing(attribute))
    }

    /// A float.
    pub fn float(&self, attribute: &str, default: f32) -> Result<f32, OnnxError> {
        Ok(self.get(attribute, FLOAT, |a| Some(a.f()))?.unwrap_or(default))
    }

    /// A float that has to be there.
    pub fn require_float(&self, attribute: &str) -> Result<f32, OnnxError> {
        self.get(attribute, FLOAT, |a| Some(a.f()))?.ok_or_else(|| self.missing(attribute))
    }

    /// A list of floats.
    pub fn floats(&self, attribute: &str) -> Result<Option<Vec<f32>>, OnnxError> {
        self.get(attribute, FLOATS, |a| Some(a.floats.clone()))
    }

    /// A string.
    pub fn string<'a>(&'a self, attribute: &str, default: &'a str) -> Result<&'a str, OnnxError> {
        Ok(self.text(attribute)?.unwrap_or(default))
    }

    /// A string that has to be there.
    pub fn require_string(&self, attribute: &str) -> Result<&str, OnnxError> {
        self.text(attribute)?.ok_or_else(|| self.missing(attribute))
    }

    /// A list of strings.
    pub fn strings(&self, attribute: &str) -> Result<Option<Vec<String>>, OnnxError> {
        let Some(bytes) = self.get(attribute, STRINGS, |a| Some(&a.strings))? else {
            return Ok(None);
        };
        let strings = bytes
            .iter()
            .map(|s| String::from_utf8(s.to_vec()))
            .collect::<Result<_, _>>()
            .map_err(|_| self.attribute_error(attribute, "is not UTF-8"))?;
        Ok(Some(strings))
    }

    /// A tensor.
    pub fn tensor(&self, attribute: &str) -> Result<Option<Tensor>, OnnxError> {
        let Some(proto) = self.get(attribute, TENSOR, |a| a.t.as_ref())? else {
            return Ok(None);
        };
        match Tensor::from_proto(proto) {
            Ok(tensor) => Ok(Some(tensor)),
            Err(TensorError::ElementType(elem)) => {
                Err(self.attribute_error(attribute, &format!("has element type {elem}, which dpc does not read")))
            }
            Err(TensorError::Malformed(problem)) => {
                Err(self.attribute_error(attribute, &format!("is malformed: {problem}")))
            }
        }
    }

    /// A tensor that has to be there.
    pub fn require_tensor(&self, attribute: &str) -> Result<Tensor, OnnxError> {
        self.tensor(attribute)?.ok_or_else(|| self.missing(attribute))
    }

    /// An error about an attribute of this node: `problem` completes the sentence "attribute `x` …".
    pub fn attribute_error(&self, attribute: &str, problem: &str) -> OnnxError {
        OnnxError::Attribute {
            node: self.name.clone(),
            op_type: self.op_type.clone(),
            attribute: attribute.to_owned(),
            problem: problem.to_owned(),
        }
    }

    fn missing(&self, attribute: &str) -> OnnxError {
        self.attribute_error(attribute, "is required and absent")
    }

    fn text(&self, attribute: &str) -> Result<Option<&str>, OnnxError> {
        let Some(bytes) = self.get(attribute, STRING, |a| Some(a.s.as_deref().unwrap_or_default()))? else {
            return Ok(None);
        };
        std::str::from_utf8(bytes).map(Some).map_err(|_| self.attribute_error(attribute, "is not UTF-8"))
    }

    fn get<'a, T>(
        &'a self,
        attribute: &str,
        kind: Kind,
        read: impl Fn(&'a AttributeProto) -> Option<T>,
    ) -> Result<Option<T>, OnnxError> {
        let Some(found) = self.attributes.get(attribute) else {
            return Ok(None);
        };
        if found.r#type() != kind.0 {
            let problem = format!("is {} where {} belongs", describe(found.r#type()), kind.1);
            return Err(self.attribute_error(attribute, &problem));
        }
        match read(found) {
            Some(value) => Ok(Some(value)),
            None => Err(self.attribute_error(attribute, &format!("has no value; it says that it is {}", kind.1))),
        }
    }
}

/// A number of `AttributeProto.AttributeType` and what it stands for.
#[derive(Clone, Copy)]
struct Kind(i32, &'static str);

const FLOAT: Kind = Kind(1, "a float");
const INT: Kind = Kind(2, "an integer");
const STRING: Kind = Kind(3, "a string");
const TENSOR: Kind = Kind(4, "a tensor");
const FLOATS: Kind = Kind(6, "a list of floats");
const INTS: Kind = Kind(7, "a list of integers");
const STRINGS: Kind = Kind(8, "a list of strings");

fn describe(kind: i32) -> &'static str {
    [FLOAT, INT, STRING, TENSOR, FLOATS, INTS, STRINGS]
        .iter()
        .find(|known| known.0 == kind)
        .map_or("of another type", |known| known.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(attribute: AttributeProto) -> OnnxNode {
        let proto = NodeProto {
            op_type: Some("Conv".to_owned()),
            attribute: vec![AttributeProto { name: Some("a".to_owned()), ..attribute }],
            ..NodeProto::default()
        };
        OnnxNode::from_proto(&proto, "/conv1/Conv".to_owned())
    }

    #[test]
    fn attributes_are_read_by_their_type() {
        let ints = node(AttributeProto { r#type: Some(7), ints: vec![1, 2], ..AttributeProto::default() });
        assert_eq!(ints.require_ints("a").unwrap(), [1, 2]);
        assert_eq!(ints.int("absent", 5).unwrap(), 5);
        assert_eq!(
            ints.int("a", 0).unwrap_err().to_string(),
            "node `/conv1/Conv` (Conv): attribute `a` is a list of integers where an integer belongs"
        );
        assert_eq!(
            ints.require_float("axis").unwrap_err().to_string(),
            "node `/conv1/Conv` (Conv): attribute `axis` is required and absent"
        );
        let text =
            node(AttributeProto { r#type: Some(3), s: Some((&b"SAME"[..]).into()), ..AttributeProto::default() });
        assert_eq!(text.string("a", "NOTSET").unwrap(), "SAME");
        let broken =
            node(AttributeProto { r#type: Some(3), s: Some((&[0xff][..]).into()), ..AttributeProto::default() });
        assert!(broken.string("a", "").is_err());
        let empty = node(AttributeProto { r#type: Some(4), ..AttributeProto::default() });
        assert!(empty.tensor("a").is_err());
    }
}
