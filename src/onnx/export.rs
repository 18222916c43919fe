//! Trained values, written back into the model that they came from.

use prost::Message;

use super::error::OnnxError;
use super::lift::Lifted;
use super::linear;
use super::proto::{GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto, ValueInfoProto};
use super::source::Source;
use super::tensor::{Elem, f32_to_raw};
use crate::tensors::Tensors;

/// The source model with the values of `trained` in place of its initialisers' and `metadata` added to its properties.
///
/// Names, shapes, element types, attributes and the order of everything are the source's. External data is taken into
/// the file, a parameter that stood behind Identity as the equal of another becomes an initialiser, and Dropout is
/// switched to inference by leaving out its `training_mode` operand.
///
/// # Errors
///
/// [`OnnxError::ExportMismatch`] with every value that is no float initialiser of the source or has another shape,
/// [`OnnxError::ExportSize`] for a model of 2 GiB or more.
pub fn export(source: &Source, trained: &Tensors, metadata: &[(String, String)]) -> Result<Vec<u8>, OnnxError> {
    let mut model = with_values(source, trained)?;
    if let Some(graph) = &mut model.graph {
        infer_dropout(graph);
    }
    for (key, value) in metadata {
        model.metadata_props.retain(|entry| entry.key() != key);
        model.metadata_props.push(StringStringEntryProto { key: Some(key.clone()), value: Some(value.clone()) });
    }
    encoded(&model)
}

/// The source model with `values` in place of its initialisers', and nothing else changed but as in [`export`].
///
/// # Errors
///
/// As [`export`].
pub(super) fn with_values(source: &Source, values: &Tensors) -> Result<ModelProto, OnnxError> {
    check(source, values)?;
    let mut model = source.model.clone();
    if let Some(graph) = &mut model.graph {
        for tensor in &mut graph.initializer {
            if let Some(values) = values.get(tensor.name()) {
                replace(tensor, &values.data);
            }
        }
        constants(graph, source, values);
        linear::write_back(graph, |name| values.get(name).map(|values| values.data.as_slice()));
        copies(graph, model.ir_version.unwrap_or_default(), source, values);
    }
    Ok(model)
}

/// The bytes of a model's file.
pub(super) fn encoded(model: &ModelProto) -> Result<Vec<u8>, OnnxError> {
    match model.encoded_len() {
        bytes if bytes > LARGEST_FILE => Err(OnnxError::ExportSize { bytes }),
        _ => Ok(model.encode_to_vec()),
    }
}

/// The most bytes of a protocol buffer.
const LARGEST_FILE: usize = i32::MAX as usize;

fn check(source: &Source, trained: &Tensors) -> Result<(), OnnxError> {
    let mut values = Vec::new();
    for (name, tensor) in trained {
        match source.initializers.get(name) {
            Some(original) if original.floats().is_none() => {
                values.push(format!("`{name}`: not of floats in the model"))
            }
            Some(original) if original.dims != tensor.dims || original.len() != tensor.data.len() => {
                values.push(format!(
                    "`{name}`: shape {:?} with {} elements, {:?} in the model",
                    tensor.dims,
                    tensor.data.len(),
                    original.dims
                ))
            }
            Some(_) => {}
            None => values.push(format!("`{name}`: not in the model")),
        }
    }
    if values.is_empty() { Ok(()) } else { Err(OnnxError::ExportMismatch { values }) }
}

/// Gives a float tensor other values, in its own element type.
fn replace(tensor: &mut TensorProto, values: &[f32]) {
    tensor.raw_data = Some(f32_to_raw(Elem::from_onnx(tensor.data_type()), values).into());
    tensor.float_data.clear();
    tensor.double_data.clear();
    tensor.int32_data.clear();
}

/// Gives Constant nodes that are weights their trained values.
fn constants(graph: &mut GraphProto, source: &Source, trained: &Tensors) {
    for node in &mut graph.node {
        let Some(output) = node.output.first().filter(|output| is_written_by(node, output, source)) else { continue };
        let Some(values) = trained.get(output) else { continue };
        let attribute = node.attribute.iter_mut().find(|attribute| attribute.name() == "value");
        if let Some(tensor) = attribute.and_then(|attribute| attribute.t.as_mut()) {
            replace(tensor, &values.data);
        }
    }
}

/// Puts an initialiser in the place of each Identity of one that it was equal to: they are not equal any more.
fn copies(graph: &mut GraphProto, ir_version: i64, source: &Source, trained: &Tensors) {
    let mut copies = Vec::new();
    graph.node.retain(|node| match node.output.first().filter(|output| is_written_by(node, output, source)) {
        Some(output) if source.lifted.get(output) == Some(&Lifted::Copy) => {
            copies.push((output.clone(), node.input.first().cloned().unwrap_or_default()));
            false
        }
        _ => true,
    });
    for (name, original) in copies {
        let Some(stored) = graph.initializer.iter().find(|tensor| tensor.name() == original) else { continue };
        let mut tensor = TensorProto { name: Some(name.clone()), ..stored.clone() };
        let values = trained.get(&name).map(|values| values.data.as_slice());
        if let Some(values) = values.or_else(|| source.initializers.get(&name)?.floats()) {
            replace(&mut tensor, values);
        }
        if ir_version < INITIALIZERS_ALONE
            && let Some(input) = graph.input.iter().find(|input| input.name() == original)
        {
            graph.input.push(ValueInfoProto { name: Some(name), ..input.clone() });
        }
        graph.initializer.push(tensor);
    }
}

/// The first IR version whose initialisers need not be inputs as well.
const INITIALIZERS_ALONE: i64 = 4;

/// Whether `node` is how the file writes the weight `output`.
fn is_written_by(node: &NodeProto, output: &str, source: &Source) -> bool {
    source.lifted.get(output).is_some_and(|how| match how {
        Lifted::Constant | Lifted::Literal => node.op_type() == "Constant",
        Lifted::Copy => node.op_type() == "Identity",
        Lifted::Attribute => false,
    })
}

fn infer_dropout(graph: &mut GraphProto) {
    graph.node.iter_mut().filter(|node| is_dropout(node)).for_each(|node| node.input.truncate(TRAINING_MODE));
}

/// The position of a Dropout's operand that says whether it is on.
const TRAINING_MODE: usize = 2;

fn is_dropout(node: &NodeProto) -> bool {
    node.op_type() == "Dropout" && matches!(node.domain(), "" | "ai.onnx")
}

/// The names of the Dropout nodes that may be on in the source, and that [`export`] switches off.
pub fn training_dropouts(source: &Source) -> Vec<String> {
    let nodes = source.model.graph.iter().flat_map(|graph| &graph.node);
    let on =
        nodes.filter(|node| is_dropout(node) && node.input.get(TRAINING_MODE).is_some_and(|mode| !mode.is_empty()));
    let name = |node: &NodeProto| match (node.name(), node.output.first()) {
        ("", Some(output)) => output.clone(),
        (name, _) => name.to_owned(),
    };
    on.map(name).collect()
}
