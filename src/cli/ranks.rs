//! `dpc train` and `dpc bench step` under `mpirun` or `srun`: the processes that were started together as the ranks of one run.
//!
//! A launcher says in the environment how many processes it started. Where that is one, or nothing is said, a command is alone and
//! MPI is not begun. A dpc that was built without MPI refuses to be one of several, which would all write to one directory.

use std::collections::BTreeSet;
use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use miette::{Diagnostic, Result};
use thiserror::Error;

use crate::ranks::{Alone, Ranks, RanksError};

/// Where launchers say how many processes there are: Open MPI's, those of MPICH and its relatives, and Slurm's.
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];
/// Flags in which ranks may differ: where files are, whose content is compared later, and what a rank computes on.
const OWN: [&str; 9] =
    ["artifact", "data", "valid", "ledger", "tokenizer", "cache", "tensorboard", "physical-batch", "device"];

/// Whether this process is at its own end.
static PARTED: AtomicBool = AtomicBool::new(false);

/// Kept until what went wrong is told: MPI may end processes as soon as one of them is over.
static JOINED: Mutex<Option<Arc<dyn Ranks>>> = Mutex::new(None);

#[derive(Debug, Error, Diagnostic)]
enum StartError {
    #[cfg_attr(feature = "mpi", expect(dead_code, reason = "of a dpc without MPI"))]
    #[error("{count} processes were started together, and this dpc was built without MPI")]
    #[diagnostic(
        code(dpc::ranks::no_mpi),
        help(
            "build it with `cargo install --path . --features mpi`, which takes an MPI such as libopenmpi-dev and \
             libclang-dev; or start one process"
        )
    )]
    NoMpi { count: usize },

    #[error("{count} processes were started together, and `dpc {command}` is for one")]
    #[diagnostic(
        code(dpc::ranks::alone),
        help("start one; only `dpc train` and `dpc bench step` are done by several together")
    )]
    Alone { count: usize, command: &'static str },

    #[cfg_attr(not(feature = "mpi"), expect(dead_code, reason = "of a dpc with MPI"))]
    #[error("{count} processes were started together, and MPI knows of {found}")]
    #[diagnostic(
        code(dpc::ranks::other_mpi),
        help(
            "start dpc by the `mpirun` of the MPI that it was built with; under Slurm by `srun --mpi=…` with its kind"
        )
    )]
    OtherMpi { count: usize, found: usize },
}

/// Does `work` as one of the processes that were started together; what goes wrong on one of them ends all.
pub fn among<T>(work: impl FnOnce(&Arc<dyn Ranks>) -> Result<T>) -> Result<T> {
    let ranks = join()?;
    *JOINED.lock().unwrap_or_else(PoisonError::into_inner) = Some(ranks.clone());
    let leaving = Leaving(ranks);
    work(&leaving.0).inspect_err(|error| leaving.0.leave(&error.to_string()))
}

/// Leaves the others for good, at the end of a command.
pub fn part() {
    PARTED.store(true, Ordering::Relaxed);
    JOINED.lock().unwrap_or_else(PoisonError::into_inner).take();
}

/// Tells the others where a defect ends this process.
struct Leaving(Arc<dyn Ranks>);

impl Drop for Leaving {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.leave("it met a defect of dpc");
        }
    }
}

/// Checks that `command` is done by this process alone.
///
/// # Errors
/// Where several were started together, which would all write to one directory.
pub fn alone(command: &'static str) -> Result<()> {
    match started() {
        0 | 1 => Ok(()),
        count => Err(StartError::Alone { count, command }.into()),
    }
}

/// How many processes a launcher has started together, by what it says in the environment.
fn started() -> usize {
    let said = SIZES.iter().filter_map(|name| env::var(name).ok()?.trim().parse().ok());
    said.max().unwrap_or(1)
}

fn join() -> Result<Arc<dyn Ranks>> {
    let count = started();
    if count <= 1 {
        return Ok(Arc::new(Alone));
    }
    together(count)
}

#[cfg(feature = "mpi")]
fn together(count: usize) -> Result<Arc<dyn Ranks>> {
    let mpi = crate::ranks::Mpi::join()?;
    match mpi.size() {
        found if found == count => {
            #[cfg(unix)]
            tell_when_ended(mpi.rank(), mpi.size());
            Ok(Arc::new(mpi))
        }
        found => Err(StartError::OtherMpi { count, found }.into()),
    }
}

/// Says so where the launcher ends this process, as it does with all once one of them is killed. It ends as it would have.
#[cfg(all(feature = "mpi", unix))]
fn tell_when_ended(rank: usize, size: usize) {
    use signal_hook::{consts::SIGTERM, iterator::Signals, low_level::emulate_default_handler};

    let Ok(mut signals) = Signals::new([SIGTERM]) else { return };
    // Where the system starts no thread there is no message, and the end is the same.
    let _ = std::thread::Builder::new().name("dpc signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if !PARTED.load(Ordering::Relaxed) {
                super::output::report(&RanksError::Ended { rank, size }.into());
            }
            let _ = emulate_default_handler(signal);
        }
    });
}

#[cfg(not(feature = "mpi"))]
fn together(count: usize) -> Result<Arc<dyn Ranks>> {
    Err(StartError::NoMpi { count }.into())
}

/// Checks that all ranks were started with the same flags, which `config` holds, one a line.
///
/// # Errors
/// Every flag that differs, on all ranks.
pub fn same_flags(ranks: &dyn Ranks, config: &str) -> Result<(), RanksError> {
    let all = ranks.gather(config.as_bytes())?;
    let flags: Vec<BTreeSet<String>> = all.iter().map(|text| flags(&String::from_utf8_lossy(text))).collect();
    let mut what = Vec::new();
    for (rank, own) in flags.iter().enumerate() {
        let only = |these: &BTreeSet<String>, those: &BTreeSet<String>| {
            let lines: Vec<String> = these.difference(those).cloned().collect();
            if lines.is_empty() { "without that".to_owned() } else { format!("with {}", lines.join(", ")) }
        };
        if *own != flags[0] {
            what.push(format!("rank {rank} was started {}, rank 0 {}", only(own, &flags[0]), only(&flags[0], own)));
        }
    }
    if what.is_empty() { Ok(()) } else { Err(RanksError::Differ { what }) }
}

/// The lines of a file of flags that ranks must have in common.
fn flags(config: &str) -> BTreeSet<String> {
    let lines = config.lines().filter(|line| !line.starts_with('#'));
    let common = lines.filter(|line| line.split_once(" = ").is_none_or(|(flag, _)| !OWN.contains(&flag)));
    common.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::Threads;

    #[test]
    fn flags_that_differ_are_told_and_places_may() {
        let of = [
            "# dpc\nepsilon = 3\ndata = \"a\"\n",
            "epsilon = 3\ndata = \"b\"\n",
            "epsilon = 4\ndata = \"a\"\nema = 0.5\n",
        ];
        let ended: Vec<_> = std::thread::scope(|scope| {
            let rank = |(place, config): (Threads, &'static str)| scope.spawn(move || same_flags(&place, config));
            let threads: Vec<_> = Threads::places(3).into_iter().zip(of).map(rank).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let told = "rank 2 was started with ema = 0.5, epsilon = 4, rank 0 with epsilon = 3";
        assert!(
            ended.iter().all(|ended| *ended == Err(RanksError::Differ { what: vec![told.to_owned()] })),
            "{ended:?}"
        );
    }
}
