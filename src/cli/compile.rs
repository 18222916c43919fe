//! `dpc compile`: an ONNX model into an artifact, or into the text of a stage.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::builder::{PossibleValue, PossibleValuesParser};
use miette::Result;

use super::model::{MAX_BATCH, Model, Private, Trained};
use super::tuning::Tuning;
use super::{output, values};
use crate::compile::{Options, PIPELINE, Pass, Stage};
use crate::device::gpu;
use crate::files::{self, FileError};
use crate::lower::cost::CostModel;
use crate::onnx::Given;
use crate::options::optimizer::OptimizerSpec;
use crate::options::{DeviceChoice, GRAMMAR, Loss, NoiseKind};
use crate::privacy::certificate::InitialValues;

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

    /// Begin with the values of this file, a .safetensors or another ONNX model, for the tensors that have the same name and
    /// shape there, whether they are trained or frozen. The file is taken to be public: no guarantee covers what it was learned
    /// from
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,

    #[command(flatten)]
    private: Private,

    /// sgd, adam or adamw, with options as in sgd:momentum=0.9,nesterov=true,weight_decay=5e-4
    #[arg(long, default_value = "sgd", value_name = "NAME[:KEY=VALUE,…]")]
    optimizer: OptimizerSpec,

    /// What clipped gradients are summed as and noise is drawn as: exact, in integers, or float
    #[arg(long, default_value = "exact", value_name = "KIND")]
    noise: NoiseKind,

    /// Choose the norms by what their kernels take on a device, which measures those that it does not know yet: auto, cpu,
    /// gpu or gpu:NAME
    #[arg(long, value_name = "DEVICE")]
    tune: Option<DeviceChoice>,

    /// The most memory that stored gradients of a physical batch of --max-batch records may take, as in 512MiB or 2GB: where they
    /// do not fit, norms are computed in other ways
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    memory: Option<usize>,

    /// The most rows of a physical batch
    #[arg(long, value_name = "N", default_value_t = MAX_BATCH as u64, value_parser = clap::value_parser!(u64).range(1..=65_535))]
    max_batch: u64,

    /// Print the text of a stage, or of what one pass makes of it, as STAGE.PASS
    #[arg(long, value_parser = emitted(), value_name = "STAGE")]
    emit: Option<String>,

    /// Write the text of the stage to this directory in place of standard output
    #[arg(long, value_name = "DIR", requires = "emit")]
    emit_dir: Option<PathBuf>,

    /// Print how long each pass takes, its verifier included
    #[arg(long)]
    timings: bool,
}

/// The shaders, beside the stages of the pipeline.
const WGSL: &str = "wgsl";

/// What can be printed: the stages, the shaders, and what each single pass makes as `STAGE.PASS`.
fn emitted() -> PossibleValuesParser {
    let stages = Stage::all().map(|stage| PossibleValue::new(stage.name()).help(stage.about()));
    let shaders = PossibleValue::new(WGSL).help("The specialised shaders");
    let passes = PIPELINE.iter().map(|pass| PossibleValue::new(pass_name(pass)).hide(true));
    PossibleValuesParser::new(stages.chain([shaders]).chain(passes))
}

fn pass_name(pass: &Pass) -> String {
    format!("{}.{}", pass.stage.name(), pass.name)
}

pub fn run(args: &Args) -> Result<()> {
    let mut model = Model::open(&args.model, &args.trained)?;
    let given = args.init.as_deref().map(Given::read).transpose()?;
    let initial = given.as_ref().map(|given| model.begin_with(given, &args.trained)).transpose()?;
    let tuning = args.tune.as_ref().map(Tuning::open).transpose()?;
    let mut costs = tuning.as_ref().map_or_else(CostModel::default, |tuning| tuning.model(args.max_batch as usize));
    if let Some(memory) = args.memory {
        costs.memory = memory / args.max_batch as usize;
    }
    let options = Options {
        loss: Some(args.loss.clone()),
        output: args.output.clone(),
        clip: args.private.clip.clone(),
        norm: args.private.norm,
        optimizer: args.optimizer,
        costs,
        precision: args.private.precision,
        views: 1,
        per_sample: false,
        noise: args.noise,
    };
    let emit = args.emit.as_deref();
    let (mut text, mut timings, mut begun) = (None, Vec::new(), Instant::now());
    let compiled = model.compile_seen(&options, &mut |pass, made| {
        timings.push((pass_name(pass), begun.elapsed()));
        if emit == Some(pass.stage.name()) || emit.is_some_and(|emit| emit == pass_name(pass)) {
            let shown = match pass.stage {
                Stage::Program => gpu::listing(made.program()),
                stage => made.text(stage),
            };
            text = Some((format!("{}.txt", emit.unwrap_or_default()), shown));
        }
        begun = Instant::now();
    })?;
    if let Some(tuning) = &tuning {
        tuning.save();
    }
    if args.timings {
        timings
            .iter()
            .for_each(|(pass, time)| output::note(format_args!("{pass:<28} {:>9.3} ms", 1e3 * time.as_secs_f64())));
    }
    let shaders = if emit == Some(WGSL) { gpu::emit::shaders(&compiled.program)? } else { Vec::new() };
    if emit.is_some() {
        let wgsl = shaders.iter().map(|shader| (format!("{}.wgsl", shader.name), shader.wgsl.clone()));
        let texts: Vec<(String, String)> = wgsl.chain(text).collect();
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
    if let Some(initial) = initial {
        output::note(format_args!("{initial}"));
    }
    let mut artifact = model.build(compiled, &options, args.max_batch as usize)?;
    artifact.manifest.initial_values = given.map(|Given { path, sha256, .. }| InitialValues {
        file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        sha256,
    });
    artifact.shaders = shaders.into_iter().map(|shader| (shader.name, shader.wgsl)).collect();
    artifact.save(out)?;
    output::note(format_args!("wrote {}", out.display()));
    Ok(())
}

fn write_texts(directory: &Path, texts: &[(String, String)]) -> Result<(), FileError> {
    std::fs::create_dir_all(directory).map_err(|source| FileError::write(directory, source))?;
    for (name, text) in texts {
        files::write_atomic(&directory.join(name), |file| file.write_all(text.as_bytes()))?;
    }
    Ok(())
}
