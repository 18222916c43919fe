//! `dpc tune`: hyper-parameters chosen by trials, and the choice paid for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::CommandFactory;
use miette::{Diagnostic, Report, Result};
use serde::Serialize;
use thiserror::Error;
use toml::Value;

use super::score::{Score, measures};
use super::space::{self, Candidate};
use super::train::Opened;
use super::{Cli, output, ranks, tune_public, values};
use crate::device::{self, Device};
use crate::files;
use crate::privacy::accountant::selection::Candidate as Charged;
use crate::privacy::accountant::{Accountant, Rdp, Selection};
use crate::privacy::calibrate::Target;
use crate::privacy::keys::sha256_hex;
use crate::privacy::plan::{PlanSpec, PrivacyPlan};
use crate::privacy::request::{Amount, PlanRequest};
use crate::privacy::trials::Trials;
use crate::privacy::tuning;
use crate::train::run_dir::RunDir;
use crate::train::selection::{Choosing, Trial, folder_of};
use crate::train::trainer::{TrainError, Training, train};

/// Choose hyper-parameters by trials, and pay for the choice
///
/// Makes a random number of trials, each with a combination of what SPACE.toml says, and releases the one that is best on the
/// validation data, with a certificate of what that costs: about twice the ε of one trial. The other trials, their number and
/// how long they took must stay secret: they are made in a folder that only its owner may look into, and removed.
#[derive(clap::Args)]
pub struct Args {
    /// Flags of `dpc train` that all trials share, and a table `choose` with lists or ranges of what is tried
    #[arg(value_name = "SPACE.toml")]
    space: PathBuf,

    /// How many trials are expected, as a number or with the distribution of their number: geometric:20, logarithmic:20, poisson:20 or
    /// negative-binomial:20,shape=0.5
    #[arg(long, value_name = "TRIALS", default_value = "20", value_parser = values::with_help::<Trials>)]
    #[arg(conflicts_with = "public")]
    trials: Trials,

    /// The measure on the validation data by which trials are compared: accuracy, top5, macro_f1, roc_auc, r2, loss, rmse or mae;
    /// by default accuracy where there is one, and else loss
    #[arg(long, value_name = "MEASURE")]
    score: Option<Score>,

    /// The data are public: every combination is tried once, all that comes of it is kept, and nothing is guaranteed of these data
    #[arg(long)]
    public: bool,

    /// The directory to write: the released run, or with --public the trials and the best flags
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,

    /// Go on with a choice that was interrupted
    #[arg(long)]
    resume: bool,

    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Error, Diagnostic)]
pub enum TuneError {
    #[error("there is nothing to score trials by")]
    #[diagnostic(
        code(dpc::tune::valid),
        help(
            "give data that are public, or at least not covered by the guarantee, as `valid`. A score on the private data would be one more \
             thing to pay for"
        )
    )]
    NoValidation,

    #[error("a choice among trials that are not private guarantees nothing")]
    #[diagnostic(
        code(dpc::tune::non_private),
        help("give `epsilon` or `noise-multiplier`; if the data are public, say so by --public")
    )]
    NonPrivate,

    #[error("the {name} accountant has no bound for the best of several trials")]
    #[diagnostic(code(dpc::tune::accountant), help("leave `accountant` out: the choice is accounted for by rdp"))]
    Accountant { name: &'static str },

    #[error("trials have no {measure}")]
    #[diagnostic(code(dpc::tune::score), help("score them by one of {}", there.join(", ")))]
    NoMeasure { measure: Score, there: Vec<&'static str> },

    #[error("no trial has a model to release")]
    #[diagnostic(
        code(dpc::tune::none),
        help(
            "what was tried ended with parameters that are not finite, or by chance no trial was made; the ε of the choice is spent. Try smaller \
             learning rates"
        )
    )]
    Nothing,
}

/// What was chosen, for `--json`.
#[derive(Serialize)]
pub struct Outcome<'a> {
    pub epsilon: Option<f64>,
    pub delta: Option<f64>,
    pub chosen: BTreeMap<&'a str, &'a Value>,
    pub measure: Score,
    pub score: f64,
    pub out: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    ranks::alone("tune")?;
    let command = Cli::command();
    let candidates = space::candidates(&command, &args.space)?;
    if let Some(first) = candidates.first()
        && !first.args.is_validated()
    {
        return Err(TuneError::NoValidation.into());
    }
    if args.public {
        let text = files::read(&args.space)?;
        return tune_public::run(&args.out, args.resume, args.json, args.score, (&command, &text), candidates);
    }
    let space = Space::open(args, &candidates)?;
    let selection = &space.selection;
    let out = RunDir::new(&args.out);
    if !args.json {
        space.announce(args, &out)?;
    }
    let plan = &space.plans[0];
    let mut choosing = match args.resume {
        true => Choosing::resume(&out, selection, &space.settings, plan)?,
        false => Choosing::begin(&out, (selection.clone(), candidates.len()), &space.settings, plan)?,
    };
    while let Some(trial) = choosing.next()? {
        let score = space.score_of(&choosing, &trial)?;
        choosing.end(score)?;
    }
    let Some(chosen) = choosing.chosen() else {
        choosing.release_nothing()?;
        return Err(TuneError::Nothing.into());
    };
    let candidate = &candidates[chosen.trial.candidate];
    let config = format!(
        "# Chosen by dpc tune ({}): certificate.json says what the choice and its run cost. Another run by this file is paid for besides.\n{}",
        candidate.words().replace('\n', " "),
        candidate.config(&command)
    );
    let certificate = choosing.release(&chosen, &out, &config)?;
    let score = space.measure.undirected(chosen.score);
    if args.json {
        let chosen = candidate.chosen.iter().map(|(flag, value)| (flag.as_str(), value)).collect();
        let epsilon = certificate.epsilon.filter(|_| certificate.guarantee);
        let (delta, measure) = (certificate.plan.delta, space.measure);
        return output::json(&Outcome { epsilon, delta, chosen, measure, score, out: args.out.clone() });
    }
    output::line(format!("chosen: {} ({} {score:.4})", candidate.words(), space.measure))?;
    output::line(&certificate.statement)?;
    output::line(format!("wrote {}", args.out.display()))
}

/// All that trials are made from.
struct Space<'a> {
    candidates: &'a [Candidate],
    /// What is opened for each of them, as several share it.
    opened: Vec<(String, Opened)>,
    plans: Vec<PrivacyPlan>,
    selection: Selection,
    measure: Score,
    device: Box<dyn Device>,
    /// The digest of what the choice is made by.
    settings: String,
}

impl<'a> Space<'a> {
    fn open(args: &Args, candidates: &'a [Candidate]) -> Result<Space<'a>> {
        let first = &candidates[0].args;
        if let Some(accountant) = first.named_accountant().filter(|accountant| accountant.name() != Rdp.name()) {
            return Err(TuneError::Accountant { name: accountant.name() }.into());
        }
        // All at once: what is said of data would tell how many trials there are.
        let mut opened: Vec<(String, Opened)> = Vec::new();
        for candidate in candidates {
            let key = candidate.args.opens();
            if opened.iter().all(|(other, _)| *other != key) {
                opened.push((key, candidate.args.open()?));
            }
        }
        let device = device::open(first.device())?;
        let mut there: Option<Vec<&'static str>> = None;
        for (_, opened) in &opened {
            let found = measures(opened, &*device)?;
            there = Some(match there {
                Some(there) => there.into_iter().filter(|key| found.contains(key)).collect(),
                None => found,
            });
        }
        let there = there.unwrap_or_default();
        let measure = args.score.unwrap_or_else(|| Score::usual(&there));
        if !there.contains(&measure.key()) {
            return Err(TuneError::NoMeasure { measure, there }.into());
        }
        let mut requests = Vec::new();
        for candidate in candidates {
            let opened = of(&opened, candidate);
            requests.push((opened, candidate.args.request(&opened.artifact)?));
        }
        let plans = plans(args.trials, &requests)?;
        for warning in plans[0].warnings(requests[0].0.units.len() as u64) {
            output::report(&Report::new(warning));
        }
        drop(requests);
        let selection = Selection::new(args.trials, plans.iter().map(Charged::of));
        let mut made_by = files::read(&args.space)?;
        made_by.extend(measure.key().bytes());
        for (_, opened) in &opened {
            let Opened { artifact, data, valid, .. } = opened;
            let provenance = artifact.provenance()?;
            let valid = valid.as_ref().map(|valid| valid.records());
            made_by.extend(format!("{provenance:?} {} {valid:?}", data.records()).bytes());
        }
        Ok(Space { candidates, opened, plans, selection, measure, device, settings: sha256_hex(&made_by) })
    }

    /// Makes a trial; its score, the larger the better, where its parameters are finite.
    fn score_of(&self, choosing: &Choosing, trial: &Trial) -> Result<Option<f64>> {
        let args = &self.candidates[trial.candidate].args;
        let opened = of(&self.opened, &self.candidates[trial.candidate]);
        let plan = &self.plans[trial.candidate];
        // A seed fixes all trials, and each has its own.
        let insecure_seed = plan.insecure_seed.map(|seed| seed.wrapping_add(trial.number as u64));
        let plan = PrivacyPlan::new(PlanSpec { insecure_seed, ..(**plan).clone() })?;
        let rows = args.physical_batch(opened, &plan, &*self.device, 1);
        let trained = train(&Training {
            accountant: &Rdp,
            ledger: choosing.ledger(),
            trial_of: Some(choosing.id()),
            valid_every: None,
            // Nothing goes on from one.
            checkpoint_interval: Duration::MAX,
            ..args.training(opened, &plan, &*self.device, rows, RunDir::new(&trial.directory))
        });
        match trained {
            Ok(summary) => Ok(summary.valid.as_ref().and_then(|valid| self.measure.of(valid))),
            Err(TrainError::NotFinite { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn announce(&self, args: &Args, out: &RunDir) -> Result<()> {
        let plan = &self.plans[0];
        let cost = match plan.delta.filter(|_| plan.insecure_seed.is_none()) {
            Some(delta) => {
                let choice = self.selection.epsilon(plan.adjacency, delta)?;
                let alone = |charged: &Charged| Rdp.epsilon(&charged.history, plan.adjacency, delta);
                let alone: Result<Vec<f64>, _> = self.selection.candidates.iter().map(alone).collect();
                let alone = alone?.into_iter().fold(0.0, f64::max);
                format!("ε = {choice:.4} at δ = {delta:e}; a trial alone would have ε = {alone:.4}")
            }
            None => "nothing is guaranteed".to_owned(),
        };
        output::note(format_args!(
            "{} combinations; the best of a random number of trials ({}) by {} is released: {cost}",
            self.candidates.len(),
            args.trials,
            self.measure
        ));
        output::note(format_args!(
            "trials are made in {}, which only you may look into, and removed in the end. Until then it is as private as the data are, and \
             always are how many trials there were and how long they took",
            folder_of(out).display()
        ));
        Ok(())
    }
}

fn of<'a>(opened: &'a [(String, Opened)], candidate: &Candidate) -> &'a Opened {
    let key = candidate.args.opens();
    let found = opened.iter().find(|(other, _)| *other == key);
    &found.expect("all that candidates name was opened").1
}

/// The plan of each candidate, with noise for the ε of the choice where that is asked for.
fn plans(trials: Trials, requests: &[(&Opened, PlanRequest)]) -> Result<Vec<PrivacyPlan>> {
    /// The noise multiplier of plans whose noise is not known yet: what a schedule and the like make of it is in proportion to it.
    const UNIT: f64 = 1e-3;
    let plan = |(opened, request): &(&Opened, PlanRequest), amount| -> Result<PrivacyPlan> {
        let units = (opened.unit, opened.units.len());
        let request = PlanRequest { amount, accountant: &Rdp, ..request.clone() };
        Ok(request.plan(opened.artifact.manifest.clipped(), units, &[], None)?)
    };
    let (epsilon, delta, adjacency) = match requests {
        [(_, PlanRequest { amount: Amount::Epsilon(epsilon), delta: Some(delta), adjacency, .. }), ..] => {
            (*epsilon, *delta, *adjacency)
        }
        [(_, PlanRequest { amount: Amount::NoiseMultiplier(_), .. }), ..] => {
            return requests.iter().map(|request| plan(request, request.1.amount)).collect();
        }
        _ => return Err(TuneError::NonPrivate.into()),
    };
    let mut charged = Vec::new();
    for request in requests {
        charged.push(Charged::of(&plan(request, Amount::NoiseMultiplier(UNIT))?).scaled(1.0 / UNIT));
    }
    let found = tuning::noise_multipliers(trials, Target { epsilon, delta, adjacency }, &charged)?;
    requests.iter().zip(found).map(|(request, found)| plan(request, Amount::NoiseMultiplier(found))).collect()
}
