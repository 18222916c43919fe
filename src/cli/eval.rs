//! `dpc eval`: loss, accuracy and other measures on a data set.

use std::path::PathBuf;
use std::sync::Arc;

use miette::{Diagnostic, Result};
use thiserror::Error;

use super::data::DataArgs;
use super::model::LossArgs;
use super::{model, output};
use crate::artifact::Artifact;
use crate::device;
use crate::lower::program::Phase;
use crate::options::{DeviceChoice, Loss};
use crate::train::engine::Engine;
use crate::train::evaluate::{Scored, evaluate};

/// Work out loss, accuracy and other measures on a data set
#[derive(clap::Args)]
pub struct Args {
    /// The artifact, the directory of a run for its trained parameters, or the ONNX model
    #[arg(value_name = "M.dpc|DIR|MODEL.onnx")]
    model: PathBuf,

    #[command(flatten)]
    opening: model::Opening,

    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    loss: LossArgs,

    /// auto, cpu, gpu or gpu:NAME
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Error, Diagnostic)]
#[error("an ONNX model has no loss of its own")]
#[diagnostic(code(dpc::eval::loss), help("say what it is with --loss, as in --loss cross-entropy"))]
struct NoLoss;

pub fn run(args: &Args) -> Result<()> {
    let load = |artifact: &Artifact| args.data.load(&artifact.manifest.schema);
    let (artifact, data) = match args.loss.named()? {
        Some(loss) if !model::is_artifact(&args.model)? => {
            let compile = |loss: &Loss| model::load(&args.model, Some(loss.clone()), &args.opening);
            model::fitted_to_labels(&loss, compile, load)?
        }
        loss => {
            let artifact = model::load(&args.model, loss, &args.opening)?;
            Scored::of(&artifact.manifest).ok_or(NoLoss)?;
            let data = load(&artifact)?;
            (artifact, data)
        }
    };
    let scored = Scored::of(&artifact.manifest).ok_or(NoLoss)?;
    let device = device::open(&args.device)?;
    let rows = artifact.manifest.max_batch.min(data.records());
    let program = Arc::new(artifact.program);
    let mut engine = Engine::new(&*device, program, &artifact.weights, rows, &[Phase::Forward])?;
    let evaluation = evaluate(&mut engine, &data, &scored)?;
    evaluation.warnings().iter().for_each(output::warning);
    if args.json {
        return output::json(&evaluation);
    }
    output::line(format!("{} on {} records", evaluation.text(6), evaluation.records))
}
