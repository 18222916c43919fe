//! `SPACE.toml`: the flags of trials, and what is tried for some of them.
//!
//! What stands outside of any table is the flags of all trials, as `dpc train --config` has them. The table `choose` has what is tried: for each flag a list of values, or a range.
//! Every combination of these is a candidate.
//!
//! ```toml
//! artifact = "m.dpc"
//! data = "train.npz"
//! valid = "public.npz"
//! epsilon = 3
//! delta = 1e-5
//! batch = 256
//! epochs = 20
//!
//! [choose]
//! lr = { from = 0.5, to = 8, values = 5 }
//! ema = [0.99, 0.999]
//! ```

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{ArgAction, ArgMatches, Command, FromArgMatches};
use miette::{Diagnostic, Result};
use thiserror::Error;
use toml::{Table, Value};

use super::{Cli, config, train};
use crate::files;

/// The table of what is tried.
const CHOOSE: &str = "choose";
/// The most candidates.
const MOST: usize = 10_000;
/// Flags of `dpc train` that trials have none of: where and how a run is seen, what is not released, and what counts its steps.
const NOT_OF_TRIALS: [&str; 8] =
    ["config", "help", "json", "ledger", "out", "record-private-metrics", "resume", "tensorboard"];
/// Flags that all trials share, as the guarantee is for one of each, or scores could not be compared.
const SHARED: [&str; 12] = [
    "accountant",
    "adjacency",
    "columns",
    "data",
    "delta",
    "epsilon",
    "insecure-seed",
    "missing",
    "noise-multiplier",
    "non-private",
    "unit",
    "valid",
];

#[derive(Debug, Error, Diagnostic)]
enum SpaceError {
    #[error("{} is no TOML: {message}", path.display())]
    #[diagnostic(
        code(dpc::tune::syntax),
        help(
            "write one `flag = value` a line, and under [choose] one `flag = [value, value]` a line for what is tried"
        )
    )]
    Syntax { path: PathBuf, message: String },

    #[error("{} says no space: {}", path.display(), problems.join("; "))]
    #[diagnostic(
        code(dpc::tune::space),
        help(
            "keys are the flags of `dpc train` without the dashes in front, and `artifact`; `dpc train --help` lists them"
        )
    )]
    Keys { path: PathBuf, problems: Vec<String> },

    #[error("the flags of the candidate {candidate} do not fit together: {message}")]
    #[diagnostic(code(dpc::tune::flags), help("change {}, or leave the value out of what is tried", path.display()))]
    Flags { path: PathBuf, candidate: String, message: String },
}

/// One way to train.
pub struct Candidate {
    /// What was chosen for it, by flag.
    pub chosen: Vec<(String, Value)>,
    /// All its flags.
    pub args: train::Args,
    matches: ArgMatches,
}

impl Candidate {
    /// What was chosen for it, in words.
    pub fn words(&self) -> String {
        words(&self.chosen)
    }

    /// The file that trains by its flags.
    pub fn config(&self, command: &Command) -> String {
        config::used(command, &self.matches)
    }
}

fn words(chosen: &[(String, Value)]) -> String {
    let each: Vec<String> = chosen.iter().map(|(flag, value)| format!("{flag} = {value}")).collect();
    if each.is_empty() { "without a choice".to_owned() } else { each.join(", ") }
}

/// Reads the candidates of the file at `path`.
///
/// # Errors
/// All that is wrong with it at once.
pub fn candidates(command: &Command, path: &Path) -> Result<Vec<Candidate>> {
    let text = String::from_utf8_lossy(&files::read(path)?).into_owned();
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
        let message = error.to_string().trim_end().to_owned();
        SpaceError::Syntax { path: path.to_owned(), message }
    })?;
    let choose = table.remove(CHOOSE);
    let (base, choices) =
        spread(command, table, choose).map_err(|problems| SpaceError::Keys { path: path.to_owned(), problems })?;
    let mut combined: Vec<Vec<(String, Value)>> = vec![Vec::new()];
    for (flag, values) in &choices {
        let with = |chosen: &Vec<(String, Value)>| -> Vec<Vec<(String, Value)>> {
            values.iter().map(|value| [chosen.clone(), vec![(flag.clone(), value.clone())]].concat()).collect()
        };
        combined = combined.iter().flat_map(with).collect();
    }
    combined.into_iter().map(|chosen| candidate(command, path, &base, chosen)).collect()
}

fn candidate(command: &Command, path: &Path, base: &Table, chosen: Vec<(String, Value)>) -> Result<Candidate> {
    let mut table = base.clone();
    table.extend(chosen.iter().cloned());
    let failed = |message: String| SpaceError::Flags { path: path.to_owned(), candidate: words(&chosen), message };
    let train = command.find_subcommand(config::COMMAND).ok_or_else(|| failed("there is no training".to_owned()))?;
    let words =
        config::arguments(train, &Default::default(), &table).map_err(|problems| failed(problems.join("; ")))?;
    let line = [vec![OsString::from("dpc"), config::COMMAND.into()], words].concat();
    // The first paragraph says what is wrong; what follows is of the command line.
    let first = |error: clap::Error| {
        let text = error.render().to_string();
        let paragraph = text.split("\n\n").next().unwrap_or_default();
        failed(paragraph.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let matches = command.clone().try_get_matches_from(line).map_err(first)?;
    let cli = Cli::from_arg_matches(&matches).map_err(first)?;
    let super::Command::Train(args) = cli.command else { return Err(failed("they do not train".to_owned()).into()) };
    let matches = matches.subcommand_matches(config::COMMAND).cloned().unwrap_or_default();
    Ok(Candidate { chosen, args: *args, matches })
}

/// The flags of all trials, and what is tried for which flag.
type Spread = (Table, Vec<(String, Vec<Value>)>);

fn spread(command: &Command, base: Table, choose: Option<Value>) -> Result<Spread, Vec<String>> {
    let mut problems = Vec::new();
    for name in base.keys().filter(|name| NOT_OF_TRIALS.contains(&name.as_str())) {
        problems.push(format!("trials have no `{name}`"));
    }
    let choose = match choose {
        Some(Value::Table(choose)) => choose,
        Some(_) => {
            problems.push(format!("`{CHOOSE}` is no table"));
            Table::new()
        }
        None => Table::new(),
    };
    let mut choices = Vec::new();
    for (name, values) in choose {
        if NOT_OF_TRIALS.contains(&name.as_str()) || SHARED.contains(&name.as_str()) {
            problems.push(format!("`{name}` is not to be chosen: it is the same for all trials"));
            continue;
        }
        if base.contains_key(&name) {
            problems.push(format!("`{name}` is given twice: for all trials, and as a choice"));
        }
        match tried(&values) {
            Ok(values) => choices.push((name.clone(), listed(command, &name, values))),
            Err(what) => problems.push(format!("`{name}` {what}")),
        }
    }
    let count = choices.iter().try_fold(1_usize, |count, (_, values)| count.checked_mul(values.len()));
    if count.is_none_or(|count| count > MOST) {
        problems.push(format!("there are more than {MOST} combinations of what is tried"));
    }
    if problems.is_empty() { Ok((base, choices)) } else { Err(problems) }
}

/// A flag that may be repeated takes a list: one value of it is a list of one.
fn listed(command: &Command, name: &str, values: Vec<Value>) -> Vec<Value> {
    let train = command.find_subcommand(config::COMMAND);
    let arg = train.and_then(|train| train.get_arguments().find(|arg| config::key(arg) == name));
    let repeated = arg.is_some_and(|arg| matches!(arg.get_action(), ArgAction::Append));
    let list = |value: Value| match value {
        Value::Array(_) => value,
        one if repeated => Value::Array(vec![one]),
        one => one,
    };
    values.into_iter().map(list).collect()
}

/// The values of a list, or of a range.
fn tried(values: &Value) -> Result<Vec<Value>, String> {
    match values {
        Value::Array(values) if !values.is_empty() => Ok(values.clone()),
        Value::Table(range) => ranged(range),
        _ => Err("is a list of what is tried, or a range { from = 0.1, to = 10, values = 5 }".to_owned()),
    }
}

/// `values` numbers from `from` to `to`, each the same multiple of the one before, or with `scale = "linear"` as far from it; rounded to four digits.
fn ranged(range: &Table) -> Result<Vec<Value>, String> {
    let known = ["from", "to", "values", "scale"];
    if let Some(other) = range.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("is a range without `{other}`: it has from, to, values and perhaps scale"));
    }
    let number = |name: &str| match range.get(name) {
        Some(Value::Float(number)) if number.is_finite() => Ok(*number),
        Some(Value::Integer(number)) => Ok(*number as f64),
        _ => Err(format!("is a range that needs a number `{name}`")),
    };
    let (from, to, values) = (number("from")?, number("to")?, number("values")?);
    if !(2.0..=1000.0).contains(&values) || values.fract() != 0.0 {
        return Err("is a range of 2 to 1000 values".to_owned());
    }
    let linear = match range.get("scale").map(|scale| scale.as_str()) {
        None | Some(Some("log")) => false,
        Some(Some("linear")) => true,
        _ => return Err("is a range on the scale \"log\" or \"linear\"".to_owned()),
    };
    let positive = from > 0.0 && to > 0.0;
    if !(linear || positive) {
        return Err("is a range on a logarithmic scale, of numbers above 0".to_owned());
    }
    let at = |index: u32| {
        let share = f64::from(index) / (values - 1.0);
        let value = if linear { from + share * (to - from) } else { from * (to / from).powf(share) };
        format!("{value:.3e}").parse().map_or(value, |rounded: f64| rounded)
    };
    Ok((0..values as u32).map(|index| Value::Float(at(index))).collect())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    const BASE: &str =
        "artifact = \"m.dpc\"\ndata = \"d.npz\"\nvalid = \"v.npz\"\nepsilon = 3\ndelta = 1e-5\nbatch = 64\n";

    fn read(text: &str) -> Result<Vec<Candidate>> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("space.toml");
        std::fs::write(&path, text).unwrap();
        candidates(&Cli::command(), &path)
    }

    fn wrong(text: &str) -> String {
        read(text).err().expect("an error").to_string()
    }

    #[test]
    fn every_combination_is_a_candidate() {
        let text = format!(
            "{BASE}epochs = 2\n[choose]\nlr = {{ from = 0.5, to = 8, values = 5 }}\nema = [0.9, 0.99]\nlr-for = [\"a*=1\", [\"b*=2\", \"c*=3\"]]\n"
        );
        let found = read(&text).unwrap();
        assert_eq!(found.len(), 20);
        let words: Vec<String> = found.iter().map(Candidate::words).collect();
        assert!(words.contains(&"ema = 0.99, lr = 0.5, lr-for = [\"a*=1\"]".to_owned()), "{words:?}");
        assert!(words.contains(&"ema = 0.9, lr = 8.0, lr-for = [\"b*=2\", \"c*=3\"]".to_owned()), "{words:?}");
        let config = found[0].config(&Cli::command());
        assert!(config.contains("epochs = 2") && config.contains("epsilon = 3"), "{config}");
    }

    #[test]
    fn without_a_choice_there_is_one_candidate() {
        assert_eq!(read(&format!("{BASE}steps = 2\nlr = 1\n")).unwrap().len(), 1);
    }

    #[test]
    fn ranges_are_even_on_their_scale() {
        let numbers = |text: &str| -> Vec<f64> {
            let table: Table = text.parse().unwrap();
            ranged(&table).unwrap().iter().map(|value| value.as_float().unwrap()).collect()
        };
        assert_eq!(numbers("from = 0.1\nto = 10\nvalues = 5"), [0.1, 0.3162, 1.0, 3.162, 10.0]);
        assert_eq!(numbers("from = 0\nto = 1\nvalues = 3\nscale = \"linear\""), [0.0, 0.5, 1.0]);
        for wrong in [
            "from = 0\nto = 1\nvalues = 3",
            "from = 1\nto = 2\nvalues = 1",
            "from = 1\nvalues = 3",
            "from = 1\nto = 2\nvalues = 2\nby = 1",
        ] {
            assert!(ranged(&wrong.parse().unwrap()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        let text = format!(
            "{BASE}steps = 2\nresume = true\nledger = \"x\"\n[choose]\nlr = []\nsteps = [1]\nepsilon = [1, 2]\nout = [\"a\"]\n"
        );
        let error = wrong(&text);
        for what in [
            "no `resume`",
            "no `ledger`",
            "`lr` is a list",
            "`steps` is given twice",
            "`epsilon` is not to be chosen",
            "`out` is not",
        ] {
            assert!(error.contains(what), "{what}: {error}");
        }
        let error = wrong(&format!("{BASE}steps = 2\n[choose]\nlr = [1, -1]\n"));
        assert!(error.contains("lr = -1") && error.contains("above 0"), "{error}");
        assert!(wrong(&format!("{BASE}steps = 2\n[choose]\nlearning-rate = [1]\n")).contains("is no flag"));
        assert!(wrong("lr = ").contains("is no TOML"));
        let many = format!(
            "{BASE}steps = 2\n[choose]\nlr = {{ from = 1, to = 2, values = 1000 }}\nema = {{ from = 0.1, to = 0.2, values = 11 }}\n"
        );
        assert!(wrong(&many).contains("more than 10000"));
    }
}
