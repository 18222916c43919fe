//! `dpc eval`: loss and accuracy on a data set.

use std::path::PathBuf;
use std::sync::Arc;

use miette::{Diagnostic, Result};
use thiserror::Error;

use super::data::DataArgs;
use super::{model, output};
use crate::device;
use crate::lower::program::Phase;
use crate::options::{DeviceChoice, Loss};
use crate::train::engine::Engine;
use crate::train::evaluate::{Scored, evaluate};

/// Work out loss and accuracy on a data set
#[derive(clap::Args)]
pub struct Args {
    /// The artifact, the directory of a run for its trained parameters, or the ONNX model
    #[arg(value_name = "M.dpc|DIR|MODEL.onnx")]
    model: PathBuf,

    #[command(flatten)]
    data: DataArgs,

    /// The loss, for an ONNX model
    #[arg(long)]
    loss: Option<Loss>,

    /// auto, cpu, gpu or gpu:NAME
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Error, Diagnostic)]
#[error("an ONNX model has no loss of its own")]
#[diagnostic(code(dpc::eval::loss), help("give --loss cross-entropy, mse or bce"))]
struct NoLoss;

pub fn run(args: &Args) -> Result<()> {
    let artifact = model::load(&args.model, args.loss)?;
    let scored = Scored::of(&artifact.manifest).ok_or(NoLoss)?;
    let data = args.data.load(&artifact.manifest.schema)?;
    let device = device::open(&args.device)?;
    let rows = artifact.manifest.max_batch.min(data.records());
    let program = Arc::new(artifact.program);
    let mut engine = Engine::new(&*device, program, &artifact.weights, rows, &[Phase::Forward])?;
    let evaluation = evaluate(&mut engine, &data, &scored)?;
    if !evaluation.loss.is_finite() {
        output::warning("the loss is not finite: some record has no finite loss");
    }
    if args.json {
        return output::json(&evaluation);
    }
    let accuracy = evaluation.accuracy.map(|accuracy| format!(", accuracy {:.2} %", 100.0 * accuracy));
    output::line(format!(
        "loss {:.6}{} on {} records",
        evaluation.loss,
        accuracy.unwrap_or_default(),
        evaluation.records
    ))
}
