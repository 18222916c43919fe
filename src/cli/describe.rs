//! `dpc data`: what a data set holds, and what of a model it would feed.

use std::path::PathBuf;

use miette::Result;
use serde::Serialize;

use super::data::ReadingArgs;
use super::model::{self, LossArgs};
use super::output;
use crate::train::data::{Described, Description, describe};

/// Describe a data set, and say which input of a model each column would feed; what is shown is not private
#[derive(clap::Args)]
pub struct Args {
    /// The data, as `dpc train` takes them
    #[arg(value_name = "DATA")]
    data: String,

    /// The artifact, the directory of a run, or the ONNX model that they are for; the exit code is 1 where they do not fit
    #[arg(long, value_name = "M.dpc|DIR|MODEL.onnx")]
    model: Option<PathBuf>,

    #[command(flatten)]
    opening: model::Opening,

    #[command(flatten)]
    loss: LossArgs,

    #[command(flatten)]
    reading: ReadingArgs,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    data: &'a str,
    private: bool,
    #[serde(flatten)]
    description: &'a Description,
}

pub fn run(args: &Args) -> Result<()> {
    let loss = args.loss.named()?;
    let load = |path: &PathBuf| model::load(path, loss, &args.opening);
    let artifact = args.model.as_ref().map(load).transpose()?;
    let schema = artifact.as_ref().map(|artifact| &artifact.manifest.schema);
    let description = describe(&args.data, schema, &args.reading.reading()?)?;
    match args.json {
        true => output::json(&Json { data: &args.data, private: false, description: &description })?,
        false => show(&args.data, schema.is_some(), &description)?,
    }
    if let Some(schema) = schema {
        args.reading.load(&args.data, schema, None)?;
    }
    Ok(())
}

fn show(data: &str, with_model: bool, description: &Description) -> Result<()> {
    let columns = &description.columns;
    output::line(format!(
        "{data}: {} records of {} columns. All below is told of the data as they are: it is not private",
        description.records,
        columns.len()
    ))?;
    let width = |of: fn(&Described) -> &str, least: usize| {
        columns.iter().map(|c| of(c).chars().count()).fold(least, usize::max)
    };
    let (name, kind) = (width(|c| &c.name, 6), width(|c| &c.kind, 4));
    let feeds: Vec<String> = columns.iter().map(feeds).collect();
    let fed = feeds.iter().map(String::len).fold(5, usize::max);
    let line = |n: &str, k: &str, f: &str, values: &str| {
        let fed = if with_model { format!("  {f:<fed$}") } else { String::new() };
        output::line(format!("{n:<name$}  {k:<kind$}{fed}  {values}").trim_end())
    };
    line("column", "type", "feeds", "values")?;
    for (column, feeds) in columns.iter().zip(&feeds) {
        line(&column.name, &column.kind, feeds, &values(column))?;
    }
    Ok(())
}

fn feeds(column: &Described) -> String {
    match column.feeds.is_empty() {
        true => "-".to_owned(),
        false => column.feeds.join(", "),
    }
}

/// What is known of the values, in words.
fn values(column: &Described) -> String {
    let mut parts = Vec::new();
    match column.different {
        Some(different) => {
            let count = |(value, count): &(String, usize)| format!("{} ×{count}", clipped(value));
            let counts: Vec<String> = column.counts.iter().map(count).collect();
            let more = if different > counts.len() { ", …" } else { "" };
            parts.push(format!("{different} different: {}{more}", counts.join(", ")));
        }
        None => parts.extend(column.range.map(|[low, high]| format!("{low} to {high}"))),
    }
    if column.missing > 0 {
        parts.push(format!("{} missing", column.missing));
    }
    if column.nonfinite > 0 {
        parts.push(format!("{} NaN or infinite", column.nonfinite));
    }
    parts.join("; ")
}

/// The beginning of a long value, in one line.
fn clipped(value: &str) -> String {
    const MOST: usize = 40;
    let line: String = value.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
