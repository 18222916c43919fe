//! `dpc train --config FILE`: the flags of a run from a TOML file, and the file that a run leaves of those that it used.
//!
//! A key is a flag of `dpc train` without the dashes in front, or `artifact`; a flag that may be repeated takes a list, and one
//! without a value `true`. What is on the command line wins, also over flags that it cannot stand beside: `--steps` over the file's
//! `epochs`. Paths are those of the command line, from the working directory.

use std::any::TypeId;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, Id};
use miette::{Diagnostic, Result};
use thiserror::Error;
use toml::{Table, Value};

use crate::files;

/// The command whose flags a file may hold.
pub const COMMAND: &str = "train";
/// The flag that names the file.
const CONFIG: &str = "config";
/// Flags that say where and how a run is seen, and not what it is: a run's own file leaves them out.
const NOT_OF_RUN: [&str; 5] = [CONFIG, "out", "resume", "json", "help"];

#[derive(Debug, Error, Diagnostic)]
enum ConfigError {
    #[error("{} is no TOML: {message}", path.display())]
    #[diagnostic(
        code(dpc::config::syntax),
        help("write one `flag = value` a line, text between double quotes, as in data = \"train.npz\"")
    )]
    Syntax { path: PathBuf, message: String },

    #[error("{} holds what `dpc train` does not take: {}", path.display(), problems.join("; "))]
    #[diagnostic(
        code(dpc::config::keys),
        help(
            "keys are the flags of `dpc train` without the dashes in front, and `artifact`; `dpc train --help` lists them"
        )
    )]
    Keys { path: PathBuf, problems: Vec<String> },
}

/// The arguments of the process, with those of the file that `--config` names among them where they leave something open.
///
/// # Errors
/// When the file cannot be read, or holds something else than flags.
pub fn expand(command: &Command, given: Vec<OsString>) -> Result<Vec<OsString>> {
    // What is missing or wrong is found when all flags are there.
    let Ok(matches) = command.clone().ignore_errors(true).try_get_matches_from(&given) else { return Ok(given) };
    let (Some(matches), Some(command)) = (matches.subcommand_matches(COMMAND), command.find_subcommand(COMMAND)) else {
        return Ok(given);
    };
    let Ok(Some(path)) = matches.try_get_one::<PathBuf>(CONFIG) else { return Ok(given) };
    let text = String::from_utf8_lossy(&files::read(path)?).into_owned();
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let message = error.to_string().trim_end().to_owned();
        ConfigError::Syntax { path: path.clone(), message }
    })?;
    let added = arguments(command, &closed(command, matches), &table)
        .map_err(|problems| ConfigError::Keys { path: path.clone(), problems })?;
    let at = given.iter().position(|argument| argument == COMMAND).map_or(given.len(), |at| at + 1);
    let (before, after) = given.split_at(at);
    Ok([before, &added, after].concat())
}

/// What a flag is called in a file.
pub fn key(arg: &Arg) -> &str {
    arg.get_long().unwrap_or(arg.get_id().as_str())
}

/// The flags that the command line decides: those on it, and those that cannot stand beside them.
fn closed(command: &Command, matches: &ArgMatches) -> BTreeSet<Id> {
    let on_line = |arg: &&Arg| {
        let known = matches.try_contains_id(arg.get_id().as_str()).unwrap_or(false);
        known && matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
    };
    let given: BTreeSet<Id> = command.get_arguments().filter(on_line).map(|arg| arg.get_id().clone()).collect();
    let mut closed = given.clone();
    for group in command.get_groups() {
        if !group.clone().is_multiple() && group.get_args().any(|id| given.contains(id)) {
            closed.extend(group.get_args().cloned());
        }
    }
    for arg in command.get_arguments() {
        for other in command.get_arg_conflicts_with(arg) {
            for (one, other) in [(arg, other), (other, arg)] {
                if given.contains(one.get_id()) {
                    closed.insert(other.get_id().clone());
                }
            }
        }
    }
    closed
}

/// The arguments that `table` stands for, without flags that are `closed`; all that is wrong with it otherwise.
pub fn arguments(command: &Command, closed: &BTreeSet<Id>, table: &Table) -> Result<Vec<OsString>, Vec<String>> {
    let (mut added, mut problems) = (Vec::new(), Vec::new());
    for (name, value) in table {
        let of_file = |arg: &&Arg| key(arg) == name && ![CONFIG, "help"].contains(&key(arg));
        let Some(arg) = command.get_arguments().find(of_file) else {
            problems.push(format!("`{name}` is no flag"));
            continue;
        };
        match words(arg, value) {
            Ok(_) if closed.contains(arg.get_id()) => {}
            Ok(words) => added.extend(words.into_iter().map(OsString::from)),
            Err(what) => problems.push(format!("`{name}` {what}")),
        }
    }
    if problems.is_empty() { Ok(added) } else { Err(problems) }
}

/// A flag with its value as arguments, or what is wrong with the value.
fn words(arg: &Arg, value: &Value) -> Result<Vec<String>, &'static str> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        _ => None,
    };
    let flag = format!("--{}", key(arg));
    let optional = arg.get_num_args().is_some_and(|range| range.min_values() == 0);
    match (value, arg.get_action()) {
        (Value::Boolean(on), ArgAction::SetTrue) => Ok(on.then_some(flag).into_iter().collect()),
        (Value::Boolean(on), _) if optional => Ok(on.then_some(flag).into_iter().collect()),
        (_, ArgAction::SetTrue) => Err("is on or off: write true or false"),
        (Value::Array(values), ArgAction::Append) => {
            let all: Option<Vec<String>> = values.iter().map(scalar).collect();
            Ok(all.ok_or("is a list of texts or numbers")?.into_iter().map(|value| format!("{flag}={value}")).collect())
        }
        _ => {
            let value = scalar(value).ok_or("is one text or number")?;
            Ok(vec![if arg.is_positional() { value } else { format!("{flag}={value}") }])
        }
    }
}

/// The file that repeats the run of `matches`, defaults included.
pub fn used(command: &Command, matches: &ArgMatches) -> String {
    let mut text = format!(
        "# The flags of this run, by dpc {}: `dpc train --config FILE --out DIR` repeats it.\n",
        env!("CARGO_PKG_VERSION")
    );
    let Some(command) = command.find_subcommand(COMMAND) else { return text };
    for arg in command.get_arguments().filter(|arg| !NOT_OF_RUN.contains(&key(arg))) {
        let id = arg.get_id().as_str();
        if matches.value_source(id).is_none() {
            continue;
        }
        let raw = matches.get_raw(id).into_iter().flatten().map(|value| value.to_string_lossy().into_owned());
        let values: Vec<String> = raw.map(|value| literal(arg, &value)).collect();
        let value = match arg.get_action() {
            ArgAction::SetTrue if matches.get_flag(id) => "true".to_owned(),
            ArgAction::SetTrue => continue,
            ArgAction::Append => format!("[{}]", values.join(", ")),
            _ => values.concat(),
        };
        text += &format!("{} = {value}\n", key(arg));
    }
    text
}

/// A value as TOML: numbers as they are, and everything else as text.
fn literal(arg: &Arg, value: &str) -> String {
    let kind = arg.get_value_parser().type_id();
    let of_number = [TypeId::of::<f64>(), TypeId::of::<u64>(), TypeId::of::<Duration>()].iter().any(|of| kind == *of);
    let parsed = format!("x = {value}").parse::<Table>().ok();
    match parsed.as_ref().and_then(|table| table.get("x")) {
        Some(Value::Integer(_) | Value::Float(_)) if of_number => value.to_owned(),
        _ => Value::String(value.to_owned()).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::super::Cli;
    use super::*;

    fn expanded(file: &str, line: &str) -> Result<Vec<String>> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("run.toml");
        std::fs::write(&path, file).unwrap();
        let line = format!("dpc {}", line.replace("FILE", &path.display().to_string()));
        let given = line.split_whitespace().map(OsString::from).collect();
        let all = expand(&Cli::command(), given)?;
        Ok(all.into_iter().map(|word| word.into_string().unwrap()).filter(|word| !word.contains("run.toml")).collect())
    }

    const RUN: &str = "artifact = \"m.dpc\"\ndata = \"train.npz\"\nepsilon = 3\ndelta = 1e-5\nbatch = 64\nepochs = 2.5\n\
                       lr = 0.5\ncolumns = [\"input=a,b\", \"label=c\"]\n\"missing\" = 0\nrecord-private-metrics = true\n\
                       dp-metrics = true\nresume = false\n";

    #[test]
    fn a_file_holds_flags() {
        let found = expanded(RUN, "train --config FILE").unwrap();
        let expected = "dpc train m.dpc --batch=64 --columns=input=a,b --columns=label=c --data=train.npz \
                        --delta=0.00001 --dp-metrics --epochs=2.5 --epsilon=3 --lr=0.5 --missing=0 --record-private-metrics --config";
        let sorted = |mut words: Vec<String>| {
            words.sort();
            words
        };
        assert_eq!(sorted(found.clone()), sorted(expected.split_whitespace().map(str::to_owned).collect()));
        assert!(Cli::command().try_get_matches_from(found.into_iter().filter(|word| word != "--config")).is_ok());
        assert_eq!(expanded("", "eval m.dpc --data x").unwrap(), ["dpc", "eval", "m.dpc", "--data", "x"]);
    }

    #[test]
    fn the_command_line_wins() {
        let has = |line: &str, word: &str| expanded(RUN, line).unwrap().iter().any(|found| found == word);
        assert!(!has("train --config FILE --lr 0.25", "--lr=0.5"));
        assert!(!has("train n.dpc --config FILE", "m.dpc"));
        assert!(!has("train --config FILE --columns input=x", "--columns=label=c"));
        // What it cannot stand beside.
        assert!(!has("train --config FILE --steps 10", "--epochs=2.5"));
        assert!(!has("train --config FILE --noise-multiplier 1", "--epsilon=3"));
        assert!(has("train --config FILE --noise-multiplier 1", "--delta=0.00001"));
        let line = "train --config FILE --non-private";
        assert!(!has(line, "--epsilon=3") && !has(line, "--delta=0.00001"));
        let words = expanded(RUN, "train --config FILE --non-private --steps 3 --data other").unwrap();
        assert!(Cli::command().try_get_matches_from(words.into_iter().filter(|word| word != "--config")).is_ok());
    }

    #[test]
    fn all_that_is_no_flag_is_named_at_once() {
        let file = "learning-rate = 1\nepsilon = [1, 2]\nnon-private = \"yes\"\nconfig = \"x\"\n[batch]\nsize = 3\n";
        let error = expanded(file, "train --config FILE").unwrap_err().to_string();
        for what in [
            "`learning-rate` is no flag",
            "`epsilon` is one text",
            "`non-private` is on or off",
            "`config` is no flag",
            "`batch` is one",
        ] {
            assert!(error.contains(what), "{error}");
        }
        assert!(expanded("lr = ", "train --config FILE").unwrap_err().to_string().contains("is no TOML"));
        assert!(expanded("", "train --config nowhere.toml").is_err());
    }

    #[test]
    fn a_run_is_repeated_by_the_file_that_it_leaves() {
        let line = [
            "dpc",
            "train",
            "a \"quoted\" m.dpc",
            "--data",
            "1.50",
            "--epsilon",
            "3",
            "--delta",
            "1e-5",
            "--batch",
            "5.",
            "--steps",
            "7",
            "--lr",
            "+.5",
            "--columns",
            "input=x,\"a b\"",
            "--columns",
            "label=y{}",
            "--dp-metrics",
            "--json",
            "--out",
            "elsewhere",
            "--missing",
            "-1",
            "--insecure-seed",
            "18446744073709551615",
            "--checkpoint-interval",
            "0.5",
        ];
        let command = Cli::command();
        let used_of = |line: &[String]| {
            let matches = command.clone().try_get_matches_from(line).unwrap();
            Cli::from_arg_matches(&matches).map_err(|e| e.to_string()).unwrap();
            used(&command, matches.subcommand_matches(COMMAND).unwrap())
        };
        let first = used_of(&line.map(str::to_owned));
        for expected in
            ["data = \"1.50\"", "delta = 1e-5", "lr = \"+.5\"", "dp-metrics = \"\"", "sampling = \"poisson\""]
        {
            assert!(first.contains(expected), "{first}");
        }
        assert!(!first.contains("elsewhere") && !first.contains("json"), "{first}");
        let again: Vec<String> = expanded(&first, "train --config FILE").unwrap();
        let again: Vec<String> = again.into_iter().filter(|word| word != "--config").collect();
        // A number reads back as another text of the same value.
        let number = |text: String| text.replace("1e-5", "0.00001");
        assert_eq!(number(used_of(&again)), number(first));
    }
}
