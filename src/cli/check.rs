//! `dpc check`: whether a model can be trained privately, with every problem at once.

use std::io::Write;
use std::path::{Path, PathBuf};

use miette::Result;

use super::model::{Model, Trained, forward_options};
use super::output;
use crate::compile::{CompileError, compile};
use crate::device::TARGETS;
use crate::device::cpu::Cpu;
use crate::files;
use crate::import::Refusal;
use crate::onnx::{Source, trial};
use crate::options::{GRAMMAR, Loss};
use crate::picture;
use crate::train::empirical::{RECORDS, exchange};

/// Report everything that keeps a model from being trained privately
#[derive(clap::Args)]
pub struct Args {
    /// The ONNX model
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,

    #[arg(long, default_value = "mse", allow_hyphen_values = true, help = GRAMMAR)]
    loss: Loss,

    /// The output that a loss without a name of one is for; the first of floats by default
    #[arg(long, value_name = "NAME")]
    output: Option<String>,

    #[command(flatten)]
    trained: Trained,

    /// Also exchange single records of random data, and see that no other record's loss changes by a bit
    #[arg(long)]
    empirical: bool,

    /// Draw the model to this file, with the nodes marked that are refused
    #[arg(long, value_name = "FILE.svg")]
    svg: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    let model = Model::open(&args.model, &args.trained)?;
    let outputs = &model.source.outputs;
    let float = outputs.iter().find(|output| output.dtype.is_none_or(|elem| elem.is_float()));
    let first = float.or(outputs.first()).map(|output| output.name.clone());
    let unnamed = matches!(&args.loss.terms[..], [term] if term.output.is_none());
    let mut options = forward_options(Some(args.loss.clone()))?;
    options.output = args.output.clone().or(first.filter(|_| unnamed));
    let compiled = compile(&model.source, &model.parameters, &options, TARGETS);
    if let Some(path) = &args.svg {
        draw(&model.source, compiled.as_ref().map_or_else(problems, |_| &[]), path)?;
    }
    let compiled = match compiled {
        Ok(compiled) => compiled,
        Err(error) => {
            if args.empirical && !problems(&error).is_empty() {
                try_file(&model.source);
            }
            return Err(error.into());
        }
    };
    model.warn(&compiled);
    output::line(format!("{}", model.parameters).trim_end())?;
    output::line(format!(
        "{} treats every record alone and can be trained privately: {} nodes, {} trained parameters",
        args.model.display(),
        model.source.nodes.len(),
        compiled.choices.len(),
    ))?;
    if args.empirical {
        let artifact = model.build(compiled, &options, RECORDS)?;
        let trial = exchange(&artifact, &Cpu)?;
        output::line(format!(
            "exchanging each of {RECORDS} random records for another changed no other record's loss or gradient by a bit on \
             the cpu, and its own in {} cases",
            trial.moved
        ))?;
    }
    Ok(())
}

/// The nodes that a model is refused for.
fn problems(error: &CompileError) -> &[Refusal] {
    match error {
        CompileError::Refused(refused) => &refused.problems,
        CompileError::FixedBatch { problems, .. } => problems,
        _ => &[],
    }
}

fn draw(source: &Source, problems: &[Refusal], path: &Path) -> Result<()> {
    let text =
        picture::draw(source, problems).map_err(|why| miette::miette!("{} cannot be drawn: {why}", path.display()))?;
    files::write_atomic(path, |file| file.write_all(text.as_bytes()))?;
    output::note(format_args!("wrote {}", path.display()));
    Ok(())
}

/// What running the file says of a model that is refused.
fn try_file(source: &Source) {
    match trial::exchange(source) {
        Ok(influences) if influences.is_empty() => output::note(format_args!(
            "exchanging one random record for another changed no output of the others, which proves nothing"
        )),
        Ok(influences) => influences.iter().for_each(|influence| {
            output::note(format_args!(
                "exchanging record {} of random data changed `{}` of the records {:?} too",
                influence.exchanged, influence.output, influence.others
            ));
        }),
        Err(why) => output::note(format_args!("the model cannot be tried out: {why}")),
    }
}
