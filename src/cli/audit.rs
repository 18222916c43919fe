//! `dpc audit`: whether an artifact keeps what its plan claims.

use std::io::Write;
use std::path::{Path, PathBuf};

use miette::{Diagnostic, IntoDiagnostic, Result};
use thiserror::Error;

use super::{output, values};
use crate::artifact::Artifact;
use crate::audit::report::Report;
use crate::audit::{Settings, audit};
use crate::device::{self, Device, gpu};
use crate::files::{self, FileError};
use crate::options::DeviceChoice;

/// Test a model's privacy: sensitivity, noise, sampling, lower bounds on ε
#[derive(clap::Args)]
pub struct Args {
    /// The artifact
    #[arg(value_name = "M.dpc")]
    artifact: PathBuf,

    /// cpu, gpu, gpu:NAME, or both: the cpu and the first GPU there is, software ones too
    #[arg(long, default_value = "both", value_parser = devices)]
    device: Devices,

    /// Standard deviation of the noise as a multiple of the clip bound
    #[arg(long, value_name = "S", default_value_t = Settings::default().noise_multiplier, value_parser = values::positive)]
    noise_multiplier: f64,

    /// Probability of each record entering a logical batch; the canary of a single step always enters for certain, and
    /// the sampler is tested between 1/1024 and 1/2
    #[arg(long, value_name = "Q", default_value_t = Settings::default().sample_rate, value_parser = values::rate)]
    sample_rate: f64,

    /// The δ of the claim
    #[arg(long, value_name = "D", default_value_t = Settings::default().delta, value_parser = values::between_0_and_1)]
    delta: f64,

    /// Expected number of records in a logical batch
    #[arg(long, value_name = "L", default_value_t = Settings::default().batch, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    batch: u64,

    /// How often a step is replayed with the canary, and how often without
    #[arg(long, value_name = "R", default_value_t = Settings::default().replays, value_parser = clap::value_parser!(u64).range(1..))]
    replays: u64,

    /// Audit sampling, noise and accounting of a whole training too, by one run of it with M canaries, which are added
    /// after clipping
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u64).range(10..))]
    canaries: Option<u64>,

    /// Logical steps of that training
    #[arg(long, value_name = "N", default_value_t = Settings::default().steps, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,

    /// Audit plans that are broken on purpose too, each of which has to fail
    #[arg(long)]
    mutate: bool,

    /// Try every adversarial record in every place in a batch with every clip rule and way to compute norms. Else that is
    /// done with those of the artifact, and with others each record is tried alone and in one place
    #[arg(long)]
    exhaustive: bool,

    /// The confidence of the lower bounds that are shown; those that decide are at 99.95 % together
    #[arg(long, value_name = "P", default_value_t = Settings::default().confidence, value_parser = values::between_0_and_1)]
    confidence: f64,

    /// The directory to write audit.txt and audit.json to
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Fix sampling and noise, for tests
    #[arg(long, value_name = "S")]
    insecure_seed: Option<u64>,
}

/// What to audit on.
#[derive(Clone, Debug)]
enum Devices {
    Both,
    One(DeviceChoice),
}

fn devices(text: &str) -> Result<Devices, String> {
    match text {
        "both" => Ok(Devices::Both),
        _ => text.parse().map(Devices::One).map_err(|error: String| error.replace("give auto,", "give both, auto,")),
    }
}

#[derive(Debug, Error, Diagnostic)]
enum AuditFailed {
    #[error("{} did not pass the audit", path.display())]
    #[diagnostic(
        code(dpc::audit::failed),
        help(
            "do not train private data with it; the report says which check failed. A false alarm has a probability below one in a thousand: run the audit again"
        )
    )]
    Failed { path: PathBuf },
}

pub fn run(args: &Args) -> Result<()> {
    let artifact = Artifact::load(&args.artifact)?;
    let settings = Settings {
        noise_multiplier: args.noise_multiplier,
        sample_rate: args.sample_rate,
        delta: args.delta,
        batch: args.batch,
        replays: args.replays,
        confidence: args.confidence,
        canaries: args.canaries,
        steps: args.steps,
        mutate: args.mutate,
        exhaustive: args.exhaustive,
        insecure_seed: args.insecure_seed,
    };
    let progress = |what: &str| {
        if !args.json {
            output::note(format_args!("{what}"));
        }
    };
    let report = audit(&artifact, &open(&args.device)?, &settings, progress)?;
    if let Some(directory) = &args.out {
        write(directory, &report)?;
    }
    match args.json {
        true => output::json(&report)?,
        false => output::line(&report)?,
    }
    match report.passed {
        true => Ok(()),
        false => Err(AuditFailed::Failed { path: args.artifact.clone() }.into()),
    }
}

fn open(devices: &Devices) -> Result<Vec<Box<dyn Device>>> {
    let mut open = Vec::new();
    match devices {
        Devices::One(choice) => open.push(device::open(choice)?),
        Devices::Both => {
            open.push(device::open(&DeviceChoice::Cpu)?);
            if gpu::list().is_empty() {
                output::warning("no GPU adapter was found; the audit is of the cpu alone");
            } else {
                open.push(device::open(&DeviceChoice::Gpu { name: None })?);
            }
        }
    }
    Ok(open)
}

fn write(directory: &Path, report: &Report) -> Result<()> {
    std::fs::create_dir_all(directory).map_err(|source| FileError::write(directory, source))?;
    let json = serde_json::to_string_pretty(report).into_diagnostic()?;
    for (name, text) in [("audit.txt", report.to_string()), ("audit.json", json)] {
        files::write_atomic(&directory.join(name), |file| writeln!(file, "{text}"))?;
    }
    Ok(())
}
