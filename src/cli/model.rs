//! Models on the command line: an ONNX file, compiled as the flags say, or an artifact.

use std::path::{Path, PathBuf};

use miette::{Diagnostic, Result};
use thiserror::Error;

use super::{output, values};
use crate::artifact::{self, Artifact};
use crate::compile::{Compilation, Compiled, Options, Pass, compile, compile_seen};
use crate::device::TARGETS;
use crate::files;
use crate::lower::cost::CostModel;
use crate::onnx::{AxisFixes, BatchAxis, Fix, Given, Glob, Initial, Padding, Parameters, Reading, Source, discover};
use crate::options::{GRAMMAR, Loss, NoiseKind, NormChoice, Precision};
use crate::passes::attach_loss::LossError;
use crate::privacy::ClipRule;
use crate::train::data::{DataError, Dataset};
use crate::train::run_dir::RunDir;
use crate::train::trained::TrainedRun;

/// Rows of a physical batch where nobody says.
pub const MAX_BATCH: usize = 256;

/// Flags that say how an ONNX file is read.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Opening {
    /// Give symbolic axes of an ONNX model a size: SYMBOL=SIZE or INPUT:AXIS=SIZE, several separated by commas (may be
    /// repeated)
    #[arg(long, value_name = "AXIS=SIZE,…", allow_hyphen_values = true)]
    dim: Vec<AxisFixes>,

    /// Rewrite the model where it lets records meet: batch-norm=group, instance or frozen. Sizes of axes may be given here
    /// as well as by --dim
    #[arg(long, value_name = "WHAT=HOW", allow_hyphen_values = true)]
    fix: Vec<Fix>,
}

impl Opening {
    fn reading(&self) -> Reading {
        let fixes = self.dim.iter().flat_map(|AxisFixes(fixes)| fixes.clone()).collect();
        let mut reading = Reading { fixes, batch_norm: None };
        for fix in &self.fix {
            match fix {
                Fix::Axes(AxisFixes(fixes)) => reading.fixes.extend(fixes.iter().cloned()),
                Fix::BatchNorm(substitute) => reading.batch_norm = Some(*substitute),
            }
        }
        reading
    }

    /// Whether a flag is given.
    fn is_given(&self) -> bool {
        !self.dim.is_empty() || !self.fix.is_empty()
    }
}

/// Flags that say which parameters are trained, and how the file is read.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Trained {
    #[command(flatten)]
    opening: Opening,

    /// Train only the parameters whose name matches (may be repeated)
    #[arg(long, value_name = "GLOB")]
    train: Vec<String>,

    /// Keep the parameters whose name matches as they are (may be repeated)
    #[arg(long, value_name = "GLOB")]
    freeze: Vec<String>,

    /// Give row ID of the embedding tables whose name matches no gradient, as padding_idx does (may be repeated)
    #[arg(long, value_name = "GLOB=ID", allow_hyphen_values = true)]
    padding_idx: Vec<Padding>,

    /// The axis of fixed size that holds the records, where no input has a free one (once an input)
    #[arg(long, value_name = "INPUT=AXIS")]
    batch_axis: Vec<BatchAxis>,
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

    /// What a record's values are kept in until the backward pass, and the sums over the batch, take them. Losses, sums and
    /// parameters are of f32 in any case
    #[arg(long, value_enum, default_value_t)]
    pub precision: Precision,
}

/// A model read from an ONNX file.
pub struct Model {
    pub source: Source,
    pub parameters: Parameters,
}

#[derive(Debug, Error, Diagnostic)]
enum ModelError {
    #[error("{} is compiled for the loss {compiled}, not {asked}", path.display())]
    #[diagnostic(code(dpc::model::loss), help("leave out --loss and --output, or give the ONNX file"))]
    OtherLoss { path: PathBuf, compiled: String, asked: Loss },

    #[error("--output {output} is given without a loss")]
    #[diagnostic(code(dpc::model::output), help("leave it out, or give --loss too; an artifact knows its own output"))]
    OutputAlone { output: String },

    #[error("{} is compiled: the ONNX file in it is read already", path.display())]
    #[diagnostic(
        code(dpc::model::read),
        help("leave out the flags that say how an ONNX file is read, or give them to `dpc compile`")
    )]
    Read { path: PathBuf },
}

impl Model {
    /// Opens an ONNX file to train it: with its batch axis, and the parameters.
    pub fn open(path: &Path, trained: &Trained) -> Result<Self> {
        let mut source = Source::open_as(path, &trained.opening.reading())?;
        source.take_batch(&trained.batch_axis)?;
        Self::of(source, trained)
    }

    fn of(source: Source, trained: &Trained) -> Result<Self> {
        let globs = |patterns: &[String]| patterns.iter().map(Glob::new).collect::<Vec<_>>();
        let mut parameters = discover(&source, &globs(&trained.train), &globs(&trained.freeze))?;
        parameters.pad(&trained.padding_idx)?;
        Ok(Self { source, parameters })
    }

    /// Takes the values of another file where names and shapes agree.
    pub fn begin_with(&mut self, given: &Given, trained: &Trained) -> Result<Initial> {
        let (mut source, initial) = given.give(&self.source, &self.parameters)?;
        let notes = std::mem::take(&mut source.notes);
        source.take_batch(&trained.batch_axis)?;
        source.notes = notes;
        *self = Self::of(source, trained)?;
        Ok(initial)
    }

    pub fn compile(&self, options: &Options) -> Result<Compiled> {
        Ok(compile(&self.source, &self.parameters, options, TARGETS)?)
    }

    /// Compiles and shows every pass that has run.
    pub fn compile_seen(
        &self,
        options: &Options,
        seen: &mut dyn FnMut(&Pass, &mut Compilation<'_>),
    ) -> Result<Compiled> {
        Ok(compile_seen(&self.source, &self.parameters, options, TARGETS, seen)?)
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

/// The loss that a model is run forward with, and what it is for.
#[derive(clap::Args, Clone, Debug)]
pub struct LossArgs {
    #[arg(long, allow_hyphen_values = true, help = GRAMMAR)]
    pub loss: Option<Loss>,

    /// The output that a loss without a name of one is for, if the model has several
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,
}

impl LossArgs {
    /// The loss asked for, with the output where that is named apart.
    pub fn named(&self) -> Result<Option<Loss>> {
        match (&self.output, &self.loss) {
            (Some(output), None) => Err(ModelError::OutputAlone { output: output.clone() }.into()),
            (Some(output), Some(loss)) => Ok(Some(on_output(loss, output)?)),
            (None, loss) => Ok(loss.clone()),
        }
    }
}

/// The loss on `output`.
pub fn on_output(loss: &Loss, output: &str) -> Result<Loss, LossError> {
    let mut loss = loss.clone();
    match &mut loss.terms[..] {
        [term] if term.output.is_none() => term.output = Some(output.to_owned()),
        _ => return Err(LossError::OutputTwice { output: output.to_owned(), loss }),
    }
    Ok(loss)
}

/// What a model is compiled with to be run forward, with `loss` attached where there is one.
pub fn forward_options(loss: Option<Loss>) -> Result<Options> {
    Ok(Options {
        loss,
        output: None,
        clip: ClipRule::flat(1.0)?,
        norm: NormChoice::Auto,
        optimizer: "sgd".parse().map_err(|error: String| miette::miette!("{error}"))?,
        costs: CostModel::default(),
        precision: Precision::default(),
        views: 1,
        per_sample: false,
        noise: NoiseKind::Float,
    })
}

/// Whether what is at `path` is compiled: a run's directory, or an artifact by its first bytes.
pub fn is_artifact(path: &Path) -> Result<bool> {
    Ok(path.is_dir() || files::first_bytes(path, 2)? == b"PK")
}

/// The artifact at `path`, that of a run's directory with its trained parameters, or the one of the ONNX model at `path`,
/// read as `opening` says, with `loss` attached where there is one. Says which parameters of a run they are.
pub fn load(path: &Path, loss: Option<Loss>, opening: &Opening) -> Result<Artifact> {
    if !is_artifact(path)? {
        let trained = Trained { opening: opening.clone(), ..Trained::default() };
        let model = match loss {
            Some(_) => Model::open(path, &trained)?,
            // What only runs forward needs no batch axis.
            None => Model::of(Source::open_as(path, &opening.reading())?, &trained)?,
        };
        let options = forward_options(loss)?;
        return model.build(model.compile(&options)?, &options, MAX_BATCH);
    }
    if opening.is_given() {
        return Err(ModelError::Read { path: path.to_owned() }.into());
    }
    let artifact = match path.is_dir() {
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
    let compiled = &artifact.manifest.loss;
    match loss {
        Some(asked) if !compiled.as_ref().is_some_and(|compiled| asked.is(compiled)) => {
            let compiled = compiled.as_ref().map_or("none".to_owned(), Loss::to_string);
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

/// A model compiled by `build`, and the data that `load` reads for it. Where labels have another form than
/// `loss` has by its text, class ids or probabilities of the classes, the model is compiled for theirs, which is said.
pub fn fitted_to_labels(
    loss: &Loss,
    build: impl Fn(&Loss) -> Result<Artifact>,
    load: impl Fn(&Artifact) -> Result<Dataset, DataError>,
) -> Result<(Artifact, Dataset)> {
    let mut loss = loss.clone();
    for _ in 0..loss.terms.len() {
        let artifact = build(&loss)?;
        match load(&artifact) {
            Ok(data) => return Ok((artifact, data)),
            Err(error) => match error.other_loss() {
                Some(other) => {
                    output::note(format_args!("the form of the labels decides: the loss is taken as --loss '{other}'"));
                    loss = other.clone();
                }
                None => return Err(error.into()),
            },
        }
    }
    let artifact = build(&loss)?;
    let data = load(&artifact)?;
    Ok((artifact, data))
}
