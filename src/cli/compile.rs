//! `dpc compile`: an ONNX model into an artifact, or into the text of a stage.

use std::io::Write;
use std::path::{Path, PathBuf};

use miette::Result;

use super::model::{MAX_BATCH, Model, Private, Trained};
use super::output;
use crate::compile::{Compiled, Options};
use crate::device::gpu;
use crate::device::gpu::emit::{self, Shader};
use crate::files::{self, FileError};
use crate::options::{GRAMMAR, Loss};
use crate::train::optimizer::OptimizerSpec;

/// Compile an ONNX model into a differentially private trainer
#[derive(clap::Args)]
pub struct Args {
    /// The ONNX model
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,

    /// The artifact to write
    #[arg(short = 'o', long = "out", value_name = "M.dpc", required_unless_present = "emit")]
    out: Option<PathBuf>,

    #[arg(long, allow_hyphen_values = true, help = GRAMMAR)]
    loss: Loss,

    /// The output that a loss without a name of one is for, if the model has several
    #[arg(long, value_name = "NAME")]
    output: Option<String>,

    #[command(flatten)]
    trained: Trained,

    #[command(flatten)]
    private: Private,

    /// sgd, adam or adamw, with options as in sgd:momentum=0.9,nesterov=true,weight_decay=5e-4
    #[arg(long, default_value = "sgd", value_name = "NAME[:KEY=VALUE,…]")]
    optimizer: OptimizerSpec,

    /// The most rows of a physical batch
    #[arg(long, value_name = "N", default_value_t = MAX_BATCH as u64, value_parser = clap::value_parser!(u64).range(1..=65_535))]
    max_batch: u64,

    /// Print the text of a stage
    #[arg(long, value_enum, value_name = "STAGE")]
    emit: Option<Stage>,

    /// Write the text of the stage to this directory in place of standard output
    #[arg(long, value_name = "DIR", requires = "emit")]
    emit_dir: Option<PathBuf>,
}

/// A stage of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Stage {
    /// The proved forward graph with its loss
    Graph,
    /// With the gradient of every trained parameter
    Gradients,
    /// With the gradients rewritten to be private
    Private,
    /// The lowered program
    Program,
    /// The specialised shaders
    Wgsl,
}

pub fn run(args: &Args) -> Result<()> {
    let model = Model::open(&args.model, &args.trained)?;
    let options = Options {
        loss: Some(args.loss.clone()),
        output: args.output.clone(),
        clip: args.private.clip.clone(),
        norm: args.private.norm,
        optimizer: args.optimizer,
        per_sample: false,
    };
    let compiled = model.compile(&options)?;
    let shaders = match args.emit {
        Some(Stage::Wgsl) => emit::shaders(&compiled.program)?,
        _ => Vec::new(),
    };
    if let Some(stage) = args.emit {
        let texts = texts(&compiled, stage, &shaders);
        match &args.emit_dir {
            Some(directory) => write_texts(directory, &texts)?,
            None => {
                for (_, text) in &texts {
                    output::line(text.trim_end())?;
                }
            }
        }
    }
    let Some(out) = &args.out else {
        return Ok(());
    };
    model.warn(&compiled);
    output::note(format_args!("{}", model.parameters));
    let mut artifact = model.build(compiled, &options, args.max_batch as usize)?;
    artifact.shaders = shaders.into_iter().map(|shader| (shader.name, shader.wgsl)).collect();
    artifact.save(out)?;
    output::note(format_args!("wrote {}", out.display()));
    Ok(())
}

/// The files of a stage: name and text.
fn texts(compiled: &Compiled, stage: Stage, shaders: &[Shader]) -> Vec<(String, String)> {
    let one = |name: &str, text: String| vec![(name.to_owned(), text)];
    match stage {
        Stage::Graph => one("graph.txt", compiled.graph.to_string()),
        Stage::Gradients => one("gradients.txt", compiled.gradients.to_string()),
        Stage::Private => one("private.txt", compiled.private.to_string()),
        Stage::Program => one("program.txt", gpu::listing(&compiled.program)),
        Stage::Wgsl => shaders.iter().map(|shader| (format!("{}.wgsl", shader.name), shader.wgsl.clone())).collect(),
    }
}

fn write_texts(directory: &Path, texts: &[(String, String)]) -> Result<(), FileError> {
    std::fs::create_dir_all(directory).map_err(|source| FileError::write(directory, source))?;
    for (name, text) in texts {
        files::write_atomic(&directory.join(name), |file| file.write_all(text.as_bytes()))?;
    }
    Ok(())
}
