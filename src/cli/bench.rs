//! `dpc bench`: how long training steps take.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Subcommand;
use miette::Result;
use serde::Serialize;

use super::output;
use crate::artifact::Artifact;
use crate::device;
use crate::lower::program::Phase;
use crate::options::DeviceChoice;
use crate::privacy::clipping::ClipState;
use crate::privacy::keys::{RunKey, SystemEntropy};
use crate::privacy::noise::{GaussianNoise, NoiseSource};
use crate::privacy::plan::{PlanSpec, PrivacyPlan};
use crate::privacy::sampling::Sampling;
use crate::train::data::Dataset;
use crate::train::dropout::DropoutKeys;
use crate::train::engine::Engine;

/// Measure
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Step(StepArgs),
}

/// Time full training steps on random data: upload, forward, backward, clip, noise, update
#[derive(clap::Args)]
struct StepArgs {
    /// The artifact
    #[arg(value_name = "M.dpc")]
    artifact: PathBuf,

    /// Records in a step, in one physical batch
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u64).range(1..=65_535))]
    batch: u64,

    /// Neither clip nor add noise
    #[arg(long)]
    non_private: bool,

    /// auto, cpu, gpu or gpu:NAME
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Times {
    median_ms: f64,
    min_ms: f64,
    steps: usize,
    peak_bytes: usize,
}

const WARM_UP: u64 = 3;
const FEWEST_STEPS: usize = 5;
const MOST_STEPS: usize = 200;
const BUDGET: Duration = Duration::from_secs(5);

pub fn run(args: &Args) -> Result<()> {
    let What::Step(args) = &args.what;
    let times = measure(args)?;
    if args.json {
        return output::json(&times);
    }
    output::line(format!(
        "median {:.3} ms, minimum {:.3} ms over {} steps, {:.1} MiB of device memory",
        times.median_ms,
        times.min_ms,
        times.steps,
        times.peak_bytes as f64 / f64::from(1 << 20)
    ))
}

fn measure(args: &StepArgs) -> Result<Times> {
    let artifact = Artifact::load(&args.artifact)?;
    let rows = args.batch as usize;
    let plan = PrivacyPlan::new(PlanSpec {
        noise_multiplier: 1.0,
        clip_groups: artifact.manifest.clip_groups.len(),
        delta: Some(1e-5),
        planned_steps: MOST_STEPS as u64,
        insecure_seed: Some(0),
        ..PlanSpec::new(Sampling::Poisson { rate: 1.0 }, rows as f64, artifact.manifest.clip.clone())
    })?;
    let key = RunKey::for_plan(&plan, &SystemEntropy)?;
    let data = Dataset::random(&artifact.manifest.schema, rows);
    let records: Vec<usize> = (0..rows).collect();
    let device = device::open(&args.device)?;
    let phase = if args.non_private { Phase::Plain } else { Phase::Private };
    let program = Arc::new(artifact.program);
    let mut engine = Engine::new(&*device, program, &artifact.weights, rows, &[phase, Phase::Update])?;
    engine.set_clip_bounds(&ClipState::new(&plan.clip, &artifact.manifest.clip_groups).bounds(1.0))?;
    let dropout = DropoutKeys::new(&key);
    let mut noise = NoiseSource::spawn(Arc::new(GaussianNoise::new(&key, &plan)), &engine.noise_lengths(), 0)?;
    let std = vec![plan.multipliers(0).gradient * plan.clip.sensitivity(); engine.noise_lengths().len()];

    let mut times = Vec::new();
    let started = Instant::now();
    for step in 0.. {
        let begun = Instant::now();
        engine.run(phase, &data, &records, Some((&dropout, step)))?;
        let noise = if args.non_private { None } else { Some(noise.take(step, &std)?) };
        engine.update(&artifact.manifest.optimizer, step + 1, 1e-6, plan.divisor(), noise)?;
        // Waits for the device.
        engine.shown(phase, rows)?;
        if step >= WARM_UP {
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        let enough = times.len() >= FEWEST_STEPS && started.elapsed() > BUDGET;
        if enough || times.len() >= MOST_STEPS {
            break;
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(Times { median_ms: times[times.len() / 2], min_ms: times[0], steps: times.len(), peak_bytes: engine.bytes() })
}
