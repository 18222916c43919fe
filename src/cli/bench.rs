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
use crate::privacy::plan::{PlanSpec, PrivacyPlan};
use crate::privacy::sampling::Sampling;
use crate::train::chance::Chance;
use crate::train::data::Dataset;
use crate::train::engine::Engine;
use crate::train::released::Releaser;

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
        grid: if args.non_private { None } else { artifact.manifest.grid.clone() },
        delta: Some(1e-5),
        planned_steps: MOST_STEPS as u64,
        insecure_seed: Some(0),
        ..PlanSpec::new(Sampling::Poisson { rate: 1.0 }, rows as f64, artifact.manifest.clip.clone())
    })?;
    let key = RunKey::for_plan(&plan, &SystemEntropy)?;
    let data = Dataset::random(&artifact.manifest.schema, rows);
    let records: Vec<usize> = (0..rows).collect();
    let device = device::open(&args.device)?;
    let [phase, last] = match args.non_private {
        true => [Phase::Plain, Phase::Update],
        false => [Phase::Private, artifact.program.private_update()],
    };
    let program = Arc::new(artifact.program);
    let mut engine = Engine::new(&*device, program, &artifact.weights, rows, &[phase, last])?;
    let clip = ClipState::new(&plan.clip, &artifact.manifest.clip_groups);
    engine.set_clip_bounds(&clip.bounds(1.0))?;
    let chance = Chance::new(&key, None);
    let optimizer = &artifact.manifest.optimizer;
    let mut noise = match args.non_private {
        true => None,
        false => Some(Releaser::new(&key, &plan, &engine, &clip, 0)?),
    };

    let mut times = Vec::new();
    let started = Instant::now();
    for step in 0.. {
        let begun = Instant::now();
        for records in records.chunks(engine.rows()) {
            engine.run(phase, &data, records, Some((&chance, step)))?;
        }
        match &mut noise {
            Some(noise) => {
                noise.release(&mut engine, &plan, &clip, step, (step + 1, optimizer, 1e-6.into()))?;
            }
            None => engine.update(optimizer, step + 1, 1e-6, plan.divisor(), None)?,
        }
        // Waits for the device.
        engine.shown(phase, engine.rows())?;
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
