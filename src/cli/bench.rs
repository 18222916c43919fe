//! `dpc bench`: how long training steps take, by one process or by ranks together.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Subcommand;
use miette::{IntoDiagnostic, Result};
use serde::{Deserialize, Serialize};

use super::inspect::table;
use super::{output, ranks};
use crate::artifact::Artifact;
use crate::device::{self, TARGETS};
use crate::lower::program::Phase;
use crate::options::DeviceChoice;
use crate::privacy::clipping::ClipState;
use crate::privacy::keys::{RunKey, SystemEntropy};
use crate::privacy::ledger::Receipt;
use crate::privacy::plan::{PlanSpec, PrivacyPlan};
use crate::privacy::sampling::Sampling;
use crate::ranks::{Ranks, share};
use crate::train::augment::Augment;
use crate::train::data::Dataset;
use crate::train::engine::Engine;
use crate::train::lr_schedule::LrSchedule;
use crate::train::step::{Setting, Stepper};
use crate::train::units::Units;

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

/// Time full training steps on random data: upload, forward, backward, clip, noise, update. Under mpirun the ranks share the
/// records, and compute, wait, reduce and update are told apart
#[derive(clap::Args)]
struct StepArgs {
    /// The artifact
    #[arg(value_name = "M.dpc")]
    artifact: PathBuf,

    /// Records in a step, in one physical batch of each rank
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u64).range(1..=65_535))]
    batch: u64,

    /// Neither clip nor add noise
    #[arg(long)]
    non_private: bool,

    /// Train each record on K random views of it, as with dpc train; the physical batch has the K rows of each record
    #[arg(long, value_name = "K:WAYS", conflicts_with = "non_private")]
    augment: Option<Augment>,

    /// Each rank makes a part of the noise, as with dpc train
    #[arg(long, conflicts_with = "non_private")]
    shard_noise: bool,

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
    /// Elements of the parameters that are trained.
    parameters: usize,
    /// What the steps of each rank consist of.
    ranks: Vec<Parts<Spread>>,
}

/// The parts of a step.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Parts<T> {
    /// The sums of the rank's share: upload, forward, backward, clip.
    compute: T,
    /// Until the slowest rank has come as far.
    wait: T,
    /// Adding up what all ranks have, with the way from the device and back.
    reduce: T,
    /// Noise, division, optimizer.
    update: T,
}

/// How long something took in the steps of a rank, in milliseconds.
#[derive(Serialize, Deserialize)]
struct Spread {
    median_ms: f64,
    min_ms: f64,
    max_ms: f64,
    /// The least, the quantiles at every tenth, and the most.
    tenths_ms: Vec<f64>,
}

impl Spread {
    fn of(mut times: Vec<f64>) -> Spread {
        times.sort_by(f64::total_cmp);
        let last = times.len().saturating_sub(1);
        let at = |tenth: usize| times.get((tenth * last).div_ceil(10)).copied().unwrap_or(0.0);
        Spread { median_ms: at(5), min_ms: at(0), max_ms: at(10), tenths_ms: (0..=10).map(at).collect() }
    }

    fn text(&self) -> String {
        format!("{:.3} ({:.3} to {:.3})", self.median_ms, self.min_ms, self.max_ms)
    }
}

impl<T> Parts<T> {
    fn map<U>(self, each: impl Fn(T) -> U) -> Parts<U> {
        let Parts { compute, wait, reduce, update } = self;
        Parts { compute: each(compute), wait: each(wait), reduce: each(reduce), update: each(update) }
    }
}

const WARM_UP: u64 = 3;
const FEWEST_STEPS: usize = 5;
const MOST_STEPS: usize = 200;
const BUDGET: Duration = Duration::from_secs(5);

pub fn run(args: &Args) -> Result<()> {
    let What::Step(args) = &args.what;
    let times = ranks::among(|ranks| {
        if !ranks.is_first() {
            output::leave_to_another();
        }
        measure(args, ranks)
    })?;
    if args.json {
        return output::json(&times);
    }
    output::line(format!(
        "median {:.3} ms, minimum {:.3} ms over {} steps, {:.1} MiB of device memory",
        times.median_ms,
        times.min_ms,
        times.steps,
        times.peak_bytes as f64 / f64::from(1 << 20)
    ))?;
    if times.ranks.len() > 1 { output::line(by_rank(&times.ranks).trim_end()) } else { Ok(()) }
}

fn by_rank(ranks: &[Parts<Spread>]) -> String {
    let title = ["rank", "compute, ms", "wait", "reduce", "noise and update"].map(str::to_owned);
    let row = |(rank, Parts { compute, wait, reduce, update }): (usize, &Parts<Spread>)| {
        [rank.to_string(), compute.text(), wait.text(), reduce.text(), update.text()]
    };
    table([title].into_iter().chain(ranks.iter().enumerate().map(row)).collect())
}

fn measure(args: &StepArgs, ranks: &Arc<dyn Ranks>) -> Result<Times> {
    let artifact = Artifact::load(&args.artifact)?;
    let records = args.batch as usize;
    let views = args.augment.map_or(1, |augment| augment.views);
    let rows = share(ranks.size() - 1, ranks.size(), records).len().max(1) * views;
    let private = !args.non_private;
    let plan = PrivacyPlan::new(PlanSpec {
        noise_multiplier: if private { 1.0 } else { 0.0 },
        non_private: args.non_private,
        views: views as u64,
        clip_groups: artifact.manifest.clip_groups.len(),
        grid: artifact.manifest.grid.clone().filter(|_| private),
        delta: private.then_some(1e-5),
        planned_steps: MOST_STEPS as u64,
        insecure_seed: Some(0),
        ..PlanSpec::new(Sampling::Poisson { rate: 1.0 }, records as f64, artifact.manifest.clip.clone())
    })?;
    let key = RunKey::for_plan(&plan, &SystemEntropy)?;
    let data = Dataset::random(&artifact.manifest.schema, records);
    if let Some(augment) = &args.augment {
        augment.check(&artifact.manifest.schema)?;
    }
    let device = device::open(&args.device)?;
    let phase = if private { Phase::Private } else { Phase::Plain };
    let program = if views > 1 { artifact.in_views(views, TARGETS)? } else { artifact.program };
    let phases = Stepper::phases_of(&plan, &program);
    let engine = Engine::new(&*device, Arc::new(program), &artifact.weights, rows, phases)?;
    let (peak_bytes, parameters) = (engine.bytes(), engine.noise_lengths().iter().sum());
    let clip = ClipState::new(&plan.clip, &artifact.manifest.clip_groups);
    let setting = Setting {
        plan: &plan,
        data: &data,
        units: Cow::Owned(Units::single(records)),
        augment: args.augment,
        optimizer: artifact.manifest.optimizer,
        learning_rate: 1e-6,
        lr_schedule: Cow::Owned(LrSchedule::CONSTANT),
    };
    let mut stepper = Stepper::new(setting, engine, clip, &key, 0)?.among(ranks.clone());
    if args.shard_noise {
        stepper = stepper.sharing_noise()?;
    }

    let (mut times, mut parts) = (Vec::new(), Parts::<Vec<f64>>::default());
    let started = Instant::now();
    for step in 0.. {
        let begun = Instant::now();
        let drawn = stepper.accumulate(step, |_, _, _| ())?;
        let computed = Instant::now();
        if ranks.size() > 1 {
            ranks.wait()?;
        }
        let waited = Instant::now();
        stepper.reduce(drawn)?;
        let reduced = Instant::now();
        stepper.release(Receipt::of_made_up_records(step))?;
        // Waits for the device.
        let rows = stepper.engine().rows();
        stepper.engine().shown(phase, rows)?;
        let ended = Instant::now();
        if step >= WARM_UP {
            let between = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1e3;
            times.push(between(begun, ended));
            parts.compute.push(between(begun, computed));
            parts.wait.push(between(computed, waited));
            parts.reduce.push(between(waited, reduced));
            parts.update.push(between(reduced, ended));
        }
        let enough = times.len() >= FEWEST_STEPS && started.elapsed() > BUDGET;
        let mut last = vec![u8::from(enough || times.len() >= MOST_STEPS)];
        // Rank 0 says when it is over.
        ranks.broadcast(&mut last)?;
        if last == [1] {
            break;
        }
    }
    let own = serde_json::to_vec(&parts.map(Spread::of)).into_diagnostic()?;
    let all = ranks.gather(&own)?;
    let ranks = all.iter().map(|own| serde_json::from_slice(own)).collect::<Result<Vec<_>, _>>().into_diagnostic()?;
    times.sort_by(f64::total_cmp);
    let (median_ms, min_ms) = (times[times.len() / 2], times[0]);
    Ok(Times { median_ms, min_ms, steps: times.len(), peak_bytes, parameters, ranks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_tells_least_median_and_most() {
        let spread = Spread::of((0..=20).rev().map(f64::from).collect());
        assert_eq!((spread.min_ms, spread.median_ms, spread.max_ms), (0.0, 10.0, 20.0));
        assert_eq!(spread.tenths_ms, (0..=10).map(|tenth| 2.0 * f64::from(tenth)).collect::<Vec<_>>());
        let one = Spread::of(vec![3.0]);
        assert_eq!(one.tenths_ms, [3.0; 11]);
        assert_eq!(one.text(), "3.000 (3.000 to 3.000)");
    }
}
