//! `dpc grads`: per-sample norms and clipped gradient sums of a batch, for looking and for comparing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use miette::Result;

use super::data::DataArgs;
use super::model::{Model, Private, Trained, fitted_to_labels, on_output};
use crate::artifact::Artifact;
use crate::compile::Options;
use crate::device;
use crate::lower::cost::CostModel;
use crate::options::{DeviceChoice, GRAMMAR, Loss, NoiseKind};
use crate::passes::privatize::PER_SAMPLE;
use crate::tensors::{Tensor, Tensors};
use crate::train::data::{Array, npz};
use crate::train::gradients::{ROWS, gradients};

/// The prefix of the arrays of norms in one clip group.
const GROUP_NORM: &str = "norm/";

/// Write the losses, norms and clipped gradients of a batch, without noise
#[derive(clap::Args)]
pub struct Args {
    /// The ONNX model
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,

    #[command(flatten)]
    data: DataArgs,

    #[arg(long, allow_hyphen_values = true, help = GRAMMAR)]
    loss: Loss,

    /// The output that a loss without a name of one is for, if the model has several
    #[arg(long, value_name = "NAME")]
    output: Option<String>,

    #[command(flatten)]
    trained: Trained,

    #[command(flatten)]
    private: Private,

    /// The file to write: loss[N], norm[N], norm/GROUP[N] for each of several clip groups, sum/PARAM, and
    /// per_sample/PARAM[N, …] if asked for
    #[arg(long, value_name = "OUT.npz")]
    out: PathBuf,

    /// Write every record's own gradient too
    #[arg(long)]
    per_sample: bool,

    /// auto, cpu, gpu or gpu:NAME
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
}

pub fn run(args: &Args) -> Result<()> {
    let model = Model::open(&args.model, &args.trained)?;
    let asked = match &args.output {
        Some(output) => on_output(&args.loss, output)?,
        None => args.loss.clone(),
    };
    let build = |loss: &Loss| {
        let options = Options {
            loss: Some(loss.clone()),
            output: None,
            clip: args.private.clip.clone(),
            norm: args.private.norm,
            optimizer: super::model::forward_options(None)?.optimizer,
            costs: CostModel::default(),
            precision: args.private.precision,
            views: 1,
            per_sample: args.per_sample,
            noise: NoiseKind::Float,
        };
        let compiled = model.compile(&options)?;
        // What there is to say does not depend on the form of the labels.
        if *loss == asked {
            model.warn(&compiled);
        }
        model.build(compiled, &options, ROWS)
    };
    let load = |artifact: &Artifact| args.data.load(&artifact.manifest.schema);
    let (artifact, data) = fitted_to_labels(&asked, build, load)?;
    let device = device::open(&args.device)?;
    let found = gradients(&artifact, &*device, &data, args.per_sample)?;
    let records = data.records();
    let of_records = |values: &[f32]| Array::from_f32(vec![records], values);
    let mut arrays =
        BTreeMap::from([("loss".to_owned(), of_records(&found.loss)), ("norm".to_owned(), of_records(&found.norm))]);
    for (group, norms) in found.group_norms.iter().filter(|_| found.group_norms.len() > 1) {
        arrays.insert(format!("{GROUP_NORM}{group}"), of_records(norms));
    }
    let named = |prefix: &str, tensors: &Tensors| {
        let one = |(name, tensor): (&String, &Tensor)| {
            (format!("{prefix}{name}"), Array::from_f32(tensor.dims.clone(), &tensor.data))
        };
        tensors.iter().map(one).collect::<Vec<_>>()
    };
    arrays.extend(named("sum/", &found.sum));
    arrays.extend(named(PER_SAMPLE, &found.per_sample));
    Ok(npz::write(&args.out, &arrays)?)
}
