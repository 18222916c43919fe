//! `dpc tune --public`: every combination is tried once on public data, and all of it may be looked at.

use std::io::Write;
use std::path::Path;

use clap::Command;
use miette::Result;
use serde::Serialize;

use super::score::Score;
use super::space::Candidate;
use super::tune::{Outcome, TuneError};
use super::{output, train};
use crate::files;
use crate::train::evaluate::Evaluation;
use crate::train::metrics::MetricsLog;
use crate::train::run_dir::RunDir;
use crate::train::selection::ChoosingError;
use crate::train::trainer::TrainError;

/// A line of `trials.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    run: String,
    chosen: std::collections::BTreeMap<&'a str, &'a toml::Value>,
    /// None where what was trained is not finite.
    valid: Option<&'a Evaluation>,
}

/// Tries `candidates` of the file with this `text`.
pub fn run(
    out: &Path,
    resume: bool,
    json: bool,
    score: Option<Score>,
    (command, text): (&Command, &[u8]),
    candidates: Vec<Candidate>,
) -> Result<()> {
    let space = out.join("space.toml");
    match (resume, out.exists()) {
        (false, true) => return Err(ChoosingError::Exists { path: out.to_owned() }.into()),
        (true, _) if !space.exists() => return Err(ChoosingError::Nothing { path: out.to_owned() }.into()),
        (true, _) if files::read(&space)? != text => {
            return Err(ChoosingError::Other { path: out.to_owned() }.into());
        }
        _ => {}
    }
    files::create_directory(&out.join("trials"))?;
    files::write_atomic(&space, |file| file.write_all(text))?;
    output::warning("the data are taken to be public: nothing is guaranteed of them");
    let mut tried = Vec::new();
    let count = candidates.len();
    for (number, candidate) in candidates.into_iter().enumerate() {
        let config = candidate.config(command);
        let words = candidate.words();
        output::note(format_args!("{} of {count}: {words}", number + 1));
        let directory = RunDir::new(&out.join("trials").join(format!("{:04}", number + 1)));
        let Candidate { chosen, args, .. } = candidate;
        let valid = evaluation(args, &directory, &config)?;
        if let Some(valid) = &valid {
            output::note(format_args!("{}", valid.text(4)));
        }
        tried.push((chosen, words, config, directory, valid));
    }
    let lines = tried.iter().map(|(chosen, _, _, directory, valid)| {
        let run = directory.path().strip_prefix(out).unwrap_or(directory.path()).display().to_string();
        let chosen = chosen.iter().map(|(flag, value)| (flag.as_str(), value)).collect();
        serde_json::to_string(&Line { run, chosen, valid: valid.as_ref() }).map(|line| line + "\n")
    });
    let path = out.join("trials.jsonl");
    let lines = lines.collect::<Result<String, _>>().map_err(|error| files::FileError::write(&path, error.into()))?;
    files::write_atomic(&path, |file| file.write_all(lines.as_bytes()))?;

    let keys = |valid: &Evaluation| valid.figures().iter().map(|figure| figure.key).collect::<Vec<_>>();
    let evaluated = tried.iter().filter_map(|(.., valid)| valid.as_ref());
    let there: Vec<&'static str> = evaluated.map(keys).next().unwrap_or_default();
    let measure = score.unwrap_or_else(|| Score::usual(&there));
    let mut best: Option<(usize, f64)> = None;
    for (number, (.., valid)) in tried.iter().enumerate() {
        if let Some(score) = valid.as_ref().and_then(|valid| measure.of(valid))
            && best.is_none_or(|(_, other)| score > other)
        {
            best = Some((number, score));
        }
    }
    let Some((number, score)) = best else {
        return Err(match there.is_empty() || there.contains(&measure.key()) {
            true => TuneError::Nothing.into(),
            false => TuneError::NoMeasure { measure, there }.into(),
        });
    };
    let (chosen, words, config, ..) = &tried[number];
    let path = out.join("best.toml");
    files::write_atomic(&path, |file| file.write_all(config.as_bytes()))?;
    let score = measure.undirected(score);
    if json {
        let chosen = chosen.iter().map(|(flag, value)| (flag.as_str(), value)).collect();
        return output::json(&Outcome { epsilon: None, delta: None, chosen, measure, score, out: out.to_owned() });
    }
    output::line(format!("best: {words} ({measure} {score:.4})"))?;
    output::line(format!("wrote {}: dpc train --config {0} --data D trains by it", path.display()))
}

/// What a trial in `directory` ended with, which is made where it has not ended; none where it is not finite.
fn evaluation(args: train::Args, directory: &RunDir, config: &str) -> Result<Option<Evaluation>> {
    if directory.certificate().exists() {
        let lines = MetricsLog::read(&directory.metrics())?;
        return Ok(lines.into_iter().rev().find_map(|line| line.valid));
    }
    let begun = directory.artifact().exists();
    match train::run_quietly(&args.into_directory(directory.path(), begun), Some(config)) {
        Ok(summary) => Ok(summary.valid),
        Err(error) if matches!(error.downcast_ref(), Some(TrainError::NotFinite { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}
