//! `dpc check`: whether a model can be trained privately, with every problem at once.

use std::path::PathBuf;

use miette::Result;

use super::model::{Model, Trained, forward_options};
use super::output;
use crate::options::{GRAMMAR, Loss};

/// Report everything that keeps a model from being trained privately
#[derive(clap::Args)]
pub struct Args {
    /// The ONNX model
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,

    #[arg(long, default_value = "mse", allow_hyphen_values = true, help = GRAMMAR)]
    loss: Loss,

    /// The output that a loss without a name of one is for; the first by default
    #[arg(long, value_name = "NAME")]
    output: Option<String>,

    #[command(flatten)]
    trained: Trained,
}

pub fn run(args: &Args) -> Result<()> {
    let model = Model::open(&args.model, &args.trained)?;
    let first = model.source.outputs.first().map(|output| output.name.clone());
    let unnamed = matches!(&args.loss.terms[..], [term] if term.output.is_none());
    let mut options = forward_options(Some(args.loss.clone()))?;
    options.output = args.output.clone().or(first.filter(|_| unnamed));
    let compiled = model.compile(&options)?;
    model.warn(&compiled);
    output::line(format!("{}", model.parameters).trim_end())?;
    output::line(format!(
        "{} treats every record alone and can be trained privately: {} nodes, {} trained parameters",
        args.model.display(),
        model.source.nodes.len(),
        compiled.choices.len(),
    ))
}
