//! Models on the command line: an ONNX file, compiled as the flags say, or an artifact.

use std::path::{Path, PathBuf};

use miette::{Diagnostic, Result};
use thiserror::Error;

use super::{output, values};
use crate::artifact::{self, Artifact};
use crate::compile::{Compiled, Options, compile};
use crate::files;
use crate::onnx::{Glob, Parameters, Source, discover};
use crate::options::{Loss, NormChoice};
use crate::privacy::ClipRule;
use crate::train::run_dir::RunDir;
use crate::train::trained::TrainedRun;

/// Rows of a physical batch where nobody says.
pub const MAX_BATCH: usize = 256;

/// Flags that say which parameters are trained.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Trained {
    /// Train only the parameters whose name matches (may be repeated)
    #[arg(long, value_name = "GLOB")]
    train: Vec<String>,

    /// Keep the parameters whose name matches as they are (may be repeated)
    #[arg(long, value_name = "GLOB")]
    freeze: Vec<String>,
}

/// Flags of the private rewrite.
#[derive(clap::Args, Clone, Debug)]
pub struct Private {
    /// How gradients are bounded: flat:C, per-layer:C, per-group:GLOB=C;GLOB=C or auto:C, with options after commas as in
    /// flat:1.0,adaptive,quantile=0.5 or per-layer:1.0,auto,gamma=0.01
    #[arg(long, value_name = "RULE", default_value = "flat:1.0", value_parser = values::with_help::<ClipRule>)]
    pub clip: ClipRule,

    /// How the norms of per-sample gradients are worked out
    #[arg(long, value_enum, default_value_t)]
    pub norm: NormChoice,
}

/// A model read from an ONNX file.
pub struct Model {
    pub source: Source,
    pub parameters: Parameters,
}

#[derive(Debug, Error, Diagnostic)]
enum ModelError {
    #[error("{} is compiled for the loss {compiled}, not {asked}", path.display())]
    #[diagnostic(code(dpc::model::loss), help("leave out --loss, or give the ONNX file"))]
    OtherLoss { path: PathBuf, compiled: String, asked: Loss },
}

impl Model {
    /// Opens an ONNX file and finds its parameters.
    pub fn open(path: &Path, trained: &Trained) -> Result<Self> {
        let source = Source::open(path)?;
        let globs = |patterns: &[String]| patterns.iter().map(Glob::new).collect::<Vec<_>>();
        let parameters = discover(&source, &globs(&trained.train), &globs(&trained.freeze))?;
        Ok(Self { source, parameters })
    }

    pub fn compile(&self, options: &Options) -> Result<Compiled> {
        Ok(compile(&self.source, &self.parameters, options)?)
    }

    /// Prints what the user should know before training.
    pub fn warn(&self, compiled: &Compiled) {
        let notes = [&self.source.notes, &self.parameters.warnings, &compiled.proved.notes];
        notes.into_iter().flatten().for_each(output::warning);
    }

    pub fn build(&self, compiled: Compiled, options: &Options, max_batch: usize) -> Result<Artifact> {
        Ok(artifact::build(&self.source, &self.parameters, compiled, options, max_batch)?)
    }
}

/// What a model is compiled with to be run forward, with `loss` attached where there is one.
pub fn forward_options(loss: Option<Loss>) -> Result<Options> {
    Ok(Options {
        loss,
        output: None,
        clip: ClipRule::flat(1.0)?,
        norm: NormChoice::Auto,
        optimizer: "sgd".parse().map_err(|error: String| miette::miette!("{error}"))?,
        per_sample: false,
    })
}

/// Whether the file is a compiled artifact, by its first bytes.
pub fn is_artifact(path: &Path) -> Result<bool> {
    Ok(files::first_bytes(path, 2)? == b"PK")
}

/// The artifact at `path`, that of a run's directory with its trained parameters, or the one of the ONNX model at `path`
/// with `loss` attached where there is one. Says which parameters of a run they are.
pub fn load(path: &Path, loss: Option<Loss>) -> Result<Artifact> {
    let is_run = path.is_dir();
    if !is_run && !is_artifact(path)? {
        let options = forward_options(loss)?;
        let model = Model::open(path, &Trained::default())?;
        return model.build(model.compile(&options)?, &options, MAX_BATCH);
    }
    let artifact = match is_run {
        true => {
            let trained = TrainedRun::open(path)?;
            output::note(format_args!("{}: the parameters of {}", path.display(), trained.progress()));
            trained.artifact
        }
        false => {
            note_untrained(path);
            Artifact::load(path)?
        }
    };
    match loss {
        Some(asked) if artifact.manifest.loss != Some(asked) => {
            let compiled = artifact.manifest.loss.map_or("none".to_owned(), |loss| loss.to_string());
            Err(ModelError::OtherLoss { path: path.to_owned(), compiled, asked }.into())
        }
        _ => Ok(artifact),
    }
}

/// Says so where the artifact at `path` holds the parameters of a run before training.
pub fn note_untrained(path: &Path) {
    if let Some(directory) = RunDir::of_artifact(path) {
        output::note(format_args!(
            "{}: the parameters before training; those after it are had by {}",
            path.display(),
            directory.path().display()
        ));
    }
}
