//! What can go wrong with a ledger.

use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

use crate::files::FileError;
use crate::privacy::adjacency::Unit;
use crate::ranks::RanksError;

/// The ledger could not be used. No step may be taken.
#[derive(Debug, Error, Diagnostic)]
#[allow(missing_docs)]
pub enum LedgerError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Ranks(#[from] RanksError),
    #[error("the ledger {} is in use by another process", path.display())]
    #[diagnostic(
        code(dpc::privacy::ledger::locked),
        help("wait for the other run to end, or give this one a folder of its own")
    )]
    Locked { path: PathBuf },
    #[error("the ledger {} is corrupt at line {line}", path.display())]
    #[diagnostic(
        code(dpc::privacy::ledger::corrupt),
        help(
            "the steps taken can no longer be proved; restore the file from a copy, or train anew into another folder"
        )
    )]
    Corrupt { path: PathBuf, line: usize },
    #[error("the ledger {} was written by an older dpc, in a format that this one does not read", path.display())]
    #[diagnostic(
        code(dpc::privacy::ledger::version),
        help("go on with the dpc that wrote it, or train anew into another folder")
    )]
    Version { path: PathBuf },
    #[error("the ledger {} counts steps over {ledger}s, and the plan is for {plan}s", path.display())]
    #[diagnostic(
        code(dpc::privacy::ledger::unit),
        help(
            "one guarantee is for one kind of unit: train with `--unit {ledger}`, or give this run a ledger of its own"
        )
    )]
    Unit { path: PathBuf, ledger: Unit, plan: Unit },
    #[error("the ledger {} counts a choice among trials, to which no steps are added", path.display())]
    #[diagnostic(
        code(dpc::privacy::ledger::selection),
        help("train with a ledger of its own. What holds for both together is that their ε and their δ add up")
    )]
    Selection { path: PathBuf },
    #[error("the ledger {} holds steps, and a choice among trials has one for itself", path.display())]
    #[diagnostic(
        code(dpc::privacy::ledger::not_alone),
        help("choose in another folder. What holds for both together is that their ε and their δ add up")
    )]
    NotAlone { path: PathBuf },
    #[error("the ledger {} lost lines: {expected} were there before, {found} are there now", path.display())]
    #[diagnostic(
        code(dpc::privacy::ledger::rewound),
        help(
            "lines were removed or replaced after the checkpoint or certificate was written; restore the file from a copy"
        )
    )]
    Rewound { path: PathBuf, expected: u64, found: u64 },
    #[error("the ledger {} takes no more steps after a failed write", path.display())]
    #[diagnostic(
        code(dpc::privacy::ledger::failed),
        help("go on with `--resume` once the cause of the first failure is gone")
    )]
    Failed { path: PathBuf },
}
