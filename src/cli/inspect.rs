//! `dpc inspect`: what a compiled model is made of, and what it costs.

use std::io::Write;
use std::path::PathBuf;

use miette::{Diagnostic, Result};
use thiserror::Error;

use super::model::LossArgs;
use super::{costs, model, output};
use crate::artifact::{Artifact, Reopened};
use crate::compile::compile;
use crate::device::TARGETS;
use crate::files;
use crate::graph::product;
use crate::lower::program::{Phase, Program};
use crate::options::{DeviceChoice, Loss};
use crate::picture;

/// Show parameters, norm strategies, kernels, FLOPs and memory
#[derive(clap::Args)]
pub struct Args {
    /// The artifact, the directory of a run for its trained parameters, or the ONNX model
    #[arg(value_name = "M.dpc|DIR|MODEL.onnx")]
    model: PathBuf,

    #[command(flatten)]
    opening: model::Opening,

    #[command(flatten)]
    loss: LossArgs,

    /// Show what a private step costs on a device, kernel by kernel, and what other norms would: auto, cpu, gpu or gpu:NAME
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceChoice>,

    /// Records of the step, in one physical batch
    #[arg(long, value_name = "B", default_value_t = 64, requires = "device", value_parser = clap::value_parser!(u64).range(1..=65_535))]
    batch: u64,

    /// Run the step too, and show what each kernel took beside what was predicted
    #[arg(long, requires = "device")]
    measure: bool,

    /// Draw the graph that private training runs, by layers: what they compute, their norms, the clip factor and the clipped sums
    #[arg(long, value_name = "FILE.svg", conflicts_with = "device")]
    svg: Option<PathBuf>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("{} has no loss, and so no gradients to draw", path.display())]
#[diagnostic(code(dpc::inspect::loss), help("give one by --loss"))]
struct NoLoss {
    path: PathBuf,
}

/// Below the largest of the artifact.
const BATCHES: [usize; 5] = [1, 16, 64, 256, 1024];

pub fn run(args: &Args) -> Result<()> {
    let artifact = model::load(&args.model, args.loss.named()?, &args.opening)?;
    if let Some(path) = &args.svg {
        if artifact.manifest.loss.is_none() {
            return Err(NoLoss { path: args.model.clone() }.into());
        }
        let Reopened { source, parameters, options } = artifact.reopened()?;
        let compiled = compile(&source, &parameters, &options, TARGETS)?;
        let text = picture::draw_private(&compiled.private)
            .map_err(|why| miette::miette!("{} cannot be drawn: {why}", args.model.display()))?;
        files::write_atomic(path, |file| file.write_all(text.as_bytes()))?;
        output::note(format_args!("wrote {}", path.display()));
        return Ok(());
    }
    match &args.device {
        Some(device) => output::line(costs::text(&artifact, device, args.batch as usize, args.measure)?.trim_end()),
        None => output::line(text(&artifact).trim_end()),
    }
}

/// Everything there is to see.
pub fn text(artifact: &Artifact) -> String {
    [settings, parameters, norms, clip_groups, phases, memory].map(|part| part(artifact)).join("\n")
}

fn settings(artifact: &Artifact) -> String {
    let manifest = &artifact.manifest;
    let loss = manifest.loss.as_ref().map_or("none".to_owned(), Loss::to_string);
    let mut text = format!(
        "compiled by {}: loss {loss}, clip {}, optimizer {}, physical batches of up to {}\n",
        manifest.compiler, manifest.clip, manifest.optimizer, manifest.max_batch
    );
    if !manifest.precision.is_default() {
        text += &format!("values that wait for the backward pass are kept in {}\n", manifest.precision.name());
    }
    for (name, axes) in &manifest.inputs {
        text += &format!("input {name} {axes}\n");
    }
    for output in &manifest.outputs {
        text += &format!("output {} {}\n", output.name, output.axes);
    }
    text
}

fn parameters(artifact: &Artifact) -> String {
    let entries = &artifact.manifest.parameters;
    let count = |dims: &[usize]| dims.iter().product::<usize>();
    let trained: usize = entries.iter().filter(|p| p.trained).map(|p| count(&p.dims)).sum();
    let total: usize = entries.iter().map(|p| count(&p.dims)).sum();
    let mut text = format!("parameters: {trained} trained of {total}\n");
    let rows = entries.iter().map(|p| {
        let kind = if p.trained { "trained" } else { "frozen" };
        [p.name.clone(), format!("{:?}", p.dims), count(&p.dims).to_string(), kind.to_owned()]
    });
    text += &table(rows.collect());
    text
}

fn norms(artifact: &Artifact) -> String {
    let rows = artifact.manifest.norms.iter().map(|choice| {
        let strategies: Vec<&str> = choice.strategies.iter().map(|strategy| strategy.name()).collect();
        [choice.parameter.clone(), strategies.join(" + "), choice.why.clone()]
    });
    format!("norms of per-sample gradients\n{}", table(rows.collect()))
}

fn clip_groups(artifact: &Artifact) -> String {
    let rows = artifact.manifest.clip_groups.iter().map(|group| {
        let bound = format!("bound {:?}", group.bound);
        [group.name.clone(), bound, group.parameters.join(" ")]
    });
    format!("clip groups\n{}", table(rows.collect()))
}

fn phases(artifact: &Artifact) -> String {
    let rows = artifact.program.phases.keys().map(|&phase| {
        let dispatches = artifact.program.phase(phase);
        let flops: u64 = dispatches.iter().map(|dispatch| dispatch.kernel.rules().flops(1)).sum();
        let per = match phase {
            Phase::Forward | Phase::Private | Phase::Plain => "a record",
            Phase::Fold => "a unit of several records",
            Phase::Collect | Phase::Update | Phase::Release => "a step",
        };
        [phase.name().to_owned(), format!("{} kernels", dispatches.len()), format!("{flops} FLOP {per}")]
    });
    format!("phases\n{}", table(rows.collect()))
}

fn memory(artifact: &Artifact) -> String {
    let last = artifact.program.private_update();
    let records = [Phase::Forward, Phase::Private, last];
    let units = [Phase::Forward, Phase::Plain, Phase::Fold, Phase::Collect, last];
    let [records, units] = [&records[..], &units].map(|phases| artifact.program.restricted(phases));
    let mib = |program: &Program, batch| TARGETS.bytes(program, batch) as f64 / f64::from(1 << 20);
    let most = artifact.manifest.max_batch;
    let mut batches: Vec<usize> = BATCHES.into_iter().filter(|&batch| batch < most).collect();
    batches.push(most);
    let rows = batches.into_iter().map(|batch| {
        let [records, units] = [&records, &units].map(|program| format!("{:.1} MiB", mib(program, batch)));
        [format!("physical batch {batch}"), records, format!("{units} with units of several records")]
    });
    format!("device memory in training\n{}{}{}", table(rows.collect()), host_memory(artifact), correlated(artifact))
}

/// What the noise of earlier steps takes, where it is correlated: integers of 8 bytes for each trained element.
fn correlated(artifact: &Artifact) -> String {
    let Some(grid) = &artifact.manifest.grid else { return String::new() };
    let once = match 8.0 * grid.elements as f64 / f64::from(1 << 10) {
        small if small < 1024.0 => format!("{small:.1} KiB"),
        large => format!("{:.1} MiB", large / 1024.0),
    };
    let rows = vec![
        ["banded:B".to_owned(), format!("{once} for each band but one")],
        ["tree".to_owned(), format!("{once} for each level of the tree")],
    ];
    format!("memory of the host for --noise-correlation, and as much beside each checkpoint\n{}", table(rows))
}

/// What training keeps in the memory of the machine itself, whatever the batch.
fn host_memory(artifact: &Artifact) -> String {
    let values: usize = artifact.weights.values().map(|tensor| size_of_val(&tensor.data[..])).sum();
    let trained: usize = artifact.manifest.parameters.iter().filter(|p| p.trained).map(|p| product(&p.dims)).sum();
    let of_one = if artifact.manifest.grid.is_some() { size_of::<i64>() } else { size_of::<f32>() };
    let file = artifact.source.len();
    let parts = [
        ("the model's file", file),
        ("its values", values),
        ("together", file + values),
        // On the processor it is a part of the device's memory.
        ("noise of a step, beside a GPU", trained * of_one),
    ];
    let rows = parts.map(|(what, bytes)| [what.to_owned(), format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))]);
    format!("host memory in training, without data\n{}", table(rows.to_vec()))
}

/// Indented rows with aligned columns.
pub fn table<const COLUMNS: usize>(rows: Vec<[String; COLUMNS]>) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        text += &format!("  {}\n", cells.join("  ").trim_end());
    }
    text
}
