//! `dpc report`: runs as one HTML page that needs nothing else.
//!
//! The certificate comes first, then curves of what is public: ε, validation, learning rate, noise, throughput. What a run recorded
//! of its training data without noise is shown apart, and marked.

mod axis;
mod charts;
mod html;
mod layer;
mod plot;
mod run;
mod thin;

use std::path::Path;

pub use run::{ReportError, Run};

use axis::{bound, number};
use html::{escape, list, pairs};
use layer::Layer;

use crate::privacy::adjacency::Adjacency;
use crate::privacy::certificate::{Certificate, Joint, together};
use crate::privacy::ledger::Contents;

/// The page of `runs`.
///
/// # Errors
/// When the ε of several runs together cannot be worked out.
pub fn page(runs: &[Run]) -> Result<String, ReportError> {
    let names: Vec<String> = runs.iter().map(|run| escape(&run.name)).collect();
    let title = format!("Private training: {}", names.join(", "));
    let body = match runs {
        [run] => one(run),
        runs => several(runs)?,
    };
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{body}{}{}</main>\n\
         <footer>Made by dpc {}. The certificate can be checked against its ledger: <code>dpc verify-certificate DIR</code>.</footer>\n\
         </body>\n</html>\n",
        include_str!("style.css"),
        charts::section(runs),
        configurations(runs),
        env!("CARGO_PKG_VERSION"),
    ))
}

/// The certificate of one run.
fn one(run: &Run) -> String {
    let Some(certificate) = &run.certificate else {
        return statement("This run has not ended, and has no certificate.", false);
    };
    format!(
        "<section>\n{}{}{}</section>\n<section>\n<h2>What is covered, and what is not</h2>\n{}</section>\n{}",
        statement(&certificate.statement, certificate.guarantee),
        tiles(run, certificate),
        settings(certificate),
        coverage(certificate),
        run.layer.as_ref().map_or(String::new(), Layer::section)
    )
}

fn statement(text: &str, guarantee: bool) -> String {
    let class = if guarantee { "statement" } else { "statement none" };
    format!("<div class=\"{class}\"><p>{}</p></div>\n", escape(text))
}

/// The numbers that people ask for first.
fn tiles(run: &Run, certificate: &Certificate) -> String {
    let plan = &certificate.plan;
    let mut all = vec![
        ("ε".to_owned(), certificate.epsilon.map_or("none".to_owned(), bound)),
        ("δ".to_owned(), plan.delta.map_or("none".to_owned(), |delta| format!("{delta:e}"))),
        ("noise multiplier σ".to_owned(), number(plan.noise_multiplier)),
        match certificate.selection {
            Some(_) => ("steps of the chosen run".to_owned(), number(plan.planned_steps as f64)),
            None => ("steps counted".to_owned(), number(certificate.steps as f64)),
        },
    ];
    let figures = run.evaluated().and_then(|line| line.valid.as_ref()).map(|valid| valid.figures()).unwrap_or_default();
    all.extend(figures.iter().map(|figure| (format!("validation {}", figure.title), figure.number())));
    let tile =
        |(name, value): &(String, String)| format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(value));
    format!("<dl class=\"tiles\">\n{}</dl>\n", all.iter().map(tile).collect::<String>())
}

fn settings(certificate: &Certificate) -> String {
    let plan = &certificate.plan;
    let neighbours = match plan.adjacency {
        Adjacency::AddRemove => format!("one {} more or less", plan.unit),
        Adjacency::ReplaceOne => format!("one {} replaced", plan.unit),
    };
    let sums = match &plan.grid {
        Some(_) => "of integers, with the discrete Gaussian",
        None => "of floating-point numbers",
    };
    let mut rows = vec![
        ("accountant", certificate.accountant.clone()),
        ("neighbouring data sets", neighbours),
        ("sampling", plan.sampling.to_string()),
        ("noise multiplier over the steps", format!("{}, {}", number(plan.noise_multiplier), plan.noise_schedule)),
        ("clip rule over the steps", format!("{}, {}", plan.clip, plan.clip_schedule)),
        ("divisor (expected batch)", number(plan.expected_batch)),
        ("sums and noise", sums.to_owned()),
        ("source model, SHA-256", certificate.provenance.source_model.clone()),
        ("program, SHA-256", certificate.provenance.program.clone()),
        ("form of the data, SHA-256", certificate.provenance.data_schema.clone()),
        ("ledger", format!("{} lines, the last of hash {}", certificate.ledger.entries, certificate.ledger.hash)),
        ("software", certificate.software.clone()),
    ];
    let chosen = certificate.selection.as_ref();
    rows.extend(chosen.map(|selection| ("best of a random number of trials", selection.trials.to_string())));
    rows.extend(certificate.post_processing.iter().map(|what| ("made of what was released", what.clone())));
    pairs(&rows)
}

fn coverage(certificate: &Certificate) -> String {
    let covers = match certificate.covers.is_empty() {
        true => "<p>Nothing.</p>\n".to_owned(),
        false => list(&certificate.covers),
    };
    format!(
        "<div class=\"columns\">\n<div>\n<h3>Covered</h3>\n{covers}</div>\n<div>\n<h3>Not covered</h3>\n{}</div>\n</div>\n",
        list(&certificate.does_not_cover)
    )
}

/// The certificates of several runs, and what holds for them together.
fn several(runs: &[Run]) -> Result<String, ReportError> {
    let mut figures: Vec<&'static str> = Vec::new();
    for valid in runs.iter().filter_map(|run| run.evaluated()?.valid.as_ref()) {
        for figure in valid.figures().iter().filter(|figure| !figures.contains(&figure.title)).collect::<Vec<_>>() {
            figures.push(figure.title);
        }
    }
    let head = ["run", "ε", "δ", "σ", "clip rule", "steps counted"].map(str::to_owned).into_iter();
    let head = head.chain(figures.iter().map(|title| format!("validation {title}")));
    let head: String = head.map(|name| format!("<th scope=\"col\">{}</th>", escape(&name))).collect();
    let row = |run: &Run| {
        let plan = run.certificate.as_ref().map(|certificate| &certificate.plan);
        let none = || "none".to_owned();
        let mut cells = vec![
            run.guaranteed().and_then(|certificate| certificate.epsilon).map_or_else(none, bound),
            plan.and_then(|plan| plan.delta).map_or_else(none, |delta| format!("{delta:e}")),
            plan.map_or_else(none, |plan| number(plan.noise_multiplier)),
            plan.map_or_else(none, |plan| plan.clip.to_string()),
            run.certificate.as_ref().map_or_else(none, |certificate| number(certificate.steps as f64)),
        ];
        let valid =
            run.evaluated().and_then(|line| line.valid.as_ref()).map(|valid| valid.figures()).unwrap_or_default();
        let of = |title: &&str| {
            valid.iter().find(|figure| figure.title == *title).map_or(String::new(), |figure| figure.number())
        };
        cells.extend(figures.iter().map(of));
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", escape(&run.name))
    };
    let rows: String = runs.iter().map(row).collect();
    let each = |run: &Run| {
        let text = match &run.certificate {
            Some(certificate) => statement(&certificate.statement, certificate.guarantee),
            None => statement("This run has not ended, and has no certificate.", false),
        };
        let details = run.certificate.as_ref().map_or(String::new(), |certificate| {
            format!(
                "<details><summary>Settings and coverage</summary>\n{}{}</details>\n",
                settings(certificate),
                coverage(certificate)
            )
        });
        format!("<h3>{}</h3>\n{text}{details}", escape(&run.name))
    };
    Ok(format!(
        "<section>\n{}<div class=\"scroll\"><table class=\"numbers\">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n\
         <p>Each row is what the run's own certificate says: of all steps in its ledger when it ended, those of other runs too.</p>\n\
         </section>\n<section>\n<h2>Certificates</h2>\n{}</section>\n",
        joint(runs)?,
        runs.iter().map(each).collect::<String>()
    ))
}

/// What holds for all runs together.
fn joint(runs: &[Run]) -> Result<String, ReportError> {
    // Of each ledger the run whose certificate knows most of it.
    let mut ledgers: Vec<(&Path, &Certificate, &Contents)> = Vec::new();
    for run in runs {
        let (Some(certificate), Some((path, contents))) = (run.certificate.as_ref(), &run.ledger) else {
            let why =
                "What holds for these runs together is not known: one has no certificate, or its ledger is not there.";
            return Ok(statement(why, false));
        };
        match ledgers.iter_mut().find(|(known, ..)| *known == path.as_path()) {
            Some((_, known, _)) if known.ledger.entries < certificate.ledger.entries => *known = certificate,
            Some(_) => {}
            None => ledgers.push((path, certificate, contents)),
        }
    }
    let counted: Vec<(&Certificate, &Contents)> =
        ledgers.iter().map(|&(_, certificate, contents)| (certificate, contents)).collect();
    let Some(Joint { epsilon, delta, steps }) = together(&counted)? else {
        let why =
            "No guarantee holds for these runs together: one guarantees nothing, or they are for different neighbours.";
        return Ok(statement(why, false));
    };
    let together = format!("({}, {delta:e})-differentially private", bound(epsilon));
    Ok(match ledgers.len() {
        1 => statement(
            &format!("All of these runs together are {together}: they share one ledger, which counts {steps} steps."),
            true,
        ),
        count => statement(
            &format!(
                "If these runs are of the same data, all of them together are {together}, by the {steps} steps of their {count} \
                 ledgers. Ledgers do not say whose data they are of; where the data have nothing in common, each certificate \
                 holds by itself."
            ),
            true,
        ),
    })
}

/// The flags that the runs were made by.
fn configurations(runs: &[Run]) -> String {
    let with = runs.iter().filter_map(|run| Some((run, run.config.as_ref()?)));
    let each: String = with
        .map(|(run, config)| {
            format!(
                "<details>\n<summary>Flags of {}</summary>\n<pre>{}</pre>\n</details>\n",
                escape(&run.name),
                escape(config)
            )
        })
        .collect();
    if each.is_empty() { each } else { format!("<section>\n<h2>Configuration</h2>\n{each}</section>\n") }
}

#[cfg(test)]
mod tests;
