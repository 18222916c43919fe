//! Ranks: the processes that train one model together, each on its share of every batch.
//!
//! A run of n ranks releases what a run of one would. All draw the same logical batch by the same key, each sums the
//! clipped gradients of its [`share`], and the sums are added up once a logical step. Noise is added after that, and
//! once: it is a function of key, step and parameter, so that every rank makes the same and the replicas stay equal
//! with nothing sent. Or each makes a part of it, in its own sum, and the sums of all have all of it, once. Sampler, divisor and accountant know nothing of ranks, and ε is what one process would get. Sums
//! of integers are the same to the bit for any number of ranks and any order of addition; those of floats agree up to
//! their rounding.
//!
//! Rank 0 alone writes files. What it must not do alone is in [`crate::privacy::shared`]: it draws the key from the
//! system and tells the others, in memory, and no rank goes on with a step before rank 0 has it in the ledger, on the
//! disk.
//!
//! [`Ranks`] is what this takes of a way to communicate: [`Alone`] is a single process, [`Threads`] are threads of one,
//! and `mpi::Mpi` processes that were started by MPI. Key and sums without noise pass between ranks as they are, so that
//! the network has to be as trusted as the machines.
//!
//! Every call but [`Ranks::leave`] is collective: all ranks make the same calls in the same order, and each returns when
//! all have made it. A rank that cannot go on leaves, and says why. Every other learns that at its next call, which is
//! an error from then on, so that no rank waits for one that has gone. What kills a whole process is for whoever started
//! it to see: MPI then ends the others.

mod alone;
mod common;
#[cfg(feature = "mpi")]
mod mpi;
mod threads;

use std::fmt;
use std::ops::Range;

use miette::Diagnostic;
use thiserror::Error;

pub use alone::Alone;
pub use common::{Common, agree};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use threads::Threads;

/// One of the ranks of a run, and what it does together with the others.
pub trait Ranks: fmt::Debug + Send + Sync {
    /// Which one it is, from 0.
    fn rank(&self) -> usize;

    /// How many there are, at least 1.
    fn size(&self) -> usize;

    /// What every rank gives, in their order.
    ///
    /// # Errors
    /// When a rank has left, or is not where this one is.
    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, RanksError>;

    /// Puts what rank 0 has into `bytes`.
    ///
    /// # Errors
    /// As [`Ranks::gather`].
    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<(), RanksError>;

    /// Adds up, element by element, what the ranks have in `values`, modulo 2⁶⁴.
    ///
    /// # Errors
    /// As [`Ranks::gather`], and when their lengths differ.
    fn sum_i64(&self, values: &mut [i64]) -> Result<(), RanksError>;

    /// The same of floats, in an order of its own.
    ///
    /// # Errors
    /// As [`Ranks::sum_i64`].
    fn sum_f64(&self, values: &mut [f64]) -> Result<(), RanksError>;

    /// Tells the others that this rank goes no further, and why. Does nothing where the ranks have parted already.
    fn leave(&self, why: &str);

    /// Whether this is rank 0, which writes what is written.
    fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Waits for all ranks.
    ///
    /// # Errors
    /// As [`Ranks::gather`].
    fn wait(&self) -> Result<(), RanksError> {
        self.gather(&[]).map(drop)
    }
}

/// Which of `count` things in a row are those of `rank` of `size`: each is of one rank, and no rank has two more than
/// another.
pub fn share(rank: usize, size: usize, count: usize) -> Range<usize> {
    let start = |rank: usize| (count as u128 * rank as u128 / size as u128) as usize;
    start(rank)..start(rank + 1)
}

/// The ranks do not go on together.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
pub enum RanksError {
    /// One has left.
    #[error("rank {rank} has left: {why}")]
    #[diagnostic(
        code(dpc::ranks::left),
        help(
            "that rank's own message says what to do. The ledger and the last checkpoint are whole: --resume goes on, with \
             any number of ranks"
        )
    )]
    Left {
        /// Which.
        rank: usize,
        /// In its words.
        why: String,
    },
    /// They make different calls.
    #[error("the ranks are out of step: rank 0 is at {first}, rank {rank} at {other}")]
    #[diagnostic(
        code(dpc::ranks::out_of_step),
        help("this is a defect of dpc, or the ranks are of different versions; nothing was released")
    )]
    OutOfStep {
        /// The first that differs.
        rank: usize,
        /// What rank 0 was to do.
        first: String,
        /// What that one was to do.
        other: String,
    },
    /// They were not started alike.
    #[error("the ranks are not of one run: {}", what.join("; "))]
    #[diagnostic(
        code(dpc::ranks::differ),
        help(
            "start all ranks with the same command, in the same directory, on files that all of them see; nothing was trained"
        )
    )]
    Differ {
        /// Every difference from rank 0.
        what: Vec<String>,
    },
    /// This one was told to end.
    #[error("rank {rank} of {size} was ended from outside")]
    #[diagnostic(
        code(dpc::ranks::ended),
        help(
            "the launcher ends all ranks once one of them is killed, and says which; or the job was cancelled. The ledger and the \
             last checkpoint are whole: --resume goes on, with any number of ranks"
        )
    )]
    Ended {
        /// Which.
        rank: usize,
        /// How many there were.
        size: usize,
    },
    /// MPI does not let itself be used.
    #[error("MPI cannot be used: {what}")]
    #[diagnostic(code(dpc::ranks::mpi), help("see whether `mpirun` and the MPI that dpc was built with are the same"))]
    Unusable {
        /// Why.
        what: String,
    },
}

/// A call that ranks make together, with how many elements there are of this rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Gather,
    Broadcast,
    SumI64(usize),
    SumF64(usize),
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Gather => f.write_str("a gathering"),
            Call::Broadcast => f.write_str("a broadcast"),
            Call::SumI64(count) => write!(f, "a sum of {count} integers"),
            Call::SumF64(count) => write!(f, "a sum of {count} floats"),
        }
    }
}

/// That all of `calls`, one a rank, are the same.
fn in_step(calls: &[Call]) -> Result<(), RanksError> {
    match calls.iter().position(|call| *call != calls[0]) {
        None => Ok(()),
        Some(rank) => Err(RanksError::OutOfStep { rank, first: calls[0].to_string(), other: calls[rank].to_string() }),
    }
}

#[cfg(test)]
mod tests;
