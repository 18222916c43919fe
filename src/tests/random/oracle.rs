//! tract's forward pass.

use std::collections::BTreeMap;
use std::io::Cursor;

use prost::Message;
use tract_onnx::prelude::*;

use super::Model;
use super::check::{ROWS, Values};
use super::net::Kind;
use crate::panics::contained;

/// Where tract differs from onnxruntime, which agrees with dpc there: the operator, an attribute, and when.
const MISTAKEN: &[(&str, &str, &str)] = &[
    ("Celu", "alpha", "of another alpha than 1"),
    ("Swish", "alpha", "of another alpha than 1"),
    ("GlobalLpPool", "", "always"),
    ("GRU", "direction", "in reverse"),
    ("LSTM", "direction", "in reverse"),
    ("RNN", "direction", "in reverse"),
    ("LSTM", "input_forget", "where it is set"),
    ("RNN", "activations", "of other activations than tanh"),
    ("Einsum", "equation", "of an ellipsis that stands for axes of one operand: it is lost"),
];

/// The outputs of a model, as floats, where tract has them and is not mistaken.
pub fn outputs(model: &Model, values: &Values) -> Result<BTreeMap<String, Vec<f32>>, String> {
    let has = |(op, attribute, why): &(&str, &str, &'static str)| {
        let node = model.net.nodes().iter().find(|node| {
            let own = node.attribute.iter().find(|own| own.name() == *attribute);
            let harmless = |text: &[u8]| match *op {
                "Einsum" => !text.starts_with(b"..."),
                _ => text == b"forward" || text == b"bidirectional",
            };
            let given = attribute.is_empty() || own.is_some_and(|own| !harmless(own.s()));
            node.op_type() == *op && given
        });
        node.map(|_| *why)
    };
    if let Some(why) = MISTAKEN.iter().find_map(has) {
        return Err(why.to_owned());
    }
    let wanted: Vec<_> = model.outputs.iter().chain([&model.loss]).collect();
    let bytes = model.net.model(&wanted).encode_to_vec();
    let run = || -> TractResult<BTreeMap<String, Vec<f32>>> {
        let mut read = tract_onnx::onnx().model_for_read(&mut Cursor::new(bytes))?;
        let mut inputs = tvec![];
        for (k, fed) in model.net.inputs.iter().enumerate() {
            let mut dims = fed.value.dims.clone();
            dims[0] = ROWS;
            let data = &values[&fed.value.name];
            let tensor = match fed.value.kind {
                Kind::F => Tensor::from_shape(&dims, &data.iter().map(|&x| x as f32).collect::<Vec<_>>())?,
                _ => Tensor::from_shape(&dims, &data.iter().map(|&x| x as i64).collect::<Vec<_>>())?,
            };
            read = read.with_input_fact(k, tensor.datum_type().fact(&dims).into())?;
            inputs.push(tensor.into_tvalue());
        }
        let found = read.into_typed()?.into_runnable()?.run(inputs)?;
        let mut outputs = BTreeMap::new();
        for (value, tensor) in wanted.iter().zip(found) {
            let floats = tensor.cast_to::<f32>()?.into_owned();
            outputs.insert(value.name.clone(), floats.try_as_plain_ram()?.as_slice::<f32>()?.to_vec());
        }
        Ok(outputs)
    };
    match contained(run) {
        Ok(result) => result.map_err(|error| error.root_cause().to_string()),
        Err(panic) => Err(panic),
    }
}
