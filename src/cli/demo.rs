//! `dpc demo`: a private training from end to end, with nothing but this program.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use miette::{IntoDiagnostic, Result, WrapErr};

use super::model::{Model, Trained};
use super::{inspect, output, train as train_command, values};
use crate::artifact::{Artifact, ParameterEntry};
use crate::compile::{Compiled, Options};
use crate::device;
use crate::lower::cost::CostModel;
use crate::options::{DeviceChoice, NoiseKind, NormChoice, Precision};
use crate::privacy::accountant::{ACCOUNTANTS, Mechanism};
use crate::privacy::adjacency::Adjacency;
use crate::privacy::calibrate::{self, Target};
use crate::privacy::certificate::Certificate;
use crate::privacy::plan::{PlanSpec, PrivacyPlan};
use crate::privacy::sampling::Sampling;
use crate::ranks::Alone;
use crate::train::data::Dataset;
use crate::train::lr_schedule::LrSchedule;
use crate::train::physical;
use crate::train::run_dir::RunDir;
use crate::train::trainer::{Training, train};
use crate::train::units::Units;

const MODEL: &[u8] = include_bytes!("../../models/digits_edges.onnx");
const TRAIN: &[u8] = include_bytes!("../../models/digits_train.npz");
const TEST: &[u8] = include_bytes!("../../models/digits_test.npz");

const DELTA: f64 = 1e-4;
const BATCH: f64 = 256.0;
const EPOCHS: f64 = 20.0;
const LEARNING_RATE: f64 = 0.5;
const CLIP: &str = "flat:1";
const OPTIMIZER: &str = "sgd";
const MAX_BATCH: usize = 256;

/// Train a small network on handwritten digits with differential privacy, step by step
#[derive(clap::Args)]
pub struct Args {
    /// The directory to write
    #[arg(long, value_name = "DIR", default_value = "dpc-demo")]
    out: PathBuf,

    /// The ε that training may spend, at δ = 1e-4
    #[arg(long, value_name = "E", default_value = "3", value_parser = values::epsilon)]
    epsilon: f64,

    /// auto, cpu, gpu or gpu:NAME
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
}

pub fn run(args: &Args) -> Result<()> {
    let files = Files::write(&args.out)?;
    let (artifact, compiled) = compile(&files)?;
    show_rewrite(&artifact, &compiled)?;

    heading("3. Data, plan and device")?;
    let load = |path: &Path| Dataset::load(&path.display().to_string(), &artifact.manifest.schema);
    let (data, test) = (load(&files.train)?, load(&files.test)?);
    let plan = plan(&artifact, data.records(), args.epsilon)?;
    let device = device::open(&args.device)?;
    output::line(format!("{} records to train on, {} to test on; {}", data.records(), test.records(), device.name()))?;
    output::line(format!(
        "for ε = {} at δ = {DELTA}: {} steps of {BATCH} records expected, noise multiplier {:.3}",
        args.epsilon, plan.planned_steps, plan.noise_multiplier
    ))?;

    heading("4. Training")?;
    let directory = RunDir::new(&files.run);
    let summary = train(&Training {
        artifact: &artifact,
        device: &*device,
        data: &data,
        units: &Units::single(data.records()),
        augment: None,
        valid: Some(&test),
        valid_every: None,
        plan: &plan,
        accountant: ACCOUNTANTS[0],
        learning_rate: LEARNING_RATE,
        lr_for: vec![],
        lr_schedule: LrSchedule::CONSTANT,
        ema: None,
        physical_batch: physical::rows(plan.expected_batch, MAX_BATCH),
        directory: directory.clone(),
        ledger: directory.ledger(),
        resume: false,
        checkpoint_interval: Duration::from_secs(10),
        progress: true,
        record_private_metrics: false,
        tensorboard: None,
        trial_of: None,
        shard_noise: false,
        config: None,
        ranks: Arc::new(Alone),
    })?;

    heading("5. The certificate")?;
    output::line(Certificate::read(&directory.certificate())?.statement)?;
    train_command::conclude(&summary)?;
    if let Some(accuracy) = summary.valid.and_then(|valid| valid.accuracy) {
        output::line(format!("\ntest accuracy {:.1} %", 100.0 * accuracy))?;
    }
    next(&files)
}

/// The demo's files.
struct Files {
    model: PathBuf,
    train: PathBuf,
    test: PathBuf,
    artifact: PathBuf,
    run: PathBuf,
}

impl Files {
    /// Writes model and data to `directory`, where an earlier demo's run is removed.
    fn write(directory: &Path) -> Result<Self> {
        let files = Self {
            model: directory.join("digits_edges.onnx"),
            train: directory.join("digits_train.npz"),
            test: directory.join("digits_test.npz"),
            artifact: directory.join("digits.dpc"),
            run: directory.join("run"),
        };
        let unwritable = || format!("cannot write {}", directory.display());
        if files.run.exists() {
            std::fs::remove_dir_all(&files.run).into_diagnostic().wrap_err_with(unwritable)?;
        }
        std::fs::create_dir_all(directory).into_diagnostic().wrap_err_with(unwritable)?;
        for (path, bytes) in [(&files.model, MODEL), (&files.train, TRAIN), (&files.test, TEST)] {
            crate::files::write_atomic(path, |file| std::io::Write::write_all(file, bytes))?;
        }
        Ok(files)
    }
}

fn compile(files: &Files) -> Result<(Artifact, Compiled)> {
    heading("1. Compiling digits_edges.onnx")?;
    let model = Model::open(&files.model, &Trained::default())?;
    let text = |error: String| miette::miette!("{error}");
    let options = Options {
        loss: Some("cross-entropy".parse().map_err(text)?),
        output: None,
        clip: CLIP.parse()?,
        norm: NormChoice::Auto,
        optimizer: OPTIMIZER.parse().map_err(text)?,
        costs: CostModel::default(),
        precision: Precision::default(),
        views: 1,
        per_sample: false,
        noise: NoiseKind::Exact,
    };
    let compiled = model.compile(&options)?;
    let artifact = model.build(compiled.clone(), &options, MAX_BATCH)?;
    artifact.save(&files.artifact)?;
    output::line(inspect::text(&artifact).trim_end())?;
    Ok((artifact, compiled))
}

/// Shows what became of the gradient of the largest layer.
fn show_rewrite(artifact: &Artifact, compiled: &Compiled) -> Result<()> {
    let size = |p: &&ParameterEntry| p.dims.iter().product::<usize>();
    let Some(largest) = artifact.manifest.parameters.iter().filter(|p| p.trained).max_by_key(size) else {
        return Ok(());
    };
    heading(&format!("2. The rewritten gradient of {}", largest.name))?;
    let text = compiled.private.to_string();
    let own = format!(".{} ", largest.name);
    let lines = text.lines().filter(|line| line.contains(&own) || line.starts_with("%clip "));
    for line in lines {
        output::line(line)?;
    }
    Ok(())
}

fn plan(artifact: &Artifact, records: usize, epsilon: f64) -> Result<PrivacyPlan> {
    let rate = BATCH / records as f64;
    let steps = (EPOCHS / rate).round() as u64;
    let sampling = Sampling::Poisson { rate };
    let target = Target { epsilon, delta: DELTA, adjacency: Adjacency::AddRemove };
    let history = |noise_multiplier| vec![Mechanism { noise_multiplier, sampling, steps }];
    Ok(PrivacyPlan::new(PlanSpec {
        public_units: Some(records as u64),
        noise_multiplier: calibrate::noise_multiplier(ACCOUNTANTS[0], target, history)?,
        target_epsilon: Some(epsilon),
        clip_groups: artifact.manifest.clip_groups.len(),
        grid: artifact.manifest.grid.clone(),
        delta: Some(DELTA),
        planned_steps: steps,
        ..PlanSpec::new(sampling, BATCH, artifact.manifest.clip.clone())
    })?)
}

fn next(files: &Files) -> Result<()> {
    let Files { model, train, test, artifact, run } = files;
    heading("Next")?;
    for command in [
        format!("dpc verify-certificate {}", run.display()),
        format!("dpc export {} -o digits_trained.onnx", run.display()),
        format!("dpc eval digits_trained.onnx --loss cross-entropy --data {}", test.display()),
        format!("dpc compile {} -o m.dpc --loss cross-entropy --emit private", model.display()),
        format!(
            "dpc train {} --data {} --epsilon 1 --delta {DELTA:e} --batch {BATCH} --epochs {EPOCHS} --lr {LEARNING_RATE} --out again",
            artifact.display(),
            train.display()
        ),
    ] {
        output::line(format!("  {command}"))?;
    }
    Ok(())
}

fn heading(text: &str) -> Result<()> {
    output::line(format!("\n== {text}"))
}
