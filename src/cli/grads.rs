//! `dpc grads`: per-sample norms and clipped gradient sums of a batch, for looking and for comparing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use miette::Result;

use super::data::DataArgs;
use super::model::{Model, Private, Trained, fitted_to_labels, on_output};
use crate::artifact::Artifact;
use crate::compile::Options;
use crate::device;
use crate::lower::cost::CostModel;
use crate::lower::host_outputs::{LOSS, NORM};
use crate::lower::program::Phase;
use crate::options::{DeviceChoice, GRAMMAR, Loss, NoiseKind};
use crate::passes::privatize::PER_SAMPLE;
use crate::privacy::clipping::ClipState;
use crate::privacy::keys::RunKey;
use crate::train::chance::Chance;
use crate::train::data::{Array, npz};
use crate::train::engine::{Engine, total_norms};

/// The prefix of the arrays of norms in one clip group.
const GROUP_NORM: &str = "norm/";
/// Rows of a physical batch.
const ROWS: usize = 64;

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
    let rows = ROWS.min(data.records());
    let program = Arc::new(artifact.program);
    let mut engine = Engine::new(&*device, program, &artifact.weights, rows, &[Phase::Private])?;
    let groups = &artifact.manifest.clip_groups;
    engine.set_clip_bounds(&ClipState::new(&artifact.manifest.clip, groups).bounds(1.0))?;

    // Masks of dropout are a function of this key, so that two runs agree.
    let chance = Chance::new(&RunKey::insecure(0), None);
    let with_gradient = engine.trained();
    let (mut loss, mut norm) = (Vec::new(), Vec::new());
    let mut per_sample: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
    let all: Vec<usize> = (0..data.records()).collect();
    for records in all.chunks(rows) {
        engine.run(Phase::Private, &data, records, Some((&chance, 0)))?;
        let mut read = |name: &str, to: &mut Vec<f32>| -> Result<()> {
            let values = engine.floats(name)?;
            to.extend(&values[..values.len() / rows * records.len()]);
            Ok(())
        };
        read(LOSS, &mut loss)?;
        read(NORM, &mut norm)?;
        if args.per_sample {
            for name in &with_gradient {
                read(&format!("{PER_SAMPLE}{name}"), per_sample.entry(name).or_default())?;
            }
        }
    }

    let records = data.records();
    let mut arrays = BTreeMap::from([
        ("loss".to_owned(), Array::from_f32(vec![records], &loss)),
        ("norm".to_owned(), Array::from_f32(vec![records], &total_norms(&norm, groups.len()))),
    ]);
    for (k, group) in groups.iter().enumerate().filter(|_| groups.len() > 1) {
        let norms: Vec<f32> = norm.iter().skip(k).step_by(groups.len()).copied().collect();
        arrays.insert(format!("{GROUP_NORM}{}", group.name), Array::from_f32(vec![records], &norms));
    }
    for parameter in model.parameters.trainable() {
        // A parameter that does not reach the loss has a gradient of zeros.
        let zeros = |records: usize| vec![0.0; records * parameter.count()];
        let sum = match with_gradient.contains(&parameter.name) {
            true => engine.gradient_sum(&parameter.name)?,
            false => zeros(1),
        };
        arrays.insert(format!("sum/{}", parameter.name), Array::from_f32(parameter.dims.clone(), &sum));
        if args.per_sample {
            let values = per_sample.remove(parameter.name.as_str()).unwrap_or_else(|| zeros(records));
            let dims = [&[records], parameter.dims.as_slice()].concat();
            arrays.insert(format!("{PER_SAMPLE}{}", parameter.name), Array::from_f32(dims, &values));
        }
    }
    Ok(npz::write(&args.out, &arrays)?)
}
