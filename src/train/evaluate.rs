//! Loss, accuracy and other measures of a model on a data set.
//!
//! A loss is PyTorch's with its default reduction over the whole data set: the mean over all labels that are not ignored, by
//! class weights where there are some, or over all elements; of an output that is the loss, the mean over the records. That
//! is not the mean of the records' own means, which is what training minimises, where records differ in how many labels
//! count. Accuracy and the other measures are over the same labels.

mod measures;
mod tally;

use serde::{Deserialize, Deserializer, Serialize};

use super::data::{DataError, Dataset};
use super::engine::{Engine, EngineError};
use crate::artifact::Manifest;
use crate::import::axes::Axes;
use crate::lower::host_outputs;
use crate::lower::program::Phase;
use crate::options::{Loss, Term};
use crate::passes::attach_loss::term_output;
use crate::schema::LABEL;
use crate::tensors::Tensors;
pub use measures::Measures;
use tally::Tally;

/// What a model does on a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    pub records: usize,
    /// The sum of the terms' losses, each times its factor. Not finite where one is.
    #[serde(deserialize_with = "or_nan")]
    pub loss: f64,
    /// The accuracy of the only term that has one.
    #[serde(default)]
    pub accuracy: Option<f64>,
    /// Each measure of the only term that has it.
    #[serde(flatten)]
    pub measures: Measures,
    /// The records whose own loss is not finite.
    pub nonfinite_records: usize,
    /// Where the loss has several terms, each of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub terms: Vec<TermEvaluation>,
    /// The labels that the only term's loss and accuracy are over; `None` where it takes no class ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<u64>,
}

/// One term of a loss on a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TermEvaluation {
    /// The term in the loss's text form, without its factor.
    pub term: String,
    /// What its loss is multiplied by in the sum.
    pub factor: f64,
    /// The loss, without the factor.
    #[serde(deserialize_with = "or_nan")]
    pub loss: f64,
    /// The fraction of the labels that the largest score (or its sign, for binary cross-entropy) gives; `None` where there
    /// are no classes. A score that is not a number is wrong.
    #[serde(default)]
    pub accuracy: Option<f64>,
    /// What else can be said of its output.
    #[serde(flatten)]
    pub measures: Measures,
    /// The labels that both are over; `None` where they are no class ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<u64>,
}

/// A loss that is not finite is `null` in JSON.
fn or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// One number of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Its key in JSON.
    pub key: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// The number.
    pub value: f64,
    /// Whether it is a fraction that is shown in per cent.
    pub percent: bool,
}

impl Figure {
    /// The number, of a fraction with its unit.
    pub fn number(&self) -> String {
        match self.percent {
            true => format!("{:.2} %", 100.0 * self.value),
            false => format!("{:.4}", self.value),
        }
    }
}

/// Accuracy, where there is one, and the measures.
fn figures(accuracy: Option<f64>, measures: &Measures) -> Vec<Figure> {
    let accuracy = accuracy.map(|value| ("accuracy", "accuracy", value, true));
    let all = accuracy.into_iter().chain(measures.named());
    all.map(|(key, title, value, percent)| Figure { key, title, value, percent }).collect()
}

/// The terms of a loss, and where in a model's outputs their classes are.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    terms: Vec<ScoredTerm>,
}

/// One term, its output and its labels.
#[derive(Clone, Debug, PartialEq)]
struct ScoredTerm {
    /// The loss; its output is named.
    term: Term,
    axes: Axes,
    /// Which of the data's labels it takes.
    target: Option<usize>,
}

impl Scored {
    /// What the manifest's loss is on; `None` where it has no loss.
    pub fn of(manifest: &Manifest) -> Option<Self> {
        let loss: &Loss = manifest.loss.as_ref()?;
        let terms = loss.terms.iter().zip(loss.labels()).map(|(term, label)| {
            let output = manifest.outputs.iter().find(|output| Some(&output.name) == term.output.as_ref())?;
            let target = label.and_then(|label| manifest.schema.targets.iter().position(|t| t.name == label));
            Some(ScoredTerm { term: term.clone(), axes: output.axes.clone(), target })
        });
        Some(Self { terms: terms.collect::<Option<_>>()? })
    }
}

impl Evaluation {
    /// In one line, with losses of so many decimals.
    pub fn text(&self, decimals: usize) -> String {
        let others = |accuracy: Option<f64>, measures: &Measures| -> String {
            let figures = figures(accuracy, measures);
            figures.iter().map(|figure| format!(", {} {}", figure.title, figure.number())).collect()
        };
        let loss = format!("loss {:.decimals$}", self.loss);
        if self.terms.is_empty() {
            return loss + &others(self.accuracy, &self.measures);
        }
        let term = |t: &TermEvaluation| {
            let factor = if t.factor == 1.0 { String::new() } else { format!("{} × ", t.factor) };
            format!("{factor}{:.decimals$} ({}{})", t.loss, t.term, others(t.accuracy, &t.measures))
        };
        let terms: Vec<String> = self.terms.iter().map(term).collect();
        format!("{loss} = {}", terms.join(" + "))
    }

    /// Loss, accuracy and measures, those that there are.
    pub fn figures(&self) -> Vec<Figure> {
        let loss = Figure { key: "loss", title: "loss", value: self.loss, percent: false };
        [vec![loss], figures(self.accuracy, &self.measures)].concat()
    }

    /// What a user should know of how the figures came about, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.nonfinite_records > 0 {
            warnings.push(format!(
                "the loss of {} of {} records is not finite, and so is the mean",
                self.nonfinite_records, self.records
            ));
        }
        let labels = self.terms.iter().map(|term| (term.term.as_str(), term.labels)).chain([(LABEL, self.labels)]);
        let none = labels.filter(|(_, labels)| *labels == Some(0));
        warnings.extend(none.map(|(of, _)| format!("every label of `{of}` is ignored, so there is no mean loss")));
        warnings
    }
}

/// As [`evaluate`], with `values` in place of the parameters of their names, which are put back.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_with(
    engine: &mut Engine,
    values: &Tensors,
    data: &Dataset,
    scored: &Scored,
) -> Result<Evaluation, EngineError> {
    let left = engine.parameters()?;
    engine.set_parameters(values)?;
    let evaluation = evaluate(engine, data, scored);
    engine.set_parameters(&left)?;
    evaluation
}

/// Evaluates the engine's parameters on all of `data`.
pub fn evaluate(engine: &mut Engine, data: &Dataset, scored: &Scored) -> Result<Evaluation, EngineError> {
    let mut tallies: Vec<Tally> = scored.terms.iter().map(|_| Tally::default()).collect();
    let mut nonfinite_records = 0;
    let all: Vec<usize> = (0..data.records()).collect();
    for records in all.chunks(engine.rows()) {
        engine.run(Phase::Forward, data, records, None)?;
        let losses = engine.floats(host_outputs::LOSS)?;
        nonfinite_records += losses[..records.len()].iter().filter(|loss| !loss.is_finite()).count();
        for (k, (term, tally)) in scored.terms.iter().zip(&mut tallies).enumerate() {
            let losses = match scored.terms.len() {
                1 => losses.clone(),
                _ => engine.floats(&term_output(k))?,
            };
            let scores = match &term.term.output {
                Some(output) if term.is_measured() => engine.floats(output)?,
                _ => vec![],
            };
            let width: usize = term.axes.per_record().iter().product();
            let target = term.target.map(|target| &data.targets()[target]);
            let labels = target.map(|column| Ok::<_, DataError>((column.gathered(records)?, column.width())));
            let labels = labels.transpose().map_err(Box::new)?;
            for (row, &loss) in losses.iter().enumerate().take(records.len()) {
                let scores = scores.get(row * width..(row + 1) * width).unwrap_or_default();
                let labels = labels.as_ref().map(|(labels, width)| (labels, row * width..(row + 1) * width));
                tally.count(term, f64::from(loss), scores, labels);
            }
        }
    }
    let terms: Vec<TermEvaluation> = scored.terms.iter().zip(&tallies).map(|(term, tally)| tally.mean(term)).collect();
    let loss = terms.iter().map(|term| term.factor * term.loss).sum();
    let mut accuracies = terms.iter().filter_map(|term| term.accuracy);
    let accuracy = accuracies.next().filter(|_| accuracies.next().is_none());
    let measures: Vec<Measures> = terms.iter().map(|term| term.measures).collect();
    let measures = Measures::of_only(&measures);
    let (labels, terms) = match terms.len() {
        1 => (terms[0].labels, vec![]),
        _ => (None, terms),
    };
    Ok(Evaluation { records: data.records(), loss, accuracy, measures, nonfinite_records, terms, labels })
}
