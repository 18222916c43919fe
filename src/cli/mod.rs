//! The command line: one file a subcommand.
//!
//! A subcommand is an `Args` with a `run`. Results go to standard output, everything else to
//! standard error. The exit code is 0, 1 where the command failed, 2 where it was not understood, 3 where dpc has a defect.

mod account;
mod audit;
mod bench;
mod check;
mod compile;
mod config;
mod costs;
mod data;
mod defect;
mod demo;
mod describe;
mod devices;
mod eval;
mod evaluations;
mod export;
mod grads;
#[cfg(test)]
mod help_tests;
mod inspect;
mod model;
mod output;
mod plan_args;
mod ranks;
mod report;
mod run;
mod score;
mod shell;
mod space;
mod train;
mod tune;
mod tune_public;
mod tuning;
mod values;
mod verify_certificate;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use miette::Result;

/// Compiles ONNX models into differentially private trainers.
#[derive(Parser)]
#[command(name = "dpc", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Compile(compile::Args),
    Check(check::Args),
    Train(Box<train::Args>),
    Tune(tune::Args),
    Eval(eval::Args),
    Run(run::Args),
    Grads(grads::Args),
    Data(describe::Args),
    Export(export::Args),
    Inspect(inspect::Args),
    Account(account::Args),
    Audit(audit::Args),
    Devices(devices::Args),
    Demo(demo::Args),
    Bench(bench::Args),
    VerifyCertificate(verify_certificate::Args),
    Report(report::Args),
    Completions(shell::Completions),
    Man(shell::Manual),
}

/// Runs the command that the process's arguments give.
pub fn main() -> ExitCode {
    let code = defect::run(|| {
        let (cli, matches) = parse()?;
        run(cli, &matches)
    });
    ranks::part();
    code
}

/// What the process's arguments say, with those of a file that they name; ends the process where they are not understood, as clap
/// does.
fn parse() -> Result<(Cli, ArgMatches)> {
    let mut command = Cli::command();
    let arguments = config::expand(&command, std::env::args_os().collect())?;
    let matches = command.clone().get_matches_from(arguments);
    match Cli::from_arg_matches(&matches) {
        Ok(cli) => Ok((cli, matches)),
        Err(error) => error.format(&mut command).exit(),
    }
}

fn run(cli: Cli, matches: &ArgMatches) -> Result<()> {
    match cli.command {
        Command::Compile(args) => compile::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Train(args) => {
            let used = matches.subcommand_matches("train").map(|matches| config::used(&Cli::command(), matches));
            train::run(&args, used.as_deref())
        }
        Command::Tune(args) => tune::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Grads(args) => grads::run(&args),
        Command::Data(args) => describe::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Account(args) => account::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::VerifyCertificate(args) => verify_certificate::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::manual(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
