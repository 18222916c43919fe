//! `dpc export`: trained parameters as an ONNX or safetensors file.

use std::io::Write;
use std::path::{Path, PathBuf};

use miette::{Diagnostic, IntoDiagnostic, Result};
use thiserror::Error;

use super::output;
use crate::artifact::Artifact;
use crate::files;
use crate::onnx::{self, Source};
use crate::privacy::certificate::Certificate;
use crate::tensors::{Tensors, to_safetensors};
use crate::train::checkpoint::Checkpoints;
use crate::train::run_dir::RunDir;

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

    #[error("{} holds no checkpoint", path.display())]
    #[diagnostic(code(dpc::export::untrained), help("train first: dpc train M.dpc --out {}", path.display()))]
    Untrained { path: PathBuf },
}

pub fn run(args: &Args) -> Result<()> {
    let ending = args.out.extension().and_then(|ending| ending.to_str());
    let is_onnx = match ending {
        Some("onnx") => true,
        Some("safetensors") => false,
        _ => return Err(ExportError::Format { path: args.out.clone() }.into()),
    };
    let (artifact, parameters, statement) = match args.model.is_dir() {
        true => trained(&args.model)?,
        false => {
            let artifact = Artifact::load(&args.model)?;
            let parameters = artifact.weights.clone();
            (artifact, parameters, None)
        }
    };
    let bytes = if is_onnx {
        let source = Source::from_bytes(artifact.source.into(), &args.model)?;
        let metadata: Vec<(String, String)> =
            statement.into_iter().map(|statement| ("dpc.privacy".to_owned(), statement)).collect();
        onnx::export(&source, &parameters, &metadata)?
    } else {
        to_safetensors(&parameters, statement.map(|statement| ("dpc.privacy", statement))).into_diagnostic()?
    };
    files::write_atomic(&args.out, |file| file.write_all(&bytes))?;
    output::note(format_args!("wrote {}", args.out.display()));
    Ok(())
}

/// The artifact of a run, its parameters at the last checkpoint, and what its certificate states if it has ended.
fn trained(directory: &Path) -> Result<(Artifact, Tensors, Option<String>)> {
    let directory = RunDir::new(directory);
    let artifact = Artifact::load(&directory.artifact())?;
    let Some(checkpoint) = Checkpoints::at(&directory.checkpoints()).latest()? else {
        return Err(ExportError::Untrained { path: directory.path().to_owned() }.into());
    };
    let statement = match directory.certificate().exists() {
        true => Some(Certificate::read(&directory.certificate())?.statement),
        false => None,
    };
    Ok((artifact, checkpoint.parameters, statement))
}
