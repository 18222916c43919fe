//! What a private step costs on a device, kernel by kernel: predicted from kernels measured alone, and measured in place.

use std::sync::Arc;
use std::time::Instant;

use miette::Result;

use super::inspect::table;
use super::tuning::Tuning;
use crate::artifact::Artifact;
use crate::device::cpu;
use crate::lower::cost::{Costs, bytes};
use crate::lower::distance;
use crate::lower::program::{Dispatch, Phase, Program};
use crate::options::DeviceChoice;
use crate::privacy::clipping::ClipState;
use crate::train::data::Dataset;
use crate::train::engine::Engine;

/// How often a phase runs for its times.
const RUNS: usize = 15;

/// The phases of a private step.
fn step(program: &Program) -> [Phase; 2] {
    [Phase::Private, program.private_update()]
}

/// The costs of `artifact` for a physical batch of `rows` records.
pub fn text(artifact: &Artifact, choice: &DeviceChoice, rows: usize, measure: bool) -> Result<String> {
    let tuning = Tuning::open(choice)?;
    let step = step(&artifact.program);
    let program = Arc::new(artifact.program.restricted(&step));
    let measured = measure.then(|| in_place(artifact, &tuning, program.clone(), rows)).transpose()?;
    let mut text = format!("a private step of {rows} records on {}\n", tuning.device.name());
    for ((k, phase), predicted) in step.into_iter().enumerate().zip(predicted(&tuning, &program, step, rows)) {
        text += &of_phase(&program, phase, rows, predicted, measured.as_ref().map(|all| &all[k]));
    }
    text += &norms(artifact, &tuning, rows);
    tuning.save();
    Ok(text)
}

/// What the norm and the weighted sum of each parameter's gradient take, by every strategy that there is.
fn norms(artifact: &Artifact, tuning: &Tuning, rows: usize) -> String {
    let mut lines = Vec::new();
    for choice in &artifact.manifest.norms {
        for (strategy, kernels) in &choice.alternatives {
            let seconds = kernels.iter().map(|kernel| tuning.tuner.seconds(kernel, rows)).sum();
            let chosen = if choice.strategies == [*strategy] { "chosen" } else { "" };
            lines.push([choice.parameter.clone(), strategy.name().to_owned(), time(seconds), chosen.to_owned()]);
        }
    }
    format!("norms and sums of per-sample gradients, predicted\n{}", table(lines))
}

/// What a phase took.
struct Taken {
    /// All of it, in seconds, when nothing is timed within.
    whole: f64,
    /// Each dispatch.
    each: Vec<f64>,
}

/// The most memory that is used before a kernel, so that it finds nothing of its own in the caches.
const MOST_ELSEWHERE: usize = 128 << 20;

/// Seconds of each dispatch of the phases: what the kernel takes alone, but for the share of its memory that more was used since, in the
/// step before it, than the caches hold. That share costs what the kernel takes after as much other memory.
fn predicted(tuning: &Tuning, program: &Program, step: [Phase; 2], rows: usize) -> [Vec<f64>; 2] {
    let all: Vec<&Dispatch> = step.iter().flat_map(|&phase| program.phase(phase)).collect();
    let others = distance::used(program, &all, rows).min(MOST_ELSEWHERE).next_power_of_two();
    let far = distance::far(program, &all, rows, cpu::cache_bytes());
    let seconds = all.iter().zip(far).map(|(dispatch, far)| {
        let near = tuning.tuner.seconds(&dispatch.kernel, rows);
        let after = if far > 0.0 { tuning.tuner.seconds_after(&dispatch.kernel, rows, others) } else { near };
        near + far * (after - near).max(0.0)
    });
    let mut seconds = seconds.collect::<Vec<f64>>().into_iter();
    step.map(|phase| seconds.by_ref().take(program.phase(phase).len()).collect())
}

fn of_phase(program: &Program, phase: Phase, rows: usize, predicted: Vec<f64>, measured: Option<&Taken>) -> String {
    let dispatches = program.phase(phase);
    let total: f64 = predicted.iter().sum();
    let mut head = format!("{}: {} predicted", phase.name(), time(total));
    if let Some(taken) = measured {
        let apart = 100.0 * (total / taken.whole - 1.0);
        head += &format!(", {} measured ({apart:+.0} %)", time(taken.whole));
    }
    let mut order: Vec<usize> = (0..dispatches.len()).collect();
    let weight = |k: usize| measured.and_then(|taken| taken.each.get(k)).copied().unwrap_or(predicted[k]);
    order.sort_by(|&x, &y| weight(y).total_cmp(&weight(x)));
    let row = |&k: &usize| {
        let Dispatch { kernel, label, .. } = &dispatches[k];
        let (flops, bytes) = (kernel.rules().flops(rows), bytes(kernel, rows));
        let seconds = weight(k);
        let measured = measured.and_then(|taken| taken.each.get(k)).map_or(String::new(), |&s| time(s));
        let rate = format!("{:.1} GFLOP/s", flops as f64 / seconds * 1e-9);
        [
            label.clone(),
            kernel.rules().name().to_owned(),
            kernel.rules().text(),
            format!("{:.2} MFLOP", flops as f64 * 1e-6),
            format!("{:.2} MB", bytes as f64 * 1e-6),
            rate,
            time(predicted[k]),
            measured,
        ]
    };
    let titles = ["node", "kernel", "sizes", "work", "moved", "rate", "predicted", "measured"];
    let mut titles = titles.map(str::to_owned);
    if measured.is_none() {
        titles[7].clear();
    }
    let rows = [titles].into_iter().chain(order.iter().map(row)).collect();
    format!("{head}\n{}", table(rows))
}

/// A time with three digits.
fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.3} ms", s * 1e3),
        s => format!("{:.1} µs", s * 1e6),
    }
}

/// Runs the phases on random records.
fn in_place(artifact: &Artifact, tuning: &Tuning, program: Arc<Program>, rows: usize) -> Result<Vec<Taken>> {
    let manifest = &artifact.manifest;
    let data = Dataset::random(&manifest.schema, rows);
    let records: Vec<usize> = (0..rows).collect();
    let mut engine = Engine::new(&*tuning.device, program, &artifact.weights, rows, &step(&artifact.program))?;
    engine.set_clip_bounds(&ClipState::new(&manifest.clip, &manifest.clip_groups).bounds(1.0))?;
    let phases = step(&artifact.program);
    for phase in phases {
        match phase {
            Phase::Update => engine.update(&manifest.optimizer, 1, 1e-6, rows as f64, None)?,
            Phase::Release => {
                let units = vec![1.0; manifest.clip_groups.len()];
                engine.release(&manifest.optimizer, 1, 1e-6, rows as f64, (&[], &units))?;
            }
            _ => engine.run(phase, &data, &records, None)?,
        }
        engine.shown(Phase::Private, rows)?;
    }
    // One phase after the other, as in a step: each finds the caches as the one before leaves them.
    let mut taken = phases.map(|_| (Vec::new(), Vec::new()));
    for _ in 0..RUNS {
        for (phase, (whole, _)) in phases.into_iter().zip(&mut taken) {
            let begun = Instant::now();
            engine.run_once(phase)?;
            // Waits for the device.
            engine.shown(Phase::Private, rows)?;
            whole.push(begun.elapsed().as_secs_f64());
        }
        for (phase, (_, each)) in phases.into_iter().zip(&mut taken) {
            each.push(engine.time(phase)?);
        }
    }
    let of_phase = |(whole, each): (Vec<f64>, Vec<Vec<f64>>)| {
        let dispatches = each.first().map_or(0, Vec::len);
        let each = (0..dispatches).map(|k| median(each.iter().map(|times| times[k]).collect())).collect();
        Taken { whole: median(whole), each }
    };
    Ok(taken.map(of_phase).into())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
