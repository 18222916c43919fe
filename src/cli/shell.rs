//! `dpc completions` and `dpc man`: what shells and `man` know of the commands.

use std::io::Write;
use std::path::PathBuf;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use miette::{IntoDiagnostic, Result};

use super::{Cli, output};
use crate::files;

/// Print a completion script, as in `dpc completions bash > ~/.local/share/bash-completion/completions/dpc`
#[derive(clap::Args)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Write manual pages, one for each command, as in `dpc man ~/.local/share/man/man1`
#[derive(clap::Args)]
pub struct Manual {
    /// The directory to write
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub fn completions(args: &Completions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "dpc", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())
}

pub fn manual(args: &Manual) -> Result<()> {
    let pages = pages()?;
    files::create_directory(&args.directory)?;
    for (name, page) in &pages {
        files::write_atomic(&args.directory.join(name), |file| file.write_all(page))?;
    }
    output::line(format!("wrote {} pages to {}", pages.len(), args.directory.display()))
}

/// The name of each page with its text.
fn pages() -> Result<Vec<(String, Vec<u8>)>> {
    let mut command = Cli::command();
    command.build();
    let mut pages = Vec::new();
    let mut left: Vec<Command> = vec![command];
    while let Some(command) = left.pop() {
        left.extend(command.get_subcommands().filter(|command| command.get_name() != "help").cloned());
        let man = Man::new(command);
        let mut page = Vec::new();
        man.render(&mut page).into_diagnostic()?;
        pages.push((man.get_filename(), page));
    }
    pages.sort();
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn there_is_a_page_for_every_command() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["dpc.1", "dpc-train.1", "dpc-verify-certificate.1", "dpc-bench-step.1"] {
            assert!(names.contains(&name), "{names:?}");
        }
        let (_, train) = pages.iter().find(|(name, _)| name == "dpc-train.1").unwrap();
        let train = String::from_utf8_lossy(train);
        assert!(train.starts_with(".ie") && train.contains("\\-\\-valid\\-every"), "{train}");
    }

    #[test]
    fn every_shell_gets_a_script_that_knows_the_flags() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "dpc", &mut script);
            assert!(String::from_utf8_lossy(&script).contains("noise-multiplier"), "{shell}");
        }
    }
}
