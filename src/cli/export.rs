//! `dpc export`: trained parameters as an ONNX or safetensors file.

use std::io::Write;
use std::path::PathBuf;

use miette::{Diagnostic, IntoDiagnostic, Result};
use thiserror::Error;

use super::{model, output};
use crate::artifact::{Artifact, ParameterEntry};
use crate::files;
use crate::onnx::{self, Source};
use crate::tensors::{Tensors, to_safetensors};
use crate::train::finite;
use crate::train::trained::TrainedRun;

/// Write a trained model for other programs
#[derive(clap::Args)]
pub struct Args {
    /// A run's directory, or an artifact for the parameters before training
    #[arg(value_name = "M.dpc|DIR")]
    model: PathBuf,

    /// The file to write, by its ending as ONNX or safetensors
    #[arg(short = 'o', long = "out", value_name = "TRAINED.onnx|.safetensors")]
    out: PathBuf,
}

#[derive(Debug, Error, Diagnostic)]
enum ExportError {
    #[error("{} ends in neither .onnx nor .safetensors", path.display())]
    #[diagnostic(code(dpc::export::format), help("name the file to write TRAINED.onnx or TRAINED.safetensors"))]
    Format { path: PathBuf },

    #[error("what is trained in {} is not finite: {}", path.display(), finite::list(what))]
    #[diagnostic(
        code(dpc::export::not_finite),
        help(
            "such a model computes nothing. Train again, with a smaller --lr or without the records that are not finite; \
             or remove the last file in checkpoints/ of the run to export the one before"
        )
    )]
    NotFinite { path: PathBuf, what: Vec<String> },
}

/// The entry of the metadata that says what is guaranteed, and whether the training has ended.
const METADATA: &str = "dpc.privacy";

pub fn run(args: &Args) -> Result<()> {
    let ending = args.out.extension().and_then(|ending| ending.to_str());
    let is_onnx = match ending {
        Some("onnx") => true,
        Some("safetensors") => false,
        _ => return Err(ExportError::Format { path: args.out.clone() }.into()),
    };
    let (artifact, statement) = match args.model.is_dir() {
        true => {
            let run = TrainedRun::open(&args.model)?;
            let statement = statement(&run);
            (run.artifact, Some(statement))
        }
        false => {
            model::note_untrained(&args.model);
            (Artifact::load(&args.model)?, None)
        }
    };
    let parameters = artifact.weights;
    let trained = artifact.manifest.parameters.iter().filter(|parameter| parameter.trained);
    let trained: Vec<String> = trained.map(|parameter| parameter.name.clone()).collect();
    let what = finite::nonfinite(&trained, &parameters, &Tensors::new());
    if !what.is_empty() {
        return Err(ExportError::NotFinite { path: args.model.clone(), what }.into());
    }
    let mut notes = Vec::new();
    let bytes = if is_onnx {
        let source = Source::from_bytes(artifact.source, &args.model)?;
        notes.extend(without_dropout(&onnx::training_dropouts(&source)));
        let metadata: Vec<(String, String)> =
            statement.into_iter().map(|statement| (METADATA.to_owned(), statement)).collect();
        onnx::export(&source, &parameters, &metadata)?
    } else {
        let parameters = under_every_name(&artifact.manifest.parameters, parameters);
        to_safetensors(&parameters, statement.map(|statement| (METADATA, statement))).into_diagnostic()?
    };
    files::write_atomic(&args.out, |file| file.write_all(&bytes))?;
    notes.iter().for_each(output::warning);
    output::note(format_args!("wrote {}", args.out.display()));
    Ok(())
}

/// The parameters under the names of the file and under those that the module has for one of them besides, tied weights,
/// so that a module loads them strictly.
fn under_every_name(entries: &[ParameterEntry], mut parameters: Tensors) -> Tensors {
    for (name, alias) in entries.iter().flat_map(|entry| entry.aliases.iter().map(move |alias| (&entry.name, alias))) {
        if let Some(tensor) = parameters.get(name).cloned() {
            parameters.entry(alias.clone()).or_insert(tensor);
        }
    }
    parameters
}

/// What a run's certificate states; or, for all to see, that the run has not ended as planned.
fn statement(run: &TrainedRun) -> String {
    let unfinished = run.unfinished();
    if let Some(unfinished) = &unfinished {
        output::warning(format_args!("the run is {unfinished}: the file is marked so"));
    }
    match (unfinished, &run.statement) {
        (None, Some(statement)) => statement.clone(),
        (Some(unfinished), Some(statement)) => format!("{statement} The run is {unfinished}."),
        (unfinished, None) => {
            format!("Nothing is certified: the run is {}.", unfinished.unwrap_or_else(|| run.progress()))
        }
    }
}

/// What whoever trains an exported model further should know.
fn without_dropout(nodes: &[String]) -> Option<String> {
    const MOST: usize = 5;
    let more = nodes.len().saturating_sub(MOST);
    let beside = if more > 0 { format!(" and {more} more") } else { String::new() };
    let shown = nodes.iter().take(MOST).map(|node| format!("`{node}`")).collect::<Vec<_>>().join(", ");
    (!nodes.is_empty()).then(|| {
        format!(
            "Dropout is switched off in the file, which is for inference ({shown}{beside}): a training that begins with it \
             has no Dropout"
        )
    })
}
