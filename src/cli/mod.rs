//! The command line: one file a subcommand.
//!
//! A subcommand is an `Args` with a `run`. Results go to standard output, everything else to
//! standard error. The exit code is 0, 1 where the command failed, 2 where it was not understood.

mod account;
mod output;
mod values;
mod verify_certificate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Compiles ONNX models into differentially private trainers.
#[derive(Parser)]
#[command(name = "dpc", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Account(account::Args),
    VerifyCertificate(verify_certificate::Args),
}

/// Runs the command that the process's arguments give.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Account(args) => account::run(&args),
        Command::VerifyCertificate(args) => verify_certificate::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => {
            output::report(&report);
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
