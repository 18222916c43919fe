//! Models and data that the page was given.

use std::collections::BTreeMap;
use std::path::Path;

use dpc::artifact::Artifact;
use dpc::device::gpu::emit;
use dpc::train::data::npz::Npz;
use dpc::train::data::{Dataset, Reading, is_csv};
use dpc::{Compiled, Model, Options};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::problem::{choice, result, thrown};
use crate::words;

/// How an ONNX model is compiled; an artifact says it itself.
#[derive(Deserialize)]
struct Choices {
    loss: String,
    clip: String,
    optimizer: String,
}

/// How tables such as CSV become the arrays of a model.
#[derive(Deserialize)]
struct Tables {
    columns: String,
    /// Several between semicolons.
    missing: String,
    /// The vocabularies of the data that were read before.
    fitted: BTreeMap<String, Vec<String>>,
}

/// A model that every record is treated alone by, ready to be trained.
#[wasm_bindgen]
pub struct Opened {
    pub(crate) compiled: &'static Compiled,
}

/// What is to be known of a model.
#[derive(Serialize)]
struct Facts {
    /// The arrays that data need, with the shape of one record.
    inputs: Vec<Array>,
    targets: Vec<Array>,
    trained: usize,
    /// The trained numbers.
    numbers: usize,
    loss: Option<String>,
    clip: String,
    optimizer: String,
    notices: Vec<String>,
}

#[derive(Serialize)]
struct Array {
    name: String,
    dims: Vec<usize>,
}

#[wasm_bindgen]
impl Opened {
    /// Reads an artifact, or checks and compiles an ONNX model by `choices`.
    ///
    /// # Errors
    /// Everything that keeps the model from being trained privately.
    #[wasm_bindgen(constructor)]
    pub fn new(name: &str, bytes: Vec<u8>, choices: &str) -> Result<Opened, JsValue> {
        let compiled = match bytes.starts_with(b"PK") {
            true => Compiled::from(Artifact::from_bytes(name, &bytes).map_err(thrown)?),
            false => {
                let options = options(choices)?;
                Model::from_bytes(bytes).and_then(|model| model.compile(&options)).map_err(thrown)?
            }
        };
        Ok(Opened { compiled: Box::leak(Box::new(compiled)) })
    }

    /// What is to be known of it, as JSON.
    ///
    /// # Errors
    /// None that is expected.
    pub fn facts(&self) -> Result<String, JsValue> {
        let manifest = &self.compiled.artifact().manifest;
        let trained = || manifest.parameters.iter().filter(|entry| entry.trained);
        let inputs = manifest.schema.inputs.iter();
        let targets = manifest.schema.targets.iter();
        result(&Facts {
            inputs: inputs.map(|input| Array { name: input.name.clone(), dims: input.dims.clone() }).collect(),
            targets: targets.map(|target| Array { name: target.name.clone(), dims: target.dims.clone() }).collect(),
            trained: trained().count(),
            numbers: trained().map(|entry| entry.dims.iter().product::<usize>()).sum(),
            loss: manifest.loss.as_ref().map(ToString::to_string),
            clip: manifest.clip.to_string(),
            optimizer: manifest.optimizer.to_string(),
            notices: self.compiled.notices().iter().map(|notice| words::advice(notice)).collect(),
        })
    }

    /// The bytes of its artifact.
    ///
    /// # Errors
    /// When it is too large for one.
    pub fn artifact(&self) -> Result<Vec<u8>, JsValue> {
        self.compiled.artifact().to_bytes().map_err(thrown)
    }

    /// The texts of its shaders on all kinds of GPU, by their names, as JSON.
    ///
    /// # Errors
    /// When a kernel has none.
    pub fn shaders(&self) -> Result<String, JsValue> {
        let shaders = emit::variants(&self.compiled.artifact().program).map_err(thrown)?;
        result(&shaders.into_iter().map(|shader| (shader.name, shader.wgsl)).collect::<BTreeMap<_, _>>())
    }

    /// Reads data for it: an `.npz` archive, or a table by the ending of its name, as `tables` says.
    ///
    /// # Errors
    /// Every way in which they do not fit.
    pub fn data(&self, name: &str, bytes: Vec<u8>, tables: &str) -> Result<Data, JsValue> {
        let dataset = match is_csv(Path::new(name)) {
            true => Dataset::from_csv(name, bytes, self.compiled.schema(), &reading(tables)?).map_err(thrown)?,
            false => {
                let npz = Npz::from_bytes(name, bytes).map_err(thrown)?;
                self.compiled.dataset(npz).map_err(thrown)?
            }
        };
        Ok(Data { dataset: Box::leak(Box::new(dataset)) })
    }
}

/// Records for a model.
#[wasm_bindgen]
pub struct Data {
    pub(crate) dataset: &'static Dataset,
}

#[wasm_bindgen]
impl Data {
    /// How many there are.
    pub fn records(&self) -> usize {
        self.dataset.records()
    }

    /// Whether they have groups, which are then what is protected.
    pub fn grouped(&self) -> bool {
        self.dataset.groups().is_some()
    }

    /// The vocabularies that were taken from them, by column, as JSON.
    ///
    /// # Errors
    /// None that is expected.
    pub fn fitted(&self) -> Result<String, JsValue> {
        result(self.dataset.fitted())
    }
}

fn reading(tables: &str) -> Result<Reading, JsValue> {
    let tables: Tables = serde_json::from_str(tables).map_err(|error| choice("tables")(error.to_string()))?;
    let mut reading = Reading { fitted: tables.fitted, ..Reading::default() };
    if !tables.columns.trim().is_empty() {
        reading.columns = tables.columns.parse().map_err(choice("Columns"))?;
    }
    for value in tables.missing.split(';').filter(|value| !value.trim().is_empty()) {
        reading.missing.extend(value.parse().map_err(choice("Missing values"))?);
    }
    Ok(reading)
}

fn options(choices: &str) -> Result<Options, JsValue> {
    let choices: Choices = serde_json::from_str(choices).map_err(|error| choice("choices")(error.to_string()))?;
    Ok(Options {
        clip: choices.clip.parse().map_err(thrown)?,
        optimizer: choices.optimizer.parse().map_err(choice("optimizer"))?,
        ..Options::private(choices.loss.parse().map_err(choice("loss"))?)
    })
}
