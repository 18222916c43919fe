//! A choice among trials: what is kept of it while it is made, and what is released in the end.
//!
//! What [`privacy::accountant::selection`](crate::privacy::accountant::selection) charges for is the release of one trial and of nothing else. So all trials
//! lie in a working folder that nobody but its owner may look into, the number of trials with them, and what is released is made anew from the best of them:
//! its last checkpoint, without what the ledger of the trials told it of their number. The working folder is removed then.
//!
//! The number of trials, and what each tries, are drawn once and kept, so that interruptions do not favour any number; the line that pays for all of it is on the disk
//! before the first trial begins. A trial that was interrupted is thrown away and made anew, with fresh randomness.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::average::Average;
use super::checkpoint::{CheckpointError, Checkpoints};
use super::run_dir::RunDir;
use super::terms::plan_at;
use crate::artifact::{Artifact, ArtifactError};
use crate::files::{self, FileError};
use crate::privacy::accountant::{Rdp, Selection};
use crate::privacy::certificate::{Certificate, CertificateError, NoCertificate};
use crate::privacy::keys::{EntropyError, RunKey, SystemEntropy, run_id};
use crate::privacy::ledger::{Contents, Ledger, LedgerError};
use crate::privacy::plan::PrivacyPlan;

/// A choice that is being made, in a folder that this process alone has.
#[derive(Debug)]
pub struct Choosing {
    folder: PathBuf,
    state: State,
    _lock: File,
}

/// What is known of it, as secret as the data.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    /// Its name in ledgers.
    id: String,
    /// The digest of all that it is made by.
    settings: String,
    selection: Selection,
    /// What each trial tries.
    trials: Vec<usize>,
    /// The trials that have ended.
    ended: usize,
    best: Option<Best>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Best {
    trial: usize,
    score: f64,
}

/// A trial that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Its number, from 0.
    pub number: usize,
    /// The candidate that it tries.
    pub candidate: usize,
    /// Where it is to be made.
    pub directory: PathBuf,
}

/// What was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// The trial that is released.
    pub trial: Trial,
    /// Its score.
    pub score: f64,
}

/// A choice that cannot be made, or not go on.
#[derive(Debug, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum ChoosingError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    NoCertificate(#[from] NoCertificate),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Entropy(#[from] EntropyError),

    #[error("{} is there already", path.display())]
    #[diagnostic(
        code(dpc::tune::exists),
        help("go on with a choice that was interrupted by --resume, or give another directory by --out")
    )]
    Exists { path: PathBuf },

    #[error("{} holds no choice to go on with", path.display())]
    #[diagnostic(code(dpc::tune::nothing), help("begin one by leaving out --resume, or give its directory by --out"))]
    Nothing { path: PathBuf },

    #[error("the choice in {} has been made", path.display())]
    #[diagnostic(
        code(dpc::tune::ended),
        help("its certificate is there, and what was left of the trials is removed: there is nothing more to do")
    )]
    Ended { path: PathBuf },

    #[error("the choice in {} is being made by another process", path.display())]
    #[diagnostic(code(dpc::tune::in_use), help("wait for it to end, or give another directory by --out"))]
    InUse { path: PathBuf },

    #[error("the choice in {} was begun with other flags, data or models", path.display())]
    #[diagnostic(
        code(dpc::tune::other),
        help("go on with what it was begun with; another choice is made in another directory, and paid for by itself")
    )]
    Other { path: PathBuf },

    #[error("{} is damaged", path.display())]
    #[diagnostic(
        code(dpc::tune::damaged),
        help(
            "begin another choice in another directory; what this one has cost stays spent, and the ε and δ of both add up"
        )
    )]
    Damaged { path: PathBuf },
}

impl Choosing {
    /// Begins a choice by `selection` among `candidates` candidates, whose result is to be in `out`. `plan` is the plan of one of them.
    ///
    /// # Errors
    /// When there is something in `out` or in the working folder, or nothing can be written.
    pub fn begin(
        out: &RunDir,
        (selection, candidates): (Selection, usize),
        settings: &str,
        plan: &PrivacyPlan,
    ) -> Result<Choosing, ChoosingError> {
        let folder = folder_of(out);
        if let Some(path) = [out.path(), &folder].into_iter().find(|path| path.exists()) {
            return Err(ChoosingError::Exists { path: path.to_owned() });
        }
        let key = RunKey::for_plan(plan, &SystemEntropy)?;
        files::create_private_directory(&folder)?;
        let lock = lock(&folder)?;
        let state = State {
            id: run_id(&SystemEntropy)?,
            settings: settings.to_owned(),
            trials: selection.trials.draw(&key, candidates),
            selection,
            ended: 0,
            best: None,
        };
        let choosing = Choosing { folder, state, _lock: lock };
        choosing.keep()?;
        choosing.pay(out, plan)?;
        Ok(choosing)
    }

    /// Goes on with a choice that was begun with `settings`, in place of [`Choosing::begin`].
    ///
    /// # Errors
    /// When there is none, or it is another one.
    pub fn resume(
        out: &RunDir,
        selection: &Selection,
        settings: &str,
        plan: &PrivacyPlan,
    ) -> Result<Choosing, ChoosingError> {
        let folder = folder_of(out);
        let lock = if folder.exists() { Some(lock(&folder)?) } else { None };
        if out.certificate().exists() {
            // Nothing of the trials is needed any more, or there are none.
            files::remove_directory(&folder)?;
            return Err(ChoosingError::Ended { path: out.path().to_owned() });
        }
        let Some(lock) = lock.filter(|_| state_of(&folder).exists()) else {
            return Err(ChoosingError::Nothing { path: out.path().to_owned() });
        };
        let state: State = serde_json::from_slice(&files::read(&state_of(&folder))?)
            .map_err(|_| ChoosingError::Damaged { path: state_of(&folder) })?;
        if state.settings != settings || state.selection != *selection {
            return Err(ChoosingError::Other { path: out.path().to_owned() });
        }
        let choosing = Choosing { folder, state, _lock: lock };
        choosing.pay(out, plan)?;
        Ok(choosing)
    }

    /// The name by which ledgers tell it from others.
    pub fn id(&self) -> &str {
        &self.state.id
    }

    /// The folder of the trials.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The ledger of the trials, which stays with them.
    pub fn ledger(&self) -> PathBuf {
        self.folder.join("ledger.jsonl")
    }

    /// The trial that is to be made next, from its beginning; `None` where all have ended.
    ///
    /// # Errors
    /// When what an interrupted trial left cannot be removed.
    pub fn next(&self) -> Result<Option<Trial>, ChoosingError> {
        let best = self.state.best.map(|best| best.trial);
        for number in (0..self.state.trials.len()).filter(|&number| Some(number) != best) {
            files::remove_directory(&self.trial(number).directory)?;
        }
        Ok((self.state.ended < self.state.trials.len()).then(|| self.trial(self.state.ended)))
    }

    /// Notes that the next trial has ended, with a score where its parameters are finite: the larger, the better.
    ///
    /// # Errors
    /// When that cannot be written; the trial is made anew then.
    pub fn end(&mut self, score: Option<f64>) -> Result<(), ChoosingError> {
        let trial = self.state.ended;
        self.state.ended += 1;
        if let Some(score) = score.filter(|score| score.is_finite())
            && self.state.best.is_none_or(|best| score > best.score)
        {
            self.state.best = Some(Best { trial, score });
        }
        self.keep()
    }

    /// The best trial of those that have ended; `None` where none has finite parameters.
    pub fn chosen(&self) -> Option<Chosen> {
        self.state.best.map(|Best { trial, score }| Chosen { trial: self.trial(trial), score })
    }

    /// Writes `out`, the run of the chosen trial with the certificate of the choice and nothing of the other trials, and removes these.
    /// `config` is the file of its flags.
    ///
    /// # Errors
    /// When the trial cannot be read, or `out` not be written.
    pub fn release(self, chosen: &Chosen, out: &RunDir, config: &str) -> Result<Certificate, ChoosingError> {
        let from = RunDir::new(&chosen.trial.directory);
        let damaged = || ChoosingError::Damaged { path: from.checkpoints() };
        let mut checkpoint = Checkpoints::at(&from.checkpoints()).latest()?.ok_or_else(damaged)?;
        let plan = plan_at(&checkpoint).ok_or_else(damaged)?;
        let artifact = Artifact::load(&from.artifact())?;
        let ledger = Contents::read(&out.ledger())?;
        let mut certificate = Certificate::new(&plan, &ledger, &Rdp, artifact.provenance()?)?;
        let decay = checkpoint.context.get("ema").and_then(serde_json::Value::as_f64);
        certificate.post_processing.extend(decay.map(Average::statement));

        // How many lines the trials' ledger has tells how many trials there were.
        let head = serde_json::to_value(ledger.head()).map_err(|_| damaged())?;
        checkpoint.context.as_object_mut().ok_or_else(damaged)?.insert("ledger".to_owned(), head);
        checkpoint.run.clone_from(&self.state.id);
        out.remove_temporaries()?;
        Checkpoints::at(&out.checkpoints()).save(&checkpoint)?;
        artifact.save(&out.artifact())?;
        files::write_atomic(&out.config(), |file| file.write_all(config.as_bytes()))?;
        certificate.write_page(&out.certificate_page())?;
        certificate.write(&out.certificate())?;
        files::remove_directory(&self.folder)?;
        Ok(certificate)
    }

    /// The same where no trial has finite parameters: nothing is released.
    ///
    /// # Errors
    /// When the trials cannot be removed.
    pub fn release_nothing(self) -> Result<(), ChoosingError> {
        Ok(files::remove_directory(&self.folder)?)
    }

    fn trial(&self, number: usize) -> Trial {
        let directory = self.folder.join(format!("trial-{number}"));
        Trial { number, candidate: self.state.trials[number], directory }
    }

    /// Has the line that pays for it on the disk.
    fn pay(&self, out: &RunDir, plan: &PrivacyPlan) -> Result<(), ChoosingError> {
        files::create_directory(out.path())?;
        let path = out.ledger();
        let held = Contents::read_if_any(&path)?;
        match held.entries() {
            [] => {
                // No trial has begun by a line that was cut short.
                files::remove(&path)?;
                Ledger::open(&path, &self.state.id, plan)?.select(self.state.selection.clone())?;
                Ok(())
            }
            [line] if line.run == self.state.id && line.selection.as_ref() == Some(&self.state.selection) => Ok(()),
            _ => Err(ChoosingError::Damaged { path }),
        }
    }

    fn keep(&self) -> Result<(), ChoosingError> {
        let path = state_of(&self.folder);
        let text = serde_json::to_vec(&self.state).map_err(|source| FileError::write(&path, source.into()))?;
        Ok(files::write_atomic_private(&path, |file| file.write_all(&text))?)
    }
}

/// The working folder of the choice whose result is to be in `out`.
pub fn folder_of(out: &RunDir) -> PathBuf {
    let mut name = out.path().as_os_str().to_owned();
    name.push(".private");
    name.into()
}

fn state_of(folder: &Path) -> PathBuf {
    folder.join("state.json")
}

fn lock(folder: &Path) -> Result<File, ChoosingError> {
    files::lock(&folder.join("lock"))?.ok_or_else(|| ChoosingError::InUse { path: folder.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::accountant::selection::Candidate;
    use crate::privacy::plan::{self, PlanSpec};

    fn plan() -> PrivacyPlan {
        PrivacyPlan::new(PlanSpec { planned_steps: 3, ..plan::example() }).unwrap()
    }

    fn selection() -> Selection {
        Selection::new("geometric:5".parse().unwrap(), [Candidate::of(&plan())])
    }

    struct Case(tempfile::TempDir);

    impl Case {
        fn out(&self) -> RunDir {
            RunDir::new(&self.0.path().join("out"))
        }

        fn begin(&self) -> Choosing {
            Choosing::begin(&self.out(), (selection(), 4), "settings", &plan()).unwrap()
        }

        fn resume(&self, settings: &str) -> Result<Choosing, ChoosingError> {
            Choosing::resume(&self.out(), &selection(), settings, &plan())
        }
    }

    fn case() -> Case {
        Case(tempfile::tempdir().unwrap())
    }

    #[test]
    fn a_choice_is_paid_for_once_however_often_it_goes_on() {
        let case = case();
        let choosing = case.begin();
        let (first, all) = (choosing.next().unwrap().unwrap(), choosing.state.trials.clone());
        assert_eq!(first.number, 0);
        let held = || Contents::read(&case.out().ledger()).unwrap();
        assert_eq!(held().selection(), Some(&selection()));
        assert!(matches!(case.resume("settings"), Err(ChoosingError::InUse { .. })));
        drop(choosing);
        let choosing = case.resume("settings").unwrap();
        assert_eq!(choosing.state.trials, all);
        assert_eq!(held().steps(), 1);
        drop(choosing);
        assert!(matches!(case.resume("others"), Err(ChoosingError::Other { .. })));
        let again = Choosing::begin(&case.out(), (selection(), 4), "settings", &plan());
        assert!(matches!(again, Err(ChoosingError::Exists { .. })));
    }

    /// Killed before the line was on the disk, or while it was written: there is nothing to pay for yet, and then there is.
    #[test]
    fn a_line_that_was_not_written_is_written_before_a_trial_begins() {
        let case = case();
        drop(case.begin());
        let whole = std::fs::read(case.out().ledger()).unwrap();
        for text in [&[][..], &whole[..whole.len() / 2]] {
            std::fs::write(case.out().ledger(), text).unwrap();
            drop(case.resume("settings").unwrap());
            assert_eq!(Contents::read(&case.out().ledger()).unwrap().selection(), Some(&selection()));
        }
        std::fs::remove_file(case.out().ledger()).unwrap();
        drop(case.resume("settings").unwrap());
        assert_eq!(Contents::read(&case.out().ledger()).unwrap().selection(), Some(&selection()));
    }

    #[test]
    fn the_first_of_the_best_is_chosen_and_an_interrupted_trial_is_made_anew() {
        let case = case();
        let mut choosing = case.begin();
        choosing.state.trials = vec![0, 1, 2, 3, 0];
        let scores = [None, Some(0.5), Some(f64::NAN), Some(0.75), Some(0.75)];
        for (number, score) in scores.into_iter().enumerate() {
            let trial = choosing.next().unwrap().unwrap();
            assert_eq!(trial.number, number);
            std::fs::create_dir(&trial.directory).unwrap();
            std::fs::write(trial.directory.join("half"), "").unwrap();
            // Interrupted: what it left is gone.
            choosing.keep().unwrap();
            drop(choosing);
            choosing = case.resume("settings").unwrap();
            assert_eq!(choosing.next().unwrap().unwrap(), trial);
            assert!(!trial.directory.exists());
            std::fs::create_dir(&trial.directory).unwrap();
            choosing.end(score).unwrap();
        }
        assert_eq!(choosing.next().unwrap(), None);
        let chosen = choosing.chosen().unwrap();
        assert_eq!((chosen.trial.number, chosen.trial.candidate, chosen.score), (3, 3, 0.75));
        let left: Vec<bool> = (0..5).map(|number| choosing.trial(number).directory.exists()).collect();
        assert_eq!(left, [false, false, false, true, false]);
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_look_at_trials() {
        use std::os::unix::fs::PermissionsExt;
        let case = case();
        let choosing = case.begin();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(choosing.folder()), 0o700);
        assert_eq!(mode(&state_of(choosing.folder())), 0o600);
    }

    #[test]
    fn no_steps_are_added_to_a_choice_and_no_choice_to_steps() {
        let case = case();
        drop(case.begin());
        let path = case.out().ledger();
        assert!(matches!(Ledger::open(&path, "run", &plan()), Err(LedgerError::Selection { .. })));
        let other = case.0.path().join("other.jsonl");
        let mut ledger = Ledger::open(&other, "run", &plan()).unwrap();
        let _ = ledger.record(0).unwrap();
        drop(ledger);
        let refused = Ledger::open(&other, "choice", &plan()).unwrap().select(selection());
        assert!(matches!(refused, Err(LedgerError::NotAlone { .. })));
    }
}
