//! The ledger: every step that could have been observed, on disk before it can be.
//!
//! A text file with one line for each logical step ([`Entry`]), only ever appended to, each line bound to
//! all before it by a SHA-256 chain. A step's line is on the disk when [`Ledger::record`] returns, and
//! nothing of the step may be shown, stored or sent before. Reading back
//! - a last line that is cut short or unreadable counts as a step, at the smallest noise and highest rate
//!   known. Where a crash cut it, what it would have paid for was never observable; where it was damaged
//!   later, its own noise may have been smaller, which nobody can know;
//! - damage anywhere else is an error, as is a ledger that lacks a [`Head`] it once had.
//!
//! All steps of a ledger are for one kind of unit, since the guarantee is for one.
//!
//! A choice among trials has a ledger of its own, with one line for all of it: what it costs is worked out by Rényi divergences alone, and no other
//! step is added to it. The steps of the trials themselves are on a ledger that stays with them.
//!
//! One process at a time can have a ledger open, by a lock on a file beside it that the system releases
//! when the process ends, however it ends. Links are followed first, so that all names of a ledger are one. A caller of the
//! library may keep the lines elsewhere, see [`LedgerStore`].

mod chain;
mod entry;
mod error;
mod history;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use chain::Contents;
pub use entry::{Entry, Head};
pub use error::LedgerError;
use store::{FileStore, exists};
pub use store::{LedgerStore, MemoryStore};

use super::accountant::Selection;
use super::plan::PrivacyPlan;
use super::sampling::Sampling;
use super::shared::SharedStore;
use crate::files;
use crate::ranks::Ranks;

/// A ledger open for recording. Nobody else has it open until it is dropped.
#[derive(Debug)]
pub struct Ledger {
    store: Box<dyn LedgerStore>,
    contents: Contents,
    run: String,
    /// The stream of correlated noise that steps are of, if they are of one.
    stream: Option<String>,
    /// The selection that steps are of a trial of, if they are.
    trial_of: Option<String>,
    /// How many ranks take the steps together.
    ranks: u64,
    plan: PrivacyPlan,
    failed: bool,
}

/// Proof that one step has been paid for, so that its result, and no other's, may become observable.
#[must_use = "a step is recorded so that it can be taken"]
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The number of the line that paid for it.
    seq: u64,
    /// The step.
    step: u64,
}

impl Receipt {
    /// For step number `step` of an audit or a measurement, whose records are made up: there is nothing to pay for. No step
    /// over a user's data may be released by this.
    #[cfg(all(feature = "cpu", feature = "gpu", feature = "host"))]
    pub(crate) fn of_made_up_records(step: u64) -> Receipt {
        Receipt { seq: step, step }
    }

    /// The step that was paid for.
    pub fn step(&self) -> u64 {
        self.step
    }
}

impl Ledger {
    /// Opens the ledger at `path`, made if there is none, to record steps of `plan` in the name of the
    /// run `run`. A torn last line is first replaced by a whole one that counts as a step.
    ///
    /// # Errors
    /// When another process has it open, it is corrupt, its steps are for other units, it counts a selection, or it cannot be read or
    /// written.
    pub fn open(path: &Path, run: &str, plan: &PrivacyPlan) -> Result<Ledger, LedgerError> {
        Ledger::on(Box::new(FileStore::lock(path)?), run, plan)
    }

    /// The same for the ranks of a run together: rank 0 opens it, and all have what it holds. A step is recorded for all once rank 0 has
    /// its line on the disk.
    ///
    /// # Errors
    /// As [`Ledger::open`], and when a rank has left.
    pub fn open_among(
        ranks: &Arc<dyn Ranks>,
        path: &Path,
        run: &str,
        plan: &PrivacyPlan,
    ) -> Result<Ledger, LedgerError> {
        let own: Option<Box<dyn LedgerStore>> = match ranks.is_first() {
            true => Some(Box::new(FileStore::lock(path)?)),
            false => None,
        };
        Ledger::on_among(ranks, own, path, run, plan)
    }

    /// The same of the ledger that rank 0 keeps in its `own` store, which is called `place` by the others.
    ///
    /// # Errors
    /// As [`Ledger::open_among`].
    pub fn on_among(
        ranks: &Arc<dyn Ranks>,
        own: Option<Box<dyn LedgerStore>>,
        place: &Path,
        run: &str,
        plan: &PrivacyPlan,
    ) -> Result<Ledger, LedgerError> {
        let ledger = Ledger::on(Box::new(SharedStore::new(ranks.clone(), own, place)), run, plan)?;
        Ok(Ledger { ranks: ranks.size() as u64, ..ledger })
    }

    /// [`Ledger::open`] of the ledger that `store` holds.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn on(mut store: Box<dyn LedgerStore>, run: &str, plan: &PrivacyPlan) -> Result<Ledger, LedgerError> {
        let held = Contents::held(&mut *store)?;
        let (fresh, place) = (held.is_none(), store.place().to_owned());
        let mut contents = held.unwrap_or_default();
        if let Some(unit) = contents.unit().filter(|unit| *unit != plan.unit) {
            return Err(LedgerError::Unit { path: place, ledger: unit, plan: plan.unit });
        }
        if contents.selection().is_some() {
            return Err(LedgerError::Selection { path: place });
        }
        if contents.torn || contents.unended || fresh {
            if contents.torn {
                contents = contents.repaired(run, plan);
            }
            contents.unended = false;
            store.replace(contents.to_text().as_bytes())?;
        }
        store.begin()?;
        let stream = plan.correlation.as_ref().map(|_| run.to_owned());
        Ok(Ledger {
            store,
            contents,
            run: run.to_owned(),
            stream,
            trial_of: None,
            ranks: 1,
            plan: plan.clone(),
            failed: false,
        })
    }

    /// The same for a run that goes on with the stream of correlated noise `stream`.
    #[must_use]
    pub fn in_stream(self, stream: &str) -> Ledger {
        Ledger { stream: self.stream.map(|_| stream.to_owned()), ..self }
    }

    /// The same for a run that is a trial of `selection`, if it is of one.
    #[must_use]
    pub fn in_trial_of(self, selection: Option<&str>) -> Ledger {
        Ledger { trial_of: selection.map(str::to_owned), ..self }
    }

    /// Pays for a selection among trials of the plan and others, in a ledger that holds nothing else, now and later. Its line is on the disk on
    /// return.
    ///
    /// # Errors
    /// When there is something in it, or the line could not be written or synced. No trial may begin then.
    pub fn select(mut self, selection: Selection) -> Result<Contents, LedgerError> {
        if !self.contents.is_empty() {
            return Err(LedgerError::NotAlone { path: self.store.place().to_owned() });
        }
        let entry = Entry {
            noise_multiplier: 0.0,
            sampling: Sampling::Poisson { rate: 1.0 },
            noise_correlation: None,
            selection: Some(selection),
            ..Entry::new(0, &self.run, 0, &self.plan, None)
        };
        let line = self.contents.push(entry);
        self.store.append(line.as_bytes())?;
        Ok(self.contents)
    }

    /// The stream of correlated noise that steps are of.
    pub fn stream(&self) -> Option<&str> {
        self.stream.as_deref()
    }

    /// Pays for step number `step`: its line is on the disk on return.
    ///
    /// # Errors
    /// When the line could not be written or synced. The step must not be taken then, and the ledger
    /// records nothing more until it is opened again.
    pub fn record(&mut self, step: u64) -> Result<Receipt, LedgerError> {
        self.record_while(step, || Ok(()))
    }

    /// The same, and meanwhile `work`, which may show nothing of the step. Where it fails the step counts, and is not taken.
    ///
    /// # Errors
    /// As [`Ledger::record`], and what `work` says.
    pub fn record_while<E: From<LedgerError>>(
        &mut self,
        step: u64,
        work: impl FnOnce() -> Result<(), E>,
    ) -> Result<Receipt, E> {
        if self.failed {
            return Err(LedgerError::Failed { path: self.store.place().to_owned() }.into());
        }
        let mut entry = Entry::new(self.contents.len(), &self.run, step, &self.plan, self.stream.as_deref());
        entry.ranks = self.ranks;
        if self.contents.entries().last().is_none_or(|last| last.run != self.run) {
            entry.noise_matrix.clone_from(&self.plan.correlation);
        }
        entry.trial_of.clone_from(&self.trial_of);
        let seq = entry.seq;
        let line = self.contents.push(entry);
        let (mut work, mut done) = (Some(work), Ok(()));
        let appended = self.store.append_while(line.as_bytes(), &mut || {
            if let Some(work) = work.take() {
                done = work();
            }
            done.is_ok()
        });
        self.failed = appended.is_err();
        done?;
        appended?;
        Ok(Receipt { seq, step })
    }

    /// What the ledger holds, the recorded steps included.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }
}

impl Contents {
    /// Reads the ledger at `path` without locking it.
    ///
    /// # Errors
    /// When it cannot be read, or is corrupt other than in its last line.
    pub fn read(path: &Path) -> Result<Contents, LedgerError> {
        Contents::of(&files::read(path)?, path.to_owned())
    }

    /// Reads the text of the ledger at `path`.
    fn of(text: &[u8], path: PathBuf) -> Result<Contents, LedgerError> {
        if Contents::is_v1(text) {
            return Err(LedgerError::Version { path });
        }
        Contents::parse(text).map_err(|line| LedgerError::Corrupt { path, line })
    }

    /// Reads the ledger at `path`, which is empty where there is none.
    ///
    /// # Errors
    /// As [`Contents::read`].
    pub fn read_if_any(path: &Path) -> Result<Contents, LedgerError> {
        if exists(path)? { Contents::read(path) } else { Ok(Contents::default()) }
    }

    /// What `store` holds; `None` where nothing has been written yet.
    ///
    /// # Errors
    /// As [`Contents::read`].
    pub fn held(store: &mut dyn LedgerStore) -> Result<Option<Contents>, LedgerError> {
        let text = store.read()?;
        text.map(|text| Contents::of(&text, store.place().to_owned())).transpose()
    }

    /// Checks that these contents go on from `head`, which a checkpoint or certificate kept.
    ///
    /// # Errors
    /// When lines have been removed or replaced since.
    pub fn check_continues(&self, path: &Path, head: &Head) -> Result<(), LedgerError> {
        if self.head_at(head.entries).as_ref() == Some(head) {
            Ok(())
        } else {
            Err(LedgerError::Rewound { path: path.to_owned(), expected: head.entries, found: self.len() })
        }
    }
}

#[cfg(test)]
mod tests;
