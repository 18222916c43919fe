//! `dpc run`: a model's outputs, forward only.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use miette::Result;

use super::{model, output};
use crate::device;
use crate::options::DeviceChoice;
use crate::train::data::is_bytes;
use crate::train::data::npz::{self, Npz};
use crate::train::predict::predict;

/// Run a model forward on the arrays of a file
#[derive(clap::Args)]
pub struct Args {
    /// The artifact, the directory of a run for its trained parameters, or the ONNX model
    #[arg(value_name = "M.dpc|DIR|MODEL.onnx")]
    model: PathBuf,

    #[command(flatten)]
    opening: model::Opening,

    /// The inputs, by their ONNX names and in their ONNX shapes; bytes for floats are divided by 255
    #[arg(long, value_name = "IN.npz")]
    data: PathBuf,

    /// The file to write: the outputs, by their ONNX names
    #[arg(long, value_name = "OUT.npz")]
    out: PathBuf,

    /// auto, cpu, gpu or gpu:NAME
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
}

pub fn run(args: &Args) -> Result<()> {
    let artifact = model::load(&args.model, None, &args.opening)?;
    let mut file = Npz::open(&args.data)?;
    let mut inputs = BTreeMap::new();
    for name in artifact.manifest.inputs.keys() {
        inputs.insert(name.clone(), file.read(name)?);
    }
    let source = args.data.display().to_string();
    let schemas = artifact.manifest.schema.inputs.iter().chain(&artifact.manifest.shared);
    let bytes = schemas.filter(|input| inputs.get(&input.name).is_some_and(|array| is_bytes(input, array.dtype())));
    output::bytes(&source, &bytes.map(|input| input.name.clone()).collect::<Vec<_>>());
    let device = device::open(&args.device)?;
    let outputs = predict(&*device, &Arc::new(artifact), &source, &inputs)?;
    Ok(npz::write(&args.out, &outputs)?)
}
