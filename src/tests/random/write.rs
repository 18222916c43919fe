//! Models, data and results as files, for implementations that are no part of these tests.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use prost::Message;

use super::Model;
use super::check::{ROWS, Values};
use super::net::Kind;

/// Writes `NUMBER.onnx`, and `NUMBER.json` with the inputs and with what dpc has for the outputs, row-major.
pub fn write(
    directory: &Path,
    number: u64,
    model: &Model,
    values: &Values,
    found: &BTreeMap<String, Vec<f32>>,
) -> io::Result<()> {
    let outputs: Vec<_> = model.outputs.iter().chain([&model.loss]).collect();
    std::fs::create_dir_all(directory)?;
    std::fs::write(directory.join(format!("{number}.onnx")), model.net.model(&outputs).encode_to_vec())?;
    let inputs = model.net.inputs.iter().map(|fed| {
        let mut dims = fed.value.dims.clone();
        dims[0] = ROWS;
        serde_json::json!({
            "name": fed.value.name,
            "dims": dims,
            "float": fed.value.kind == Kind::F,
            "values": values[&fed.value.name],
        })
    });
    let bits: BTreeMap<&String, Vec<u32>> =
        found.iter().map(|(name, values)| (name, values.iter().map(|x| x.to_bits()).collect())).collect();
    let file = serde_json::json!({ "inputs": inputs.collect::<Vec<_>>(), "outputs": bits });
    std::fs::write(directory.join(format!("{number}.json")), file.to_string())
}
